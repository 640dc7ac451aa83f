//! `orlop doctor`: what this host has of the programs and files that we use, and which package
//! brings what is missing. The table of tools is also what `cargo xtask setup` installs.

mod probe;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Id, Result};
use crate::run::qemu;

/// What something is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// `orlop build`.
    Build,
    /// `orlop run`.
    Run,
    /// The tests of this repository: judges of what we write.
    Test,
    /// Works without it, with less speed or comfort.
    Optional,
}

/// Something that a package brings.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// A program's name, or what a file is called in the table.
    pub name: &'static str,
    /// The package of Debian and Ubuntu; empty if none brings a version that is new enough.
    pub package: &'static str,
    /// What it is needed for.
    pub purpose: Purpose,
    /// What we do with it.
    pub use_: &'static str,
    /// How to find it.
    pub find: Find,
}

/// How a tool is found.
#[derive(Debug, Clone, Copy)]
pub enum Find {
    /// A program in `PATH`.
    Program {
        /// What makes it print its version and end; empty if nothing does.
        version: &'static [&'static str],
        /// The oldest version that is good enough.
        least: (u32, u32),
    },
    /// Any of these files, below `/`.
    File(&'static [&'static str]),
    /// UEFI code with its variables, where `orlop run` looks for them.
    Firmware,
}

const fn program(
    name: &'static str,
    package: &'static str,
    purpose: Purpose,
    use_: &'static str,
    version: &'static [&'static str],
) -> Tool {
    Tool { name, package, purpose, use_, find: Find::Program { version, least: (0, 0) } }
}

/// Everything outside this repository that building, running and testing use.
pub fn tools() -> &'static [Tool] {
    const V: &[&str] = &["--version"];
    const SHORT: &[&str] = &["-V"];
    const GO: Find = Find::Program { version: &["version"], least: (1, 21) };
    const CARGO: Find = Find::Program { version: V, least: (1, 90) };
    const QEMU: Find = Find::Program { version: V, least: (6, 0) };
    const KEYRING: Find = Find::File(&[
        "usr/share/keyrings/debian-archive-keyring.gpg",
        "usr/share/keyrings/debian-archive-keyring.pgp",
    ]);
    use Purpose::{Build, Run, Test};
    const TOOLS: &[Tool] = &[
        Tool { name: "go", package: "golang-go", purpose: Build, use_: "Go components", find: GO },
        Tool {
            name: "cargo",
            package: "",
            purpose: Build,
            use_: "our own programs of the node",
            find: CARGO,
        },
        Tool {
            name: qemu::QEMU.program,
            package: qemu::QEMU.package,
            purpose: Run,
            use_: "the virtual machine",
            find: QEMU,
        },
        program("qemu-img", "qemu-utils", Run, "disks of virtual machines", V),
        Tool {
            name: "UEFI firmware",
            package: "ovmf",
            purpose: Run,
            use_: "booting as a machine does",
            find: Find::Firmware,
        },
        Tool {
            name: "Debian keyring",
            package: "debian-archive-keyring",
            purpose: Build,
            use_: "the keys whose fingerprints recipes pin",
            find: KEYRING,
        },
        program("fsck.erofs", "erofs-utils", Test, "judges root images", SHORT),
        program("dump.erofs", "erofs-utils", Test, "finds files in root images", SHORT),
        program("veritysetup", "cryptsetup-bin", Test, "judges verity trees", V),
        program("e2fsck", "e2fsprogs", Test, "judges STATE", SHORT),
        program("debugfs", "e2fsprogs", Test, "reads files of STATE", SHORT),
        program("fsck.vfat", "dosfstools", Test, "judges the ESP", &[]),
        program("mdir", "mtools", Test, "reads the ESP", V),
        program("genisoimage", "genisoimage", Test, "makes volumes with a node config", V),
        program("sgdisk", "gdisk", Test, "judges partition tables", V),
        program("sfdisk", "fdisk", Test, "reads partition tables", V),
        program("gpgv", "gpgv", Test, "judges archive signatures", V),
        program("apt-get", "apt", Test, "judges how its files are read", V),
        program("ostree", "ostree", Test, "judges commits", V),
        Tool {
            name: "libostree's headers",
            package: "libostree-dev",
            purpose: Test,
            use_: "what another judge of commits is built with",
            find: Find::File(&["usr/include/ostree-1/ostree.h"]),
        },
        program("cpio", "cpio", Test, "judges initrds", V),
        program(
            "python3",
            "python3-venv",
            Test,
            "runs the judges of SBOMs and of `orlop serve`",
            V,
        ),
        program("readelf", "binutils", Test, "judges what compilers made", V),
        program("xz", "xz-utils", Test, "packs what we unpack", V),
        program("zstd", "zstd", Test, "packs what we unpack", V),
        program("bzip2", "bzip2", Test, "packs what we unpack", V),
        program("zip", "zip", Test, "packs what we unpack", V),
        program("modprobe", "kmod", Test, "judges the indexes of modules", V),
        program(
            "openssl",
            "openssl",
            Test,
            "judges keys, asks for a certificate as a node does",
            &[],
        ),
        program("curl", "curl", Test, "judges `orlop serve`", V),
        program("busybox", "busybox-static", Test, "what pods of the tests run", &[]),
        program("nft", "nftables", Test, "what kube-proxy of the tests calls", V),
        program("dnsmasq", "dnsmasq-base", Test, "a router and DHCPv6 server of the tests", V),
        program("ip", "iproute2", Test, "networks of the tests", SHORT),
        program("unshare", "util-linux", Test, "builds without network", V),
        program("faketime", "faketime", Test, "shifts the clock of a build done again", V),
        program("chromium", "chromium", Test, "shows the page of `orlop diff`", V),
    ];
    TOOLS
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// What was looked for.
    pub name: String,
    /// Whether it is good enough.
    pub state: State,
    /// The version or path, or what is wrong.
    pub found: String,
    /// What it is needed for.
    pub purpose: Purpose,
    /// What we do with it.
    #[serde(rename = "use")]
    pub use_: String,
    /// What to do if it is not good enough.
    pub cure: String,
    /// The package that brings it on Debian and Ubuntu.
    pub package: Option<&'static str>,
}

/// Whether something is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    Ok,
    /// It is not there, or does not work.
    Missing,
    /// It is there and too old.
    TooOld,
}

/// The state of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the table, then what is not a tool: mirror, KVM, free space.
    pub rows: Vec<Row>,
}

impl Report {
    /// Fails if something that `build` or `run` needs is missing.
    ///
    /// # Errors
    /// [`Id::HostIncomplete`].
    pub fn verdict(&self) -> Result<()> {
        let missing = |row: &&Row| {
            row.state != State::Ok && matches!(row.purpose, Purpose::Build | Purpose::Run)
        };
        let missing: Vec<_> = self.rows.iter().filter(missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = missing.iter().map(|row| format!("`{}`", row.name)).collect();
        let error = Error::new(Id::HostIncomplete, format!("this host lacks {}", names.join(", ")));
        let packages: Vec<_> = missing.iter().filter_map(|row| package_of(&row.name)).collect();
        if packages.is_empty() {
            return Err(error);
        }
        Err(error.hint(format!("on Debian and Ubuntu: `apt-get install {}`", packages.join(" "))))
    }
}

fn package_of(name: &str) -> Option<&'static str> {
    let tool = tools().iter().find(|tool| tool.name == name)?;
    Some(tool.package).filter(|package| !package.is_empty())
}

impl fmt::Display for Report {
    /// A table with one line for each thing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["", "what", "found", "needed for", "to do"].map(str::to_owned);
        let lines = self.rows.iter().map(|row| {
            let mark = match (row.state, row.purpose) {
                (State::Ok, _) => "ok",
                (_, Purpose::Build | Purpose::Run) => "MISSING",
                _ => "missing",
            };
            let purpose = match row.purpose {
                Purpose::Build => "build",
                Purpose::Run => "run",
                Purpose::Test => "tests",
                Purpose::Optional => "optional",
            };
            let needed = format!("{purpose}: {}", row.use_);
            [mark.to_owned(), row.name.clone(), row.found.clone(), needed, row.cure.clone()]
        });
        let lines: Vec<_> = std::iter::once(header).chain(lines).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<_> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Looks at this host. `store` is where blobs are or will be kept, `mirrors` were named by the
/// user.
pub fn examine(store: &Path, mirrors: &[String]) -> Report {
    let mut rows: Vec<_> = tools().iter().map(probe::tool).collect();
    rows.push(probe::mirror(mirrors, Path::new("/")));
    rows.push(probe::kvm());
    rows.push(probe::space("free in the store", store, Purpose::Build, "packages and results"));
    let temporary = std::env::temp_dir();
    rows.push(probe::space("free for temporary files", &temporary, Purpose::Run, "guests' disks"));
    Report { rows }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn row(name: &str, state: State, found: &str, purpose: Purpose, cure: &str) -> Row {
        let use_ = "something".to_owned();
        let package = package_of(name);
        Row {
            name: name.into(),
            state,
            found: found.into(),
            purpose,
            use_,
            cure: cure.into(),
            package,
        }
    }

    #[test]
    fn only_what_build_and_run_need_fails_the_host() {
        let test = row("sgdisk", State::Missing, "not found", Purpose::Test, "install `gdisk`");
        let mut report = Report { rows: vec![test] };
        report.verdict().unwrap();
        report.rows.push(row("cargo", State::TooOld, "1.63", Purpose::Build, ""));
        report.rows.push(row("qemu-img", State::Missing, "not found", Purpose::Run, ""));
        report.rows.push(row("go", State::Missing, "not found", Purpose::Build, ""));
        let error = report.verdict().unwrap_err();
        assert_eq!(error.id(), Id::HostIncomplete);
        assert_eq!(error.chain(), "this host lacks `cargo`, `qemu-img`, `go`");
        assert_eq!(error.hints(), ["on Debian and Ubuntu: `apt-get install qemu-utils golang-go`"]);
    }

    #[test]
    fn the_table_shows_what_is_there_and_the_cure_for_what_is_not() {
        let rows = vec![
            row("go", State::Ok, "1.26", Purpose::Build, ""),
            row("qemu-img", State::Missing, "not found", Purpose::Run, "install `qemu-utils`"),
            row("KVM", State::Missing, "a probe guest hung", Purpose::Optional, ""),
        ];
        expect![[r#"
                     what      found               needed for           to do
            ok       go        1.26                build: something
            MISSING  qemu-img  not found           run: something       install `qemu-utils`
            missing  KVM       a probe guest hung  optional: something
        "#]]
        .assert_eq(&Report { rows }.to_string());
    }

    #[test]
    fn each_tool_stands_once_and_names_its_package() {
        let mut names: Vec<_> = tools().iter().map(|tool| tool.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), tools().len());
        // The distribution's compiler is older than ours: rustup brings cargo.
        let without: Vec<_> = tools().iter().filter(|tool| tool.package.is_empty()).collect();
        assert!(without.iter().all(|tool| tool.name == "cargo"), "{without:?}");
    }
}
