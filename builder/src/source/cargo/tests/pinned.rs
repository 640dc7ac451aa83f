//! What Cargo is told: if this changes, `cargo` of `builder/src/step.rs` has a new version.

use expect_test::expect;

use super::*;
use crate::process::write_program;

/// Writes down what it was called with instead of compiling.
const CARGO: &str = r#"#!/bin/sh
if [ "$1" = -vV ]; then
    echo 'cargo 1.90.0 (bbbbbbbbb 2025-01-01)'
    exit
fi
for word; do
    case "$before" in --target-dir) target=$word;; -j) word=JOBS;; esac
    before=$word
    said="$said$word
"
done
out="$target/x86_64-unknown-linux-gnu/node"
/bin/mkdir -p "$out"
echo 'program: ' > "$out/program.d"
{
    printf '%s' "$said"
    /usr/bin/env | /usr/bin/grep -vE '^(PWD|OLDPWD|SHLVL|_)=' | LC_ALL=C /usr/bin/sort
} | /bin/sed "s#$target#TARGET#g; s#${target%/target}#PLACE#g; s#ROOT#DIR#g" > "$out/program"
"#;

const RUSTC: &str = r#"#!/bin/sh
case "$1" in
    -vV) printf 'rustc 1.90.0 (aaaaaaaaa 2025-01-01)\nbinary: rustc\ncommit-hash: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\ncommit-date: 2025-01-01\nhost: x86_64-unknown-linux-gnu\nrelease: 1.90.0\nLLVM version: 20.1.0\n';;
    --print) echo ROOT/sysroot;;
esac
"#;

#[test]
fn what_cargo_is_told_has_a_version() {
    let directory = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    let here = |script: &str| script.replace("ROOT", root.to_str().unwrap()).into_bytes();
    fs::create_dir_all(root.join("bin")).unwrap();
    write_program(&root.join("bin/cargo"), &here(CARGO));
    write_program(&root.join("bin/rustc"), &here(RUSTC));
    let environment = Environment::new([
        ("PATH".into(), root.join("bin").into()),
        ("HOME".into(), root.join("home").into()),
    ]);
    let toolchain = Toolchain::of_host(&environment);
    let component =
        Component::load(&workspace(&root.join("workspace")), Architecture::Amd64, &Seen::new())
            .unwrap();
    let store = Store::open(root.join("store")).unwrap();
    let caches = Caches::below(&root.join("caches"));
    let built = component.build(&environment, &toolchain, &caches, &store, 1).unwrap();
    let told = String::from_utf8(store.read_blob(&built.programs["program"].0).unwrap()).unwrap();
    let version = crate::step::Kind::Cargo.version();
    expect![[r#"
        version 5
        build
        --locked
        --offline
        --profile
        node
        --target
        x86_64-unknown-linux-gnu
        --target-dir
        TARGET
        --manifest-path
        DIR/workspace/Cargo.toml
        --config
        PLACE/config.toml
        --message-format
        json-render-diagnostics
        -j
        JOBS
        -p
        program
        --bin
        program
        --config
        target.x86_64-unknown-linux-gnu.linker = "cc"
        CARGO_ENCODED_RUSTFLAGS=-Ctarget-feature=+crt-static
            -Clink-arg=-Wl,-z,pack-relative-relocs
            -Clink-arg=-Wl,--build-id=none
            --remap-path-prefix=DIR/sysroot=/rust
            --remap-path-prefix=DIR/sysroot/lib/rustlib/src/rust=/rustc/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
            --remap-path-prefix=DIR/workspace=/workspace
            --remap-path-prefix=TARGET=/target
            --remap-path-prefix=PLACE/crates=/cargo
        CARGO_HOME=PLACE/home
        CARGO_INCREMENTAL=0
        CARGO_TERM_COLOR=never
        CC_SHELL_ESCAPED_FLAGS=1
        CFLAGS=-ffile-prefix-map=DIR/sysroot=/rust -ffile-prefix-map=DIR/sysroot/lib/rustlib/src/rust=/rustc/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -ffile-prefix-map=DIR/workspace=/workspace -ffile-prefix-map=TARGET=/target -ffile-prefix-map=PLACE/crates=/cargo
        CXXFLAGS=-ffile-prefix-map=DIR/sysroot=/rust -ffile-prefix-map=DIR/sysroot/lib/rustlib/src/rust=/rustc/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -ffile-prefix-map=DIR/workspace=/workspace -ffile-prefix-map=TARGET=/target -ffile-prefix-map=PLACE/crates=/cargo
        HOME=PLACE/home
        PATH=DIR/bin
        RUSTC_WORKSPACE_WRAPPER=
        RUSTC_WRAPPER=
        RUSTUP_AUTO_INSTALL=0
        RUSTUP_TOOLCHAIN=DIR/sysroot
    "#]].assert_eq(&format!("version {version}\n{}", told.replace('\x1f', "\n    ")));
}
