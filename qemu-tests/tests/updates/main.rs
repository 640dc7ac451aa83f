//! Releases as nodes meet them: real images that differ from the one under test, under metadata that is
//! signed, given by a server on this host, and whole machines that stage, try, keep and leave them.
//!
//! Needs `ORLOP`, `ORLOP_IMAGE` and `ORLOP_NODE_IMAGE`; `cargo xtask test` builds images and sets them.

mod bad;
mod clock;
mod cuts;
mod failing;
mod figures;
mod firmware;
mod foreign;
mod in_cluster;
mod kexec;
mod killed;
mod loader;
mod node;
mod odd;
mod panics;
mod policy;
mod records;
#[allow(dead_code, unreachable_pub, reason = "tests of the updater share it")]
#[path = "../../../updater/tests/shared/server.rs"]
mod server;
mod settled;
mod slots;
mod slow;
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
    (
        "after_a_power_cut_in_an_upgrade_a_node_comes_back_and_the_next_one_works",
        cuts::any_power_cut,
    ),
];

/// What takes a guest without KVM long. The model and the tests of the updater have it with each commit.
const LONG: &[(&str, Test)] = &[
    ("a_release_of_a_test_is_published_and_verified_as_a_node_would", published),
    ("a_trial_by_kexec_that_hangs_is_ended_by_the_watchdog", kexec::watched),
    ("the_boot_loader_is_replaced_by_command_and_the_node_starts_by_it", loader::replaced),
    ("what_a_kernel_says_when_it_panics_in_a_trial_is_why_it_was_left", panics::told),
    ("what_an_upgrade_costs_is_told", figures::take),
    ("a_release_whose_kubelet_is_bad_is_left_and_the_pods_of_before_run_again", in_cluster::left),
    ("a_release_that_failed_is_not_taken_again_by_a_node_that_takes_them_by_itself", policy::once),
    ("a_server_that_errs_is_refused_in_words_and_the_node_is_not_touched", odd::servers),
    (
        "an_updater_that_is_killed_comes_back_and_goes_on_and_one_is_at_it_at_a_time",
        killed::anywhere,
    ),
    ("a_disk_that_fails_is_told_and_the_next_try_comes_through", failing::disk),
    ("records_of_updates_that_are_damaged_are_told_and_can_be_renewed", records::damaged),
    ("a_foreign_efi_system_partition_is_told_and_not_touched", foreign::partition),
    ("without_efi_variables_a_trial_goes_by_a_counted_entry", firmware::without_services),
    ("with_a_full_store_of_variables_a_trial_goes_by_a_counted_entry", firmware::full),
    ("a_clock_that_is_wrong_updates_nothing_or_is_set_right", clock::wrong),
];

fn main() -> ExitCode {
    let code = harness::main(&harness::with_long(TESTS, LONG), Threads::Guests);
    // What lies in a static is never dropped.
    settled::end();
    world::end();
    code
}

/// Whether all there is shall be tried.
fn full() -> bool {
    harness::is_full()
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
