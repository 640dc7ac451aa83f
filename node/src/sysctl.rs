//! `orlop-node apply-sysctl`: gives the kernel the settings that the node config has.
//!
//! It is a command of its own because settings come into being: links when their driver is loaded,
//! those of netfilter when somebody uses it. PID 1 calls it when modules and network are there, and
//! again while one is missing; until then the screen says which.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};

use formats::node_config::SysctlName;

use crate::arguments::{Arguments, Failure};
use crate::root::{Keep, PUBLIC, Root};

/// What is to be set, a line `NAME = VALUE` each; its absence says that there is nothing.
pub(crate) const PATH: &str = "/run/orlop/sysctl.conf";

/// There when a config was fetched and the unit `sysctl` may be done with the one before: then the
/// unit `sysctl-fetched` gives the kernel what is in [`PATH`] now.
pub(crate) const AGAIN: &str = "/run/orlop/sysctl-fetched";

/// More than any config makes of it.
const LIMIT: u64 = 1024 * 1024;
/// Where the kernel shows its settings.
const PLACE: &str = "/proc/sys";

/// The file's text; `None` if there is nothing to set.
pub(crate) fn text(settings: &BTreeMap<SysctlName, String>) -> Option<String> {
    let lines = settings.iter().map(|(name, value)| format!("{name} = {value}\n"));
    (!settings.is_empty()).then(|| lines.collect())
}

/// Says that settings are to be made once more, if there were some before this config and are some
/// now. Without any before, the unit `sysctl` is not done: it waits for the first ones.
///
/// # Errors
/// What the file system says.
pub(crate) fn again(root: &Root, had_settings: bool) -> io::Result<()> {
    if had_settings && root.path(PATH).exists() {
        root.write(AGAIN, b"", PUBLIC, Keep::ThisBoot)
    } else {
        Ok(())
    }
}

/// `apply-sysctl [--root DIR]`.
///
/// # Errors
/// [`Failure::Failed`] with each setting that the kernel did not take; the others are made.
pub(crate) fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    arguments.finish()?;
    apply(&root)
}

/// Makes all settings of the file.
///
/// # Errors
/// See [`command`].
pub(crate) fn apply(root: &Root) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("cannot read `{PATH}`: {error}"));
    let bytes = root.read(PATH, LIMIT).map_err(|error| failed(&error))?.unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(|error| failed(&error))?;
    let mut refused = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(" = ") else { continue };
        let done = name.parse::<SysctlName>().map_err(io::Error::other).and_then(|name| {
            let path = root.path(format!("{PLACE}/{}", name.path()));
            OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
        });
        if let Err(error) = done {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "this kernel has no such setting, or not yet".to_owned(),
                io::ErrorKind::InvalidInput => "the kernel does not take this value".to_owned(),
                _ => error.to_string(),
            };
            refused.push(format!("cannot set `{name}` to `{value}`: {why}"));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::Failed(refused.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use formats::node_config::parse;

    use super::*;

    #[test]
    fn what_the_kernel_has_is_set_and_the_rest_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(apply(&root), Ok(()), "nothing is to be set");
        let config = "schema = 1\n[sysctl]\n'vm.max_map_count' = 262144\n\
                      'net/ipv4/conf/eth0.100/rp_filter' = '2'\n'net.core.none' = 1";
        let text = text(&parse(config).unwrap().sysctl).unwrap();
        root.write(PATH, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        let files = ["vm/max_map_count", "net/ipv4/conf/eth0.100/rp_filter"];
        let files = files.map(|file| directory.path().join("proc/sys").join(file));
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "0").unwrap();
        }
        let message =
            "cannot set `net.core.none` to `1`: this kernel has no such setting, or not yet";
        assert_eq!(apply(&root), Err(Failure::Failed(message.to_owned())));
        assert_eq!(files.map(|file| fs::read_to_string(file).unwrap()), ["262144", "2"]);
        assert!(!directory.path().join("proc/sys/net/core").exists());
    }
}
