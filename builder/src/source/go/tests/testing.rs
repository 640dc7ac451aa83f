//! A module proxy on disk, made up: modules, and toolchains that are scripts around the Go of this
//! host, so that no test fetches seventy megabytes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::process::Command;

/// A directory that Go takes for a module proxy.
pub(crate) struct MadeUp {
    directory: PathBuf,
}

impl MadeUp {
    pub(crate) fn new(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }

    /// What `GOPROXY` must be.
    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.directory.display())
    }

    /// Adds a version of a module: its `go.mod` and all its files.
    pub(crate) fn module(&self, path: &str, version: &str, gomod: &str, files: &[(&str, &str)]) {
        let place = self.directory.join(escaped(path)).join("@v");
        fs::create_dir_all(&place).unwrap();
        let write = |kind: &str, bytes: &[u8]| {
            fs::write(place.join(format!("{version}.{kind}")), bytes).unwrap();
        };
        write("mod", gomod.as_bytes());
        write("info", format!("{{\"Version\":\"{version}\"}}").as_bytes());
        let name = |file: &str| format!("{path}@{version}/{file}");
        let files: Vec<_> = files.iter().map(|(file, text)| (name(file), *text)).collect();
        write("zip", &zip(&files));
    }

    /// Adds a toolchain whose `go` is this script, in which `$GO` is the Go of this host.
    pub(crate) fn toolchain(&self, name: &str, script: &str) {
        let go = format!("#!/bin/sh\nGO='{}'\n{script}\n", host().0.display());
        let version = format!(
            "v0.0.1-{name}.linux-{}",
            if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }
        );
        let files = [
            ("bin/go", go.as_str()),
            ("bin/gofmt", ""),
            ("pkg/tool/linux_amd64/compile", ""),
            ("src/_go.mod", "module std\n"),
            ("src/cmd/_go.mod", "module cmd\n"),
        ];
        self.module("golang.org/toolchain", &version, "module golang.org/toolchain\n", &files);
    }
}

/// A toolchain that is the Go of this host.
pub(crate) const COMPILES: &str = "exec \"$GO\" \"$@\"";

/// A toolchain that takes an instant: it resolves the packages, as a build does, and writes down
/// where they come from instead of compiling them.
pub(crate) const RESOLVES: &str = r#"
if [ "$1" != build ]; then exec "$GO" "$@"; fi
shift
while [ $# -gt 0 ]; do
    case "$1" in
        -o) out=$2; shift 2;;
        -p|-ldflags|-tags) shift 2;;
        -*) shift;;
        *) packages="$packages $1"; shift;;
    esac
done
list='{{if not .Standard}}{{.ImportPath}} {{with .Module}}{{.Version}}{{end}}{{end}}'
for package in $packages; do
    "$GO" list -deps -f "$list" "$package" > "$out${package##*/}" || exit 1
    echo 'made by the one that was fetched' >> "$out${package##*/}"
done"#;

/// The Go of this host: its program and its version, such as `go1.26.8`.
pub(crate) fn host() -> (PathBuf, String) {
    let go = Command::new("go").directory(Path::new("/")).env("GOTOOLCHAIN", "local");
    let output = go.args(["env", "GOROOT", "GOVERSION"]).run();
    let output = String::from_utf8(output.expect("Go 1.24 or later is needed: install golang-go"));
    let output = output.unwrap();
    let (root, version) = output.trim().split_once('\n').unwrap();
    (Path::new(root).join("bin/go"), version.to_owned())
}

/// As names of directories which know no capital letters.
fn escaped(path: &str) -> String {
    path.chars().fold(String::new(), |name, c| match c.is_ascii_uppercase() {
        true => format!("{name}!{}", c.to_ascii_lowercase()),
        false => format!("{name}{c}"),
    })
}

/// An archive of files that are stored as they are (PKWARE, "APPNOTE" 6.3).
fn zip(files: &[(String, &str)]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        // From the version that is needed to the length of the extra field.
        let mut common = Vec::new();
        for half in [20u16, 0x800, 0, 0, 0x21] {
            common.write_all(&half.to_le_bytes()).unwrap();
        }
        let length = u32::try_from(text.len()).unwrap();
        for word in [crc.sum(), length, length] {
            common.write_all(&word.to_le_bytes()).unwrap();
        }
        common.write_all(&u16::try_from(name.len()).unwrap().to_le_bytes()).unwrap();
        common.write_all(&[0; 2]).unwrap();

        let offset = u32::try_from(zip.len()).unwrap();
        for part in [&b"PK\x03\x04"[..], &common, name.as_bytes(), text.as_bytes()] {
            zip.write_all(part).unwrap();
        }
        let place = [&[0; 10][..], &offset.to_le_bytes()].concat();
        for part in [&b"PK\x01\x02\x14\x00"[..], &common, &place, name.as_bytes()] {
            directory.write_all(part).unwrap();
        }
    }
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let begin = u32::try_from(zip.len()).unwrap().to_le_bytes();
    let length = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let end = [&b"PK\x05\x06"[..], &[0; 4], &count, &count, &length, &begin, &[0; 2]].concat();
    [zip, directory, end].concat()
}
