//! The files beside the modules, as depmod(8) would make them of what is shipped: Debian's kernel
//! packages carry none, for a maintainer script makes them. PID 1 reads the text files, `modprobe` of
//! a container reads the binary ones ([`formats::module_index`]), and people and the checks of CNI
//! plugins read both.

use std::collections::BTreeMap;

use formats::module_index::ModuleIndex;

use crate::compose::modules::{Available, ModInfo};

/// A module that is shipped.
#[derive(Debug, Clone)]
pub struct Shipped {
    /// The kernel's name of it.
    pub name: String,
    /// Where it is below the modules' directory, with its suffix.
    pub path: String,
    /// What it says of itself.
    pub info: ModInfo,
}

/// Names and contents of the indexes of these modules, each of which stands behind what it needs.
pub fn indexes(shipped: &[Shipped], available: &Available) -> BTreeMap<&'static str, Vec<u8>> {
    let dependencies = dependencies(shipped);
    let (mut by_name, mut by_alias) = (ModuleIndex::new(), ModuleIndex::new());
    let mut lines = String::new();
    for (name, line) in &dependencies {
        by_name.add(name, line);
        lines += &format!("{line}\n");
    }
    let mut aliases = String::new();
    for module in shipped {
        for alias in &module.info.aliases {
            aliases += &format!("alias {alias} {}\n", module.name);
            by_alias.add(&underscores(alias), &module.name);
        }
    }
    let mut builtin = ModuleIndex::new();
    available.builtin.iter().for_each(|name| builtin.add(name, ""));
    BTreeMap::from([
        ("modules.alias", aliases.into_bytes()),
        ("modules.alias.bin", by_alias.encode()),
        ("modules.builtin.bin", builtin.encode()),
        ("modules.dep", lines.into_bytes()),
        ("modules.dep.bin", by_name.encode()),
        ("modules.devname", devices(shipped).into_bytes()),
        ("modules.softdep", soft_dependencies(shipped).into_bytes()),
    ])
}

/// Of each module its line of `modules.dep`: direct and indirect dependencies, the needed-first
/// order reversed.
fn dependencies(shipped: &[Shipped]) -> Vec<(&str, String)> {
    let place: BTreeMap<_, _> =
        shipped.iter().enumerate().map(|(at, module)| (module.name.as_str(), at)).collect();
    let line = |module: &Shipped| {
        let mut needed = std::collections::BTreeSet::new();
        let mut queue = vec![module];
        while let Some(next) = queue.pop() {
            for at in next.info.depends.iter().filter_map(|name| place.get(name.as_str())) {
                if needed.insert(*at) {
                    queue.push(&shipped[*at]);
                }
            }
        }
        let listed: String =
            needed.iter().rev().map(|at| format!(" {}", shipped[*at].path)).collect();
        format!("{}:{listed}", module.path)
    };
    shipped.iter().map(|module| (module.name.as_str(), line(module))).collect()
}

/// Device nodes whose opening loads a module: its name, the node below `/dev`, type and numbers.
/// `orlop-node devices` makes them.
fn devices(shipped: &[Shipped]) -> String {
    let lines = |module: &Shipped| {
        let aliases = &module.info.aliases;
        let Some((kind, major, minor)) = aliases.iter().find_map(|alias| number(alias)) else {
            return String::new();
        };
        let nodes = aliases.iter().filter_map(|alias| alias.strip_prefix("devname:"));
        nodes.map(|node| format!("{} {node} {kind}{major}:{minor}\n", module.name)).collect()
    };
    shipped.iter().map(lines).collect()
}

/// Type and numbers of one device; `block-major-7-*` stands for a whole kind.
fn number(alias: &str) -> Option<(char, u32, u32)> {
    let (kind, rest) = alias.split_once("-major-")?;
    let kind = match kind {
        "char" => 'c',
        "block" => 'b',
        _ => return None,
    };
    let (major, minor) = rest.split_once('-')?;
    Some((kind, major.parse().ok()?, minor.parse().ok()?))
}

/// Only what is shipped is named: a name that leads nowhere is looked for each time.
fn soft_dependencies(shipped: &[Shipped]) -> String {
    let there = |name: &&String| shipped.iter().any(|module| module.name == **name);
    let line = |module: &Shipped| {
        let list = |what: &str, names: &[String]| {
            let names: String = names.iter().filter(there).map(|name| format!(" {name}")).collect();
            if names.is_empty() { names } else { format!(" {what}:{names}") }
        };
        let all = list("pre", &module.info.soft_before) + &list("post", &module.info.soft_after);
        if all.is_empty() { all } else { format!("softdep {}{all}\n", module.name) }
    };
    shipped.iter().map(line).collect()
}

/// As kmod compares aliases: `-` is `_`, but between brackets.
fn underscores(alias: &str) -> String {
    let mut inside = false;
    let plain = |c: char| {
        inside = if inside { c != ']' } else { c == '[' };
        if c == '-' && !inside { '_' } else { c }
    };
    alias.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> String {
        let module = |name: &str, section: &[u8]| Shipped {
            name: name.to_owned(),
            path: format!("{name}.ko"),
            info: ModInfo::parse(section),
        };
        let shipped = [
            module("dm_mod", b"alias=devname:mapper/control\0alias=char-major-10-236\0"),
            module("dm_bufio", b"depends=dm-mod\0"),
            module("dm_verity", b"depends=dm-bufio\0softdep=other pre: dm-bufio gone\0"),
            module("erofs", b"depends=gone\0alias=fs-erofs\0softdep=post: dm_mod\0"),
            module("st", b"alias=char-major-9-*\0alias=devname:st\0"),
        ];
        String::from_utf8(indexes(&shipped, &Available::default())[name].clone()).unwrap()
    }

    #[test]
    fn the_indexes_hold_what_is_shipped_and_nothing_else() {
        for (name, want) in [
            (
                "modules.dep",
                "dm_mod.ko:\ndm_bufio.ko: dm_mod.ko\ndm_verity.ko: dm_bufio.ko dm_mod.ko\n\
                 erofs.ko:\nst.ko:\n",
            ),
            (
                "modules.alias",
                "alias devname:mapper/control dm_mod\nalias char-major-10-236 dm_mod\n\
                 alias fs-erofs erofs\nalias char-major-9-* st\nalias devname:st st\n",
            ),
            ("modules.devname", "dm_mod mapper/control c10:236\n"),
            ("modules.softdep", "softdep dm_verity pre: dm_bufio\nsoftdep erofs post: dm_mod\n"),
        ] {
            assert_eq!(text(name), want, "{name}");
        }
    }

    #[test]
    fn a_modules_aliases_tell_its_node() {
        for (section, want) in [
            (
                &b"alias=rtnl-link-x\0alias=devname:net/tun\0alias=char-major-10-200\0"[..],
                "m net/tun c10:200\n",
            ),
            (
                b"alias=devname:loop-control\0alias=block-major-7-*\0alias=char-major-10-237\0",
                "m loop-control c10:237\n",
            ),
            (b"alias=char-major-9-*\0alias=char-major-9-1\0alias=devname:x\0", "m x c9:1\n"),
            (b"alias=devname:a\0alias=devname:b\0alias=block-major-1-2\0", "m a b1:2\nm b b1:2\n"),
            (b"alias=devname:nothing\0", ""),
            (b"alias=char-major-1-3\0alias=fs-xfs\0", ""),
        ] {
            let (name, path) = ("m".to_owned(), "m.ko".to_owned());
            let module = Shipped { name, path, info: ModInfo::parse(section) };
            assert_eq!(devices(&[module]), want);
        }
    }

    #[test]
    fn a_range_between_brackets_stays_a_range() {
        assert_eq!(underscores("net-pf-2[0-9]-a"), "net_pf_2[0-9]_a");
    }
}
