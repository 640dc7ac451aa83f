//! Started by hand, the binary does nothing but say what it is.
#![expect(clippy::disallowed_methods, reason = "runs the binary; PID 1's `process` starts units")]

use std::process::Command;

#[test]
fn started_by_anyone_but_the_kernel_it_says_what_it_is_and_fails() {
    let output = Command::new(env!("CARGO_BIN_EXE_init")).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
    let want = format!(
        "orlop init {}: this is PID 1 of a node, the kernel starts it\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), want);
}
