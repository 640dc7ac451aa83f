//! PID 1 links few crates, each known by name, and no TLS: what is in it runs with every right
//! there is, and cannot be restarted.
#![expect(clippy::disallowed_methods, reason = "asks cargo; PID 1's `process` starts units")]

use std::collections::BTreeSet;
use std::process::Command;

/// Every crate in the binary; procedural macros run in the compiler and are not among them. A new
/// name here needs a reason in the change that adds it.
const ALLOWED: &[&str] = &[
    "bitflags",
    "block-buffer",
    "cfg-if",
    "const-oid",
    "cpufeatures",
    "cri",
    "crypto-common",
    "digest",
    "formats",
    "hybrid-array",
    "init",
    "libc",
    "linux-raw-sys",
    "rustix",
    "serde",
    "serde_core",
    "serde_spanned",
    "sha2",
    "strsim",
    "thiserror",
    "toml",
    "toml_datetime",
    "toml_parser",
    "typenum",
    "winnow",
];

fn linked() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "init", "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--format", "{lib}", "--offline"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, for it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("text");
    let names = names.lines().map(|line| line.trim_end_matches(" (*)").replace('_', "-"));
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn pid_1_links_what_is_allowed_and_nothing_else() {
    let allowed: BTreeSet<String> = ALLOWED.iter().map(|name| name.replace('_', "-")).collect();
    assert_eq!(linked(), allowed);
}

#[test]
fn pid_1_links_no_tls_and_no_asynchronous_runtime() {
    let linked = linked();
    for name in ["rustls", "ring", "openssl", "native-tls", "aws-lc-rs", "tokio", "async-std"] {
        assert!(!linked.contains(name), "{name} is linked into PID 1");
    }
}
