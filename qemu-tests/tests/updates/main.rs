//! Releases as nodes meet them: real images that differ from the one under test, under metadata that is
//! signed, given by a server on this host, and whole machines that stage, try, keep and leave them.
//!
//! Needs `ORLOP`, `ORLOP_IMAGE` and `ORLOP_NODE_IMAGE`; `cargo xtask test` builds images and sets them.

mod bad;
mod cuts;
mod node;
mod odd;
#[allow(dead_code, unreachable_pub, reason = "tests of the updater share it")]
#[path = "../../../updater/tests/shared/server.rs"]
mod server;
mod upgrade;
mod world;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use qemu_tests::Orlop;
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::releases::{Base, Releases, Variant};

const TESTS: &[(&str, Test)] = &[
    ("a_node_goes_from_release_to_release_and_back_and_keeps_its_state", upgrade::there_and_back),
    ("a_bad_release_is_left_and_not_tried_again_by_itself", bad::left),
];

/// What takes a guest without KVM long. The model has power cuts, and the tests of the updater have
/// servers that err, with each commit.
const LONG: &[(&str, Test)] = &[
    ("a_release_of_a_test_is_published_and_verified_as_a_node_would", published),
    (
        "after_a_power_cut_in_an_upgrade_a_node_comes_back_and_the_next_one_works",
        cuts::any_power_cut,
    ),
    ("a_server_that_errs_is_refused_in_words_and_the_node_is_not_touched", odd::servers),
];

fn main() -> ExitCode {
    let code = harness::main(&harness::with_long(TESTS, LONG), Threads::Guests);
    // What lies in a static is never dropped.
    world::end();
    code
}

/// Whether all there is shall be tried.
fn full() -> bool {
    std::env::var_os("ORLOP_TEST_FULL").is_some()
}

fn published(orlop: &Orlop) -> Result<()> {
    let releases = Releases::new(orlop)?;
    let release = releases.release(orlop, &Variant::new(Base::Base, "1.1"))?;
    let said = releases.verify(orlop, &releases.site())?;
    let hash = format!("\nroot hash {}\n", release.root_hash);
    ensure!(said.contains(&hash) && said.starts_with("base 1.1,"), "{said}");
    let report = orlop.report()?;
    ensure!(release.root_hash != report.root.hash, "it is the image under test");
    Ok(())
}
