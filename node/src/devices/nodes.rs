//! Device nodes: those of modules that are loaded when somebody opens them, and who may open what.
//!
//! A module says in its aliases what node it answers for: `devname:net/tun` and
//! `char-major-10-200` (`MODULE_ALIAS_MISCDEV`, `include/linux/miscdevice.h`). The kernel makes the
//! node when the module is loaded, and would load the module when the node is opened, so somebody
//! has to make it first: elsewhere kmod(8) and systemd-tmpfiles(8) do. devtmpfs leaves a node that
//! is there as it is, its mode too.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::root::Root;

/// Nodes that all may open, as udev's own rules have it (`rules.d/50-udev-default.rules`); the
/// kernel makes them for root alone. What may be done with them is decided elsewhere: by the
/// control group's list of devices, which a container gets of who runs it, and by namespaces. There
/// is no group `kvm` here: an image has no users.
const FOR_ALL: &[&str] = &["fuse", "kvm", "net/tun", "vhost-net", "vhost-vsock", "vsock"];

/// Aliases of what an image ships are no more.
const LIMIT: u64 = 4 << 20;

/// A node that a module answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node<'a> {
    /// Below `/dev`.
    name: &'a str,
    kind: FileType,
    major: u32,
    minor: u32,
}

/// Makes the nodes of all modules that the image ships, and opens those that are for all. What
/// fails is given to `log`: a pod that needs one says what it misses.
pub(super) fn make_all(root: &Root, release: &str, log: &mut dyn FnMut(&str)) {
    let aliases = root.read(format!("/usr/lib/modules/{release}/modules.alias"), LIMIT);
    match aliases.map(Option::unwrap_or_default) {
        Ok(text) => {
            for node in from_aliases(&String::from_utf8_lossy(&text)) {
                if let Err(error) = make(root, &node) {
                    log(&format!("cannot make /dev/{}: {error}", node.name));
                }
            }
        }
        Err(error) => log(&format!("cannot read modules.alias: {error}")),
    }
    FOR_ALL.iter().for_each(|name| open_for_all(root, name, log));
}

/// Gives a node its mode, if it is one of those for all and is there.
pub(super) fn open_for_all(root: &Root, name: &str, log: &mut dyn FnMut(&str)) {
    if !FOR_ALL.contains(&name) {
        return;
    }
    let path = root.path(Path::new("/dev").join(name));
    match fs::set_permissions(&path, Permissions::from_mode(0o666)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log(&format!("cannot open /dev/{name} for all: {error}"));
        }
        _ => {}
    }
}

fn make(root: &Root, node: &Node<'_>) -> io::Result<()> {
    let path = root.path(Path::new("/dev").join(node.name));
    let is_there = fs::symlink_metadata(&path)
        .is_ok_and(|meta| meta.file_type().is_char_device() || meta.file_type().is_block_device());
    if is_there {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    mknodat(CWD, &path, node.kind, Mode::from_raw_mode(0o600), makedev(node.major, node.minor))?;
    Ok(())
}

/// The nodes that the lines `alias devname:NAME MODULE` and `alias char-major-MAJOR-MINOR MODULE`
/// of the same module announce.
fn from_aliases(text: &str) -> Vec<Node<'_>> {
    let aliases: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
        .map(|(alias, module)| (alias.trim(), module))
        .collect();
    let named = aliases.iter().filter_map(|(alias, module)| {
        let name = alias.strip_prefix("devname:").filter(|name| is_below(name))?;
        let mut others = aliases.iter().filter(|(_, other)| other == module);
        let (kind, major, minor) = others.find_map(|(alias, _)| number(alias))?;
        Some(Node { name, kind, major, minor })
    });
    named.collect()
}

/// See [`super::outside`].
pub(super) fn outside(aliases: &str) {
    let _ = from_aliases(aliases);
}

fn is_below(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Of one device; `block-major-7-*` stands for a whole kind.
fn number(alias: &str) -> Option<(FileType, u32, u32)> {
    let (kind, rest) = alias.split_once("-major-")?;
    let kind = match kind {
        "char" => FileType::CharacterDevice,
        "block" => FileType::BlockDevice,
        _ => return None,
    };
    let (major, minor) = rest.split_once('-')?;
    Some((kind, major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::root::{Keep, PUBLIC};

    const ALIASES: &str = "alias rtnl-link-tun tun\n\
        alias devname:net/tun tun\n\
        alias char-major-10-200 tun\n\
        alias devname:loop-control loop\n\
        alias block-major-7-* loop\n\
        alias char-major-10-237 loop\n\
        alias devname:../../etc/passwd evil\n\
        alias char-major-1-3 evil\n\
        alias devname:nothing lonely\n\
        alias fs-xfs xfs\n";

    #[test]
    fn a_modules_aliases_tell_its_node() {
        let node = |name, minor| Node { name, kind: FileType::CharacterDevice, major: 10, minor };
        assert_eq!(from_aliases(ALIASES), [node("net/tun", 200), node("loop-control", 237)]);
    }

    #[test]
    fn nodes_for_all_are_opened_and_others_are_left() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for name in ["fuse", "net/tun", "mem"] {
            root.write(format!("/dev/{name}"), b"", 0o600, Keep::ThisBoot).unwrap();
        }
        let mut said = Vec::new();
        make_all(&root, "6.12", &mut |line| said.push(line.to_owned()));
        open_for_all(&root, "mem", &mut |line| said.push(line.to_owned()));
        assert_eq!(said, [""; 0]);
        let mode = |name: &str| {
            fs::metadata(root.path(format!("/dev/{name}"))).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!([mode("fuse"), mode("net/tun"), mode("mem")], [0o666, 0o666, 0o600]);
    }

    #[test]
    fn a_node_that_cannot_be_made_is_named_and_the_others_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let at = "/usr/lib/modules/6.12/modules.alias";
        root.write(at, ALIASES.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        // A file where a directory must be.
        root.write("/dev/net", b"", PUBLIC, Keep::ThisBoot).unwrap();
        let mut said = Vec::new();
        make_all(&root, "6.12", &mut |line| said.push(line.to_owned()));
        assert!(said[0].starts_with("cannot make /dev/net/tun: "), "{said:?}");
    }

    proptest! {
        #[test]
        fn no_aliases_make_it_panic(
            text in "(alias (devname:|char-major-|block-major-)?[a-z0-9./*-]{0,12} [a-z]{1,2}\n){0,8}",
        ) {
            for node in from_aliases(&text) {
                prop_assert!(is_below(node.name));
            }
        }
    }
}
