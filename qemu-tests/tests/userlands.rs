//! Whether the host's userland shapes a byte of an image: one is built in Debian 12, which has a C
//! compiler and a C library of its own, and in Debian 13 without any. Both are made of packages by
//! `orlop`. Needs the archive, and no QEMU; `cargo xtask test` sets `ORLOP` and `ORLOP_IMAGE`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::process::{command, run};
use qemu_tests::store::{copy_tree, same};
use qemu_tests::{Orlop, workspace};

const TESTS: &[(&str, Test)] =
    &[("the_userland_of_the_host_shapes_no_byte_and_no_c_compiler_of_it_is_needed", userlands)];

/// A program that is made of Rust, of C, and of what a build script and a macro say. Both run on
/// the host; the remainder of two numbers is a function that newer C libraries have in a newer
/// version, and starting programs one that they have in addition.
const MIXED: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nresolver = '3'\nmembers = ['macros', 'mixed']\n\
         [profile.node]\ninherits = 'release'\npanic = 'abort'\nstrip = true\n",
    ),
    (
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"macros\"\nversion = \"0.1.0\"\n\n\
         [[package]]\nname = \"mixed\"\nversion = \"0.1.0\"\ndependencies = [\n \"macros\",\n]\n",
    ),
    (
        "macros/Cargo.toml",
        "[package]\nname = 'macros'\nversion = '0.1.0'\nedition = '2024'\n[lib]\nproc-macro = true\n",
    ),
    (
        "macros/src/lib.rs",
        "use proc_macro::TokenStream;\n#[proc_macro]\npub fn remainder(_: TokenStream) -> TokenStream {\n    \
         let number: f64 = std::hint::black_box(7.5);\n    format!(\"{:?}\", number % \
         std::hint::black_box(2.0)).parse().unwrap()\n}\n",
    ),
    (
        "mixed/Cargo.toml",
        "[package]\nname = 'mixed'\nversion = '0.1.0'\nedition = '2024'\n\
         [dependencies]\nmacros = { path = '../macros' }\n",
    ),
    ("mixed/part.c", include_str!("../userlands/part.c")),
    ("mixed/build.rs", include_str!("../userlands/build.rs")),
    (
        "mixed/src/main.rs",
        "unsafe extern \"C\" {\n    fn part(text: *const std::ffi::c_char) -> std::ffi::c_int;\n}\n\
         fn main() {\n    let part = unsafe { part(c\"7\".as_ptr()) };\n    \
         println!(\"{part} {} {}\", macros::remainder!(), env!(\"SAID\"));\n}\n",
    ),
];

fn main() -> ExitCode {
    harness::main(TESTS, Threads::One)
}

fn userlands(orlop: &Orlop) -> Result<()> {
    // What was fetched stays for the next time.
    let cache = workspace().join("target/userlands");
    fs::create_dir_all(&cache)?;
    let debian_12 = userland(orlop, &cache, "debian-12")?;
    let debian_13 = userland(orlop, &cache, "debian-13")?;
    ensure!(debian_12.join("usr/bin/gcc").exists(), "Debian 12 has no compiler");
    ensure!(!debian_13.join("usr/bin/gcc").exists(), "Debian 13 has a compiler");

    let directory = tempfile::Builder::new().prefix("orlop-userlands-").tempdir()?;
    let place = Place::new(orlop, &cache, directory.path())?;
    let one = place.build(&debian_12, "debian-12")?;
    let two = place.build(&debian_13, "debian-13")?;
    same(&one, &two)?;
    ensure!(fs::read_to_string(one.join("manifest.txt"))?.contains(" /usr/bin/mixed "));
    Ok(())
}

/// Packages of a suite, unpacked.
fn userland(orlop: &Orlop, cache: &Path, name: &str) -> Result<PathBuf> {
    let recipe = cache.join(format!("{name}.toml"));
    fs::copy(workspace().join("qemu-tests/userlands").join(format!("{name}.toml")), &recipe)?;
    let tree = cache.join(name);
    let unpack = || {
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        run(own(orlop, cache).args(["store", "unpack"]).arg(&recipe).arg("-o").arg(&tree))
    };
    // A lock of the last time may name what mirrors have dropped.
    if !recipe.with_extension("lock").exists() || unpack().is_err() {
        run(own(orlop, cache).arg("lock").arg(&recipe))?;
        unpack()?;
    }
    for mount_point in ["dev", "place", "proc", "tmp", "toolchain"] {
        fs::create_dir_all(tree.join(mount_point))?;
    }
    Ok(tree)
}

/// The program with a store that outlives the test and is nobody else's.
fn own(orlop: &Orlop, cache: &Path) -> std::process::Command {
    let mut command = orlop.command();
    command.arg("--store").arg(cache.join("store")).env("XDG_CACHE_HOME", cache.join("cache"));
    command
}

/// Directories that a build in a userland sees.
struct Place {
    /// Has the recipe and all that it names, the program, and what is made.
    directory: PathBuf,
    store: PathBuf,
    /// Of the Rust toolchain, which is the host's.
    sysroot: PathBuf,
    /// Has Cargo's registry.
    cargo_home: PathBuf,
}

impl Place {
    fn new(orlop: &Orlop, cache: &Path, directory: &Path) -> Result<Self> {
        copy_tree(&workspace(), &directory.join("checkout"), &["target", ".git", "orlop-out"])?;
        for (path, text) in MIXED {
            let path = directory.join("mixed").join(path);
            fs::create_dir_all(path.parent().context("no parent")?)?;
            fs::write(&path, text)?;
        }
        let recipe = directory.join("image.toml");
        fs::copy(workspace().join("qemu-tests/userlands/image.toml"), &recipe)?;
        run(own(orlop, cache).arg("lock").arg(&recipe))?;
        run(own(orlop, cache).arg("fetch").arg(&recipe))?;
        carry(orlop.program(), &directory.join("own"))?;
        let home = PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?);
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let sysroot = run(command("rustc").arg("--print=sysroot"))?;
        Ok(Self {
            directory: directory.to_owned(),
            store: cache.join("store"),
            sysroot: PathBuf::from(sysroot.trim()),
            cargo_home: cargo_home.unwrap_or_else(|| home.join(".cargo")),
        })
    }

    /// Builds in a userland, from nothing that was compiled, and gives what came out.
    fn build(&self, userland: &Path, name: &str) -> Result<PathBuf> {
        for kind in ["cargo", "kernel", "unpack"] {
            let steps = self.store.join("steps").join(kind);
            if steps.exists() {
                fs::remove_dir_all(steps)?;
            }
        }
        let mounts = [
            (self.directory.as_path(), "place"),
            (&self.store, "place/store"),
            (&self.cargo_home.join("registry"), "place/cargo/registry"),
            (&self.sysroot, "toolchain"),
        ];
        for (_, at) in mounts {
            if let Ok(inner) = Path::new(at).strip_prefix("place") {
                fs::create_dir_all(self.directory.join(inner))?;
            }
        }
        let script = r#"
            set -eu
            mount --make-rprivate /
            for device in null zero full random urandom; do
                touch "$ROOT/dev/$device"
                mount --bind "/dev/$device" "$ROOT/dev/$device"
            done
            mount --rbind /proc "$ROOT/proc"
            while [ "$1" != -- ]; do mount --bind "$1" "$ROOT/$2"; shift 2; done
            shift
            exec chroot "$ROOT" /usr/bin/env -i "$@"
        "#;
        let mut unshare = command("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.args(["--mount", "--net", "sh", "-c", script, "sh"]).env("ROOT", userland);
        for (from, at) in mounts {
            unshare.arg(from).arg(at);
        }
        let cache = format!("XDG_CACHE_HOME=/place/cache-{name}");
        unshare.args(["--", "PATH=/toolchain/bin:/usr/bin:/bin", "HOME=/place/home"]);
        unshare.args(["CARGO_HOME=/place/cargo", &cache, "/place/own/start", "--store"]);
        unshare.args(["/place/store", "build", "--locked", "--offline", "/place/image.toml"]);
        let output = format!("out-{name}");
        run(unshare.arg("-o").arg(format!("/place/{output}")))?;
        Ok(self.directory.join(output))
    }
}

/// Copies the program with the loader and the libraries that it has here: it may have been linked
/// on a newer host than the userland is.
fn carry(program: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::copy(program, to.join("orlop"))?;
    let list = run(command(program).env("LD_TRACE_LOADED_OBJECTS", "1"))?;
    let words = list.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    let mut loader = None;
    for library in words {
        let name = library.file_name().context("a library without a name")?;
        fs::copy(library, to.join(name)).with_context(|| library.display().to_string())?;
        if name.to_string_lossy().starts_with("ld-linux") {
            loader = Some(name);
        }
    }
    let loader = loader.and_then(OsStr::to_str).context("the program has no loader")?;
    let script = format!(
        "#!/bin/sh\nexec /place/own/{loader} --library-path /place/own /place/own/orlop \"$@\"\n"
    );
    fs::write(to.join("start"), script)?;
    run(command("chmod").arg("755").arg(to.join("start"))).map(drop)
}
