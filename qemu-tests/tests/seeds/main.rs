//! Nodes whose image brings images of pods, and gVisor: no registry is asked for them, and the kernel of a
//! pod is gVisor where its RuntimeClass says so.
//!
//! Needs `ORLOP`, `ORLOP_IMAGE` and `ORLOP_NODE_IMAGE`; `cargo xtask test` builds images and sets them. The
//! image of these tests is a recipe of its own that extends `recipes/node.toml`.

mod gvisor;
mod seeded;
mod world;

use std::process::ExitCode;

use qemu_tests::harness::{self, Test, Threads};

const TESTS: &[(&str, Test)] =
    &[("a_first_pod_runs_from_the_image_with_the_network_blocked", seeded::without_a_network)];

/// Those that `--full` runs too: gVisor takes minutes to compile.
const LONG: &[(&str, Test)] = &[
    ("three_nodes_at_once_run_their_daemons_and_ask_no_registry", seeded::three_nodes_at_once),
    ("a_pod_with_the_runtime_class_of_gvisor_runs_in_its_sandbox", gvisor::a_pod_in_a_sandbox),
];

fn main() -> ExitCode {
    let code = harness::main(&harness::with_long(TESTS, LONG), Threads::One);
    world::end();
    code
}
