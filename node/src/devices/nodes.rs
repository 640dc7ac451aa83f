//! Device nodes: those of modules that are loaded when somebody opens them, and who may open what.
//!
//! A module says in its aliases what node it answers for: `devname:net/tun` and
//! `char-major-10-200` (`MODULE_ALIAS_MISCDEV`, `include/linux/miscdevice.h`); the image lists those
//! nodes in `modules.devname`, as depmod(8) does. The kernel makes the node when the module is
//! loaded, and would load the module when the node is opened, so somebody has to make it first:
//! elsewhere kmod(8) and systemd-tmpfiles(8) do. devtmpfs leaves a node that is there as it is, its
//! mode too.

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

/// Modules with a node are few.
const LIMIT: u64 = 64 << 10;

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
    let list = root.read(format!("/usr/lib/modules/{release}/modules.devname"), LIMIT);
    match list.map(Option::unwrap_or_default) {
        Ok(text) => {
            for node in nodes(&String::from_utf8_lossy(&text)) {
                if let Err(error) = make(root, &node) {
                    log(&format!("cannot make /dev/{}: {error}", node.name));
                }
            }
        }
        Err(error) => log(&format!("cannot read modules.devname: {error}")),
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

/// The nodes of the lines `MODULE NODE cMAJOR:MINOR`, or `b` for `c`. Other lines, such as kmod's
/// comment, have none.
fn nodes(text: &str) -> impl Iterator<Item = Node<'_>> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (_, name, numbers) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !is_below(name) {
            return None;
        }
        let (kind, numbers) = match numbers.split_at_checked(1)? {
            ("c", numbers) => (FileType::CharacterDevice, numbers),
            ("b", numbers) => (FileType::BlockDevice, numbers),
            _ => return None,
        };
        let (major, minor) = numbers.split_once(':')?;
        Some(Node { name, kind, major: major.parse().ok()?, minor: minor.parse().ok()? })
    })
}

/// See [`super::outside`].
pub(super) fn outside(list: &str) {
    nodes(list).for_each(drop);
}

fn is_below(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::root::{Keep, PUBLIC};

    const LIST: &str = "# Device nodes to trigger on-demand module loading.\n\
        tun net/tun c10:200\n\
        loop loop-control c10:237\n\
        floppy fd0 b2:0\n\
        evil ../../etc/passwd c1:3\n\
        evil /etc/passwd c1:3\n\
        short net/tun\n\
        long net/tun c10:200 x\n\
        pipe net/tun p10:200\n\
        wild st c9:*\n\
        \u{fc} net/tun \u{fc}10:200\n\n";

    #[test]
    fn a_line_of_three_words_is_a_node() {
        let node = |name, kind, major, minor| Node { name, kind, major, minor };
        let want = [
            node("net/tun", FileType::CharacterDevice, 10, 200),
            node("loop-control", FileType::CharacterDevice, 10, 237),
            node("fd0", FileType::BlockDevice, 2, 0),
        ];
        assert_eq!(nodes(LIST).collect::<Vec<_>>(), want);
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
        let at = "/usr/lib/modules/6.12/modules.devname";
        root.write(at, LIST.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        // A file where a directory must be.
        root.write("/dev/net", b"", PUBLIC, Keep::ThisBoot).unwrap();
        let mut said = Vec::new();
        make_all(&root, "6.12", &mut |line| said.push(line.to_owned()));
        assert!(said[0].starts_with("cannot make /dev/net/tun: "), "{said:?}");
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic(
            text in "(([a-z\u{fc}]{1,2} )?[a-z0-9./*-]{0,12} [bcd\u{fc}]?[0-9:*]{0,12}\n){0,8}",
        ) {
            for node in nodes(&text) {
                prop_assert!(is_below(node.name));
            }
        }
    }
}
