//! `modprobe -q -- NAME` as the kernel runs it (`call_modprobe` in `kernel/module/kmod.c`) when
//! something it was asked for is in no module yet: a file system, a kind of network link, an
//! expression of nftables. NAME is a module's name or an alias. Also what a pod asks for that enters
//! the host's mounts: `modprobe NAME [PARAMETER...]`, `modprobe -a NAME...`.
//!
//! Nothing but what the image ships can be loaded: `modules.dep` and `modules.alias` list no more
//! (`docs/boot.md`). Parameters are taken from `options` lines as in modprobe.d(5).

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::{Failure, options, usage};
use crate::modules;

const APPLET: &str = "modprobe";
/// As modprobe(8) ends when it could not load it.
const FAILURE: u8 = 1;
/// Parameters that modules get, a line `options NAME PARAMETER...` each.
const PARAMETERS: &str = "/usr/lib/modprobe.d/orlop.conf";
/// Whether the kernel takes modules without a signature.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Loads what `arguments` name. That there is no such module is told by the exit status alone: the
/// kernel asks for many that it could use and does not need.
pub(super) fn run(arguments: &[String]) -> Result<(), Failure> {
    let (names, given) = parse(arguments).map_err(|what| usage(APPLET, &what))?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let directory = Path::new("/usr/lib/modules").join(release);
    let read = |file: &str| {
        let path = directory.join(file);
        let message =
            |error| (FAILURE, format!("{APPLET}: cannot read {}: {error}\n", path.display()));
        std::fs::read_to_string(&path).map_err(message)
    };
    let (dependencies, aliases) = (read("modules.dep")?, read("modules.alias")?);
    // An image of somebody's own may have neither this nor the list of what is built in.
    let soft = read("modules.softdep").unwrap_or_default();
    let parameters = std::fs::read_to_string(PARAMETERS).unwrap_or_default();
    let index = Index { dependencies: &dependencies, aliases: &aliases, soft: &soft };
    modules::ask_for_signatures(Path::new(LOCKDOWN));
    let mut outcome = Ok(());
    for name in names {
        let wanted = index.resolve(name);
        if wanted.is_empty() && !is_builtin(name, &read("modules.builtin").unwrap_or_default()) {
            outcome = outcome.and(Err((FAILURE, String::new())));
        }
        for (path, need) in wanted {
            let module = modules::name(&path);
            let mut words = parameters_of(&module, &parameters);
            if module == plain(name) {
                words.extend(&given);
            }
            let loaded = CString::new(words.join(" "))
                .map_err(Into::into)
                .and_then(|words| modules::load_one(&directory.join(path), &words));
            if let (Err(error), Need::Hard) = (loaded, need) {
                let message = format!("{APPLET}: {name}: {error}\n");
                outcome = outcome.and(Err((FAILURE, message)));
            }
        }
    }
    outcome
}

/// Names, and the parameters of the one name.
fn parse(arguments: &[String]) -> Result<(Vec<&str>, Vec<&str>), String> {
    let mut all = false;
    let mut names = options(
        arguments,
        |_| false,
        |name, _| match name {
            "a" | "all" => {
                all = true;
                Ok(())
            }
            "b" | "q" | "quiet" | "s" | "v" | "verbose" => Ok(()),
            other => Err(format!("unknown option `{other}`")),
        },
    )?;
    let given = if all { Vec::new() } else { names.split_off(names.len().min(1)) };
    if names.is_empty() { Err("which module?".to_owned()) } else { Ok((names, given)) }
}

/// The texts of `modules.dep`, `modules.alias` and `modules.softdep`.
struct Index<'a> {
    dependencies: &'a str,
    aliases: &'a str,
    soft: &'a str,
}

/// Whether it matters that a module cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// What was asked for, and what that depends on.
    Hard,
    /// What is only useful to have beside it.
    Soft,
}

type Order = Vec<(PathBuf, Need)>;

impl Index<'_> {
    /// The files to load, in their order: the module of that name, else all that have an alias that
    /// fits, each after what it depends on.
    fn resolve(&self, name: &str) -> Order {
        let name = plain(name);
        let mut order = Vec::new();
        self.visit(&name, Need::Hard, &mut Vec::new(), &mut order);
        if order.is_empty() {
            let mut seen = Vec::new();
            for line in self.aliases.lines() {
                let Some((pattern, module)) =
                    line.strip_prefix("alias ").and_then(|rest| rest.rsplit_once(' '))
                else {
                    continue;
                };
                if fits(plain(pattern).as_bytes(), name.as_bytes()) {
                    self.visit(&plain(module), Need::Hard, &mut seen, &mut order);
                }
            }
        }
        order
    }

    fn visit(&self, module: &str, need: Need, seen: &mut Vec<String>, order: &mut Order) {
        if seen.iter().any(|other| other == module) {
            return;
        }
        // From a line `PATH: NEEDED NEEDED`, in which what is needed first stands last.
        let is_it = |path: &str| modules::name(Path::new(path)) == module;
        let mut lines = self.dependencies.lines().filter_map(|line| line.split_once(':'));
        let Some((path, needed)) = lines.find(|(path, _)| is_it(path)) else { return };
        seen.push(module.to_owned());
        let (before, after) = self.soft(module);
        for other in before {
            self.visit(other, Need::Soft, seen, order);
        }
        for needed in needed.split_whitespace().rev() {
            self.visit(&modules::name(Path::new(needed)), need, seen, order);
        }
        order.push((path.into(), need));
        for other in after {
            self.visit(other, Need::Soft, seen, order);
        }
    }

    /// From a line `softdep NAME pre: NAME... post: NAME...`.
    fn soft(&self, module: &str) -> (Vec<&str>, Vec<&str>) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let rest =
            |line: &'_ str| Some(line.strip_prefix("softdep ")?.split_once(' ')?.0 == module);
        for line in self.soft.lines().filter(|line| rest(line) == Some(true)) {
            let mut names = &mut before;
            for word in line.split_whitespace().skip(2) {
                match word {
                    "pre:" => names = &mut before,
                    "post:" => names = &mut after,
                    name => names.push(name),
                }
            }
        }
        (before, after)
    }
}

fn parameters_of<'a>(module: &str, text: &'a str) -> Vec<&'a str> {
    let words = |line: &'a str| {
        let mut words = line.strip_prefix("options ")?.split_whitespace();
        (plain(words.next()?) == module).then_some(words)
    };
    text.lines().filter_map(words).flatten().collect()
}

/// Whether a list of paths of what is part of the kernel holds this name.
fn is_builtin(name: &str, list: &str) -> bool {
    list.lines().any(|path| modules::name(Path::new(path)) == plain(name))
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
        kernel/net/nf_defrag_ipv4.ko:\nkernel/net/nf_defrag_ipv6.ko:\n\
        kernel/net/nfnetlink.ko:\nkernel/net/nf_tables.ko: kernel/net/nfnetlink.ko\n\
        kernel/net/nft_ct.ko: kernel/net/nf_tables.ko kernel/net/nfnetlink.ko\n\
        kernel/net/nft-masq.ko.xz:\n\
        kernel/net/xt_LOG.ko.xz: kernel/fs/fat/fat.ko\n";
    const SOFT: &str = "softdep xt_LOG pre: nft_masq gone post: vfat\n\
        softdep vfat post: xt_LOG\nsoftdep\nsoftdep gone\n";
    const ALIASES: &str = "alias fs-vfat vfat\n\
        alias nft-expr-ct nft_ct\n\
        alias pci:v00008086d000025ABsv*sd*bc*sc*i* nft_masq\n\
        alias net-pf-16-proto-* nft_masq\n\
        alias net-pf-16-proto-12 vfat\n\
        alias broken\n\
        alias gone away\n";

    fn resolved(name: &str) -> Vec<String> {
        let index = Index { dependencies: DEPENDENCIES, aliases: ALIASES, soft: SOFT };
        let shown = |(path, need): (PathBuf, Need)| {
            modules::name(&path) + if need == Need::Soft { "?" } else { "" }
        };
        index.resolve(name).into_iter().map(shown).collect()
    }

    #[test]
    fn a_module_is_found_by_name_and_by_alias_and_comes_after_what_it_needs() {
        for (name, want) in [
            ("vfat", &["fat", "vfat", "nft_masq?", "xt_LOG?"][..]),
            ("fs-vfat", &["fat", "vfat", "nft_masq?", "xt_LOG?"]),
            ("fs_vfat", &["fat", "vfat", "nft_masq?", "xt_LOG?"]),
            ("xt_LOG", &["nft_masq?", "fat", "xt_LOG", "vfat?"]),
            ("nf-conntrack", &["nf_defrag_ipv4", "nf_defrag_ipv6", "nf_conntrack"]),
            ("nft-expr-ct", &["nfnetlink", "nf_tables", "nft_ct"]),
            ("nft_masq", &["nft_masq"]),
            ("pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00", &["nft_masq"]),
            ("net-pf-16-proto-12", &["nft_masq", "fat", "vfat", "xt_LOG?"]),
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
    fn the_call_of_the_kernel_and_those_of_pods_are_understood_and_others_are_not() {
        let call = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            parse(&words).map(|(names, given)| names.join(" ") + "|" + &given.join(" "))
        };
        let good = |words: &[&str], want: &str| assert_eq!(call(words), Ok(want.to_owned()));
        good(&["-q", "--", "fs-vfat"], "fs-vfat|");
        good(&["-q", "--", "-odd"], "-odd|");
        good(&["-v", "bonding", "mode=1", "miimon=9"], "bonding|mode=1 miimon=9");
        good(&["-va", "ip_vs", "ip_vs_rr"], "ip_vs ip_vs_rr|");
        assert_eq!(call(&["-r", "vfat"]), Err("unknown option `r`".to_owned()));
        assert_eq!(call(&["-q"]), Err("which module?".to_owned()));
    }

    #[test]
    fn parameters_are_those_of_the_module() {
        let text = "# options a b\noptions dummy numdummies=0\noptions ip-set max=9 x\noptions\n";
        assert_eq!(parameters_of("dummy", text), ["numdummies=0"]);
        assert_eq!(parameters_of("ip_set", text), ["max=9", "x"]);
        assert_eq!(parameters_of("ip", text), [""; 0]);
    }

    #[test]
    fn what_is_part_of_the_kernel_is_there() {
        let list = "kernel/fs/ext4/ext4.ko\nkernel/fs/fuse/virtio-fs.ko\n";
        assert!(is_builtin("ext4", list) && is_builtin("virtio_fs", list));
        assert!(!is_builtin("ext", list) && !is_builtin("", ""));
    }

    proptest! {
        #[test]
        fn no_name_and_no_index_make_it_panic(name in ".{0,40}", index in ".{0,80}") {
            Index { dependencies: &index, aliases: &index, soft: &index }.resolve(&name);
            let aliases = format!("alias {name} vfat");
            Index { dependencies: DEPENDENCIES, aliases: &aliases, soft: SOFT }.resolve(&name);
            parameters_of(&name, &index);
        }
    }
}
