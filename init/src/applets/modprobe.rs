//! `modprobe -q -- NAME` as the kernel runs it (`call_modprobe` in `kernel/module/kmod.c`) when
//! something it was asked for is in no module yet: a file system, a kind of network link, an
//! expression of nftables. NAME is a module's name or an alias.
//!
//! Nothing but what the image ships can be loaded: `modules.dep` and `modules.alias` list no more
//! (`docs/boot.md`).

use std::path::{Path, PathBuf};

use super::{Failure, options, usage};
use crate::modules;

const APPLET: &str = "modprobe";
/// As modprobe(8) ends when it could not load it.
const FAILURE: u8 = 1;

/// Loads what `arguments` name. That there is no such module is told by the exit status alone: the
/// kernel asks for many that it could use and does not need.
pub(super) fn run(arguments: &[String]) -> Result<(), Failure> {
    let names = parse(arguments).map_err(|what| usage(APPLET, &what))?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let directory = Path::new("/usr/lib/modules").join(release);
    let read = |file: &str| {
        let path = directory.join(file);
        let message =
            |error| (FAILURE, format!("{APPLET}: cannot read {}: {error}\n", path.display()));
        std::fs::read_to_string(&path).map_err(message)
    };
    let (dependencies, aliases) = (read("modules.dep")?, read("modules.alias")?);
    for name in names {
        let wanted = resolve(name, &dependencies, &aliases);
        if wanted.is_empty() {
            return Err((FAILURE, String::new()));
        }
        for path in wanted {
            modules::load_one(&directory.join(path))
                .map_err(|error| (FAILURE, format!("{APPLET}: {name}: {error}\n")))?;
        }
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Vec<&str>, String> {
    let names = options(
        arguments,
        |_| false,
        |name, _| match name {
            "q" | "quiet" => Ok(()),
            other => Err(format!("unknown option `{other}`")),
        },
    )?;
    if names.is_empty() { Err("which module?".to_owned()) } else { Ok(names) }
}

/// The files to load, in their order: the module of that name, else all that have an alias that
/// fits, each after what it depends on.
fn resolve(name: &str, dependencies: &str, aliases: &str) -> Vec<PathBuf> {
    let name = plain(name);
    let mut found = with_dependencies(&name, dependencies);
    if found.is_empty() {
        for line in aliases.lines() {
            let Some((pattern, module)) =
                line.strip_prefix("alias ").and_then(|rest| rest.rsplit_once(' '))
            else {
                continue;
            };
            if fits(plain(pattern).as_bytes(), name.as_bytes()) {
                found.extend(with_dependencies(&plain(module), dependencies));
            }
        }
    }
    found
}

/// From a line `PATH: NEEDED NEEDED`, in which what is needed first stands last.
fn with_dependencies(module: &str, dependencies: &str) -> Vec<PathBuf> {
    let is_it = |path: &str| modules::name(Path::new(path)) == module;
    let line =
        dependencies.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| is_it(path));
    let Some((path, needed)) = line else { return Vec::new() };
    let needed = needed.split_whitespace().rev();
    needed.chain([path]).map(PathBuf::from).collect()
}

/// `-` and `_` are one character in names and aliases.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether an alias fits, in which `*` stands for any text, `?` for any character and `[0_9]` for
/// a range of them (its `-` was replaced as all are).
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let Some((&first, rest)) = pattern.split_first() else { return name.is_empty() };
    match (first, name.split_first()) {
        (b'*', _) => (0..=name.len()).any(|skipped| fits(rest, &name[skipped..])),
        (b'?', Some((_, after))) => fits(rest, after),
        (b'[', Some((byte, after))) => match rest.iter().position(|&other| other == b']') {
            Some(end) => is_among(&rest[..end], *byte) && fits(&rest[end + 1..], after),
            None => false,
        },
        (_, Some((byte, after))) => first == *byte && fits(rest, after),
        (_, None) => false,
    }
}

fn is_among(set: &[u8], byte: u8) -> bool {
    match set {
        [from, b'_', to, rest @ ..] => (*from..=*to).contains(&byte) || is_among(rest, byte),
        [one, rest @ ..] => *one == byte || is_among(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEPENDENCIES: &str = "kernel/fs/fat/fat.ko:\n\
        kernel/fs/fat/vfat.ko: kernel/fs/fat/fat.ko\n\
        kernel/net/nf_conntrack.ko: kernel/net/nf_defrag_ipv6.ko kernel/net/nf_defrag_ipv4.ko\n\
        kernel/net/nft_ct.ko: kernel/net/nf_tables.ko kernel/net/nfnetlink.ko\n\
        kernel/net/nft-masq.ko:\n";
    const ALIASES: &str = "alias fs-vfat vfat\n\
        alias nft-expr-ct nft_ct\n\
        alias pci:v00008086d000025ABsv*sd*bc*sc*i* nft_masq\n\
        alias net-pf-16-proto-* nft_masq\n\
        alias net-pf-16-proto-12 vfat\n\
        alias broken\n\
        alias gone away\n";

    fn resolved(name: &str) -> Vec<String> {
        let paths = resolve(name, DEPENDENCIES, ALIASES).into_iter();
        paths.map(|path| modules::name(&path)).collect()
    }

    #[test]
    fn a_module_is_found_by_name_and_by_alias_and_comes_after_what_it_needs() {
        for (name, want) in [
            ("vfat", &["fat", "vfat"][..]),
            ("fs-vfat", &["fat", "vfat"]),
            ("fs_vfat", &["fat", "vfat"]),
            ("nf-conntrack", &["nf_defrag_ipv4", "nf_defrag_ipv6", "nf_conntrack"]),
            ("nft-expr-ct", &["nfnetlink", "nf_tables", "nft_ct"]),
            ("nft_masq", &["nft_masq"]),
            ("pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00", &["nft_masq"]),
            ("net-pf-16-proto-12", &["nft_masq", "fat", "vfat"]),
            ("gone", &[]),
            ("fs-xfs", &[]),
            ("", &[]),
        ] {
            assert_eq!(resolved(name), want, "{name}");
        }
    }

    #[test]
    fn patterns_fit_as_the_shells_do() {
        for (pattern, name, want) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?", "a", false),
            ("v[0_9]x", "v7x", true),
            ("v[0_9]x", "vax", false),
            ("v[ab]", "vb", true),
            ("v[ab", "vb", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), want, "{pattern} {name}");
        }
    }

    #[test]
    fn the_call_of_the_kernel_is_understood_and_another_is_not() {
        let call = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            parse(&words).map(|names| names.join(" "))
        };
        assert_eq!(call(&["-q", "--", "fs-vfat"]), Ok("fs-vfat".to_owned()));
        assert_eq!(call(&["-q", "--", "-odd"]), Ok("-odd".to_owned()));
        assert_eq!(call(&["-r", "vfat"]), Err("unknown option `r`".to_owned()));
        assert_eq!(call(&["-q"]), Err("which module?".to_owned()));
    }

    proptest! {
        #[test]
        fn no_name_and_no_index_make_it_panic(name in ".{0,40}", index in ".{0,80}") {
            resolve(&name, &index, &index);
            resolve(&name, DEPENDENCIES, &format!("alias {name} vfat"));
        }
    }
}
