//! `mount [-t TYPE] [-o OPTIONS] [SOURCE] DIRECTORY`: arguments become a list of system calls,
//! which is then made. The flags are those of mount(2).

use std::ffi::CString;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_move, mount_remount,
};

use super::{FAILURE, Failure, options, usage};

pub(super) fn run(arguments: &[String]) -> Result<(), Failure> {
    let request = Request::parse(arguments).map_err(|what| usage("mount", &what))?;
    for call in &request.calls {
        request.make(call).map_err(|error| {
            let what = request.describe(call, error);
            (FAILURE, format!("mount: {}: {what}.\n", request.target))
        })?;
    }
    Ok(())
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Request {
    /// Empty where none is needed.
    source: String,
    target: String,
    /// In this order.
    calls: Vec<Call>,
}

/// One mount(2).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    New { kind: String, flags: MountFlags, data: String },
    Bind,
    BindRecursive,
    Move,
    Remount { flags: MountFlags, data: String },
    Propagation(MountPropagationFlags),
}

/// What an option changes: flags to set or, if negated, to clear.
const FLAGS: &[(&str, &str, MountFlags)] = &[
    ("ro", "rw", MountFlags::RDONLY),
    ("nosuid", "suid", MountFlags::NOSUID),
    ("nodev", "dev", MountFlags::NODEV),
    ("noexec", "exec", MountFlags::NOEXEC),
    ("sync", "async", MountFlags::SYNCHRONOUS),
    ("dirsync", "", MountFlags::DIRSYNC),
    ("noatime", "atime", MountFlags::NOATIME),
    ("nodiratime", "diratime", MountFlags::NODIRATIME),
    ("relatime", "norelatime", MountFlags::RELATIME),
    ("strictatime", "nostrictatime", MountFlags::STRICTATIME),
    ("lazytime", "nolazytime", MountFlags::LAZYTIME),
    ("nosymfollow", "symfollow", MountFlags::NOSYMFOLLOW),
    ("mand", "nomand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ("silent", "loud", MountFlags::SILENT),
];

/// For `fstab` and other programs: the kernel does not know them.
const USERSPACE: &[&str] = &["defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser"];

impl Request {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut parsed = Parsed::default();
        let takes_value = |name: &str| ["t", "types", "o", "options"].contains(&name);
        let operands = options(arguments, takes_value, |name, value| parsed.option(name, value))?;
        let (source, target) = match operands[..] {
            [target] => ("", target),
            [source, target] => (source, target),
            _ => return Err("give a source and a directory".to_owned()),
        };
        let calls = parsed.calls(!source.is_empty())?;
        Ok(Self { source: source.to_owned(), target: target.to_owned(), calls })
    }

    fn make(&self, call: &Call) -> Result<(), Errno> {
        let (source, target) = (&*self.source, &*self.target);
        let text = |text: &str| CString::new(text).map_err(|_| Errno::INVAL);
        match call {
            Call::New { kind, flags, data } => {
                mount(source, target, &**kind, *flags, text(data)?.as_c_str())
            }
            Call::Bind => mount_bind(source, target),
            Call::BindRecursive => mount_bind_recursive(source, target),
            Call::Move => mount_move(source, target),
            Call::Remount { flags, data } => mount_remount(target, *flags, text(data)?.as_c_str()),
            Call::Propagation(flags) => mount_change(target, *flags),
        }
    }

    fn describe(&self, call: &Call, error: Errno) -> String {
        let source = &self.source;
        match error {
            Errno::NOENT if !Path::new(&self.target).exists() => {
                "mount point does not exist".to_owned()
            }
            Errno::NOENT => format!("special device {source} does not exist"),
            Errno::NOTDIR => "mount point is not a directory".to_owned(),
            Errno::BUSY => format!("{source} already mounted or mount point busy"),
            Errno::NOTBLK => format!("{source} is not a block device"),
            Errno::NODEV if let Call::New { kind, .. } = call => {
                format!("unknown filesystem type '{kind}'")
            }
            Errno::INVAL => match call {
                Call::Remount { .. } | Call::Propagation(_) => {
                    "mount point not mounted or bad option".to_owned()
                }
                _ => {
                    format!("wrong fs type, bad option, bad superblock on {source}, or other error")
                }
            },
            Errno::ACCESS | Errno::ROFS => format!("cannot mount {source} read-write"),
            Errno::PERM => "permission denied".to_owned(),
            error => format!("mount failed: {}", std::io::Error::from(error)),
        }
    }
}

/// The options, in the order they came in.
#[derive(Debug, Default)]
struct Parsed<'a> {
    kind: Option<&'a str>,
    flags: MountFlagsOrNone,
    data: Vec<&'a str>,
    bind: Option<Call>,
    remount: bool,
    propagation: Vec<MountPropagationFlags>,
}

/// The kernel's flags have no default.
#[derive(Debug)]
struct MountFlagsOrNone(MountFlags);

impl Default for MountFlagsOrNone {
    fn default() -> Self {
        Self(MountFlags::empty())
    }
}

impl<'a> Parsed<'a> {
    fn option(&mut self, name: &str, value: &'a str) -> Result<(), String> {
        match name {
            "t" | "types" => self.kind = Some(value),
            "o" | "options" => {
                for word in words(value) {
                    self.word(word)?;
                }
            }
            "B" | "bind" => self.bind = Some(Call::Bind),
            "R" | "rbind" => self.bind = Some(Call::BindRecursive),
            "M" | "move" => self.bind = Some(Call::Move),
            "r" | "read-only" => self.word("ro")?,
            "w" | "rw" | "read-write" => self.word("rw")?,
            // Paths are handed to the kernel as they are, there is no `mtab`, and nothing is said.
            "c" | "no-canonicalize" | "n" | "no-mtab" | "v" | "verbose" | "s" | "i" => {}
            _ => match name.strip_prefix("make-").and_then(propagation) {
                Some(flags) => self.propagation.push(flags),
                None => return Err(format!("unknown option `{name}`")),
            },
        }
        Ok(())
    }

    fn word(&mut self, word: &'a str) -> Result<(), String> {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        if let Some((_, _, flags)) = FLAGS.iter().find(|(set, _, _)| *set == word) {
            self.flags.0 |= *flags;
        } else if let Some((_, _, flags)) = FLAGS.iter().find(|(_, clear, _)| *clear == word) {
            self.flags.0 &= !*flags;
        } else if let Some(flags) = propagation(word) {
            self.propagation.push(flags);
        } else {
            match word {
                "bind" => self.bind = Some(Call::Bind),
                "rbind" => self.bind = Some(Call::BindRecursive),
                "move" => self.bind = Some(Call::Move),
                "remount" => self.remount = true,
                "" => {}
                _ if name == "loop" => return Err("loop devices are not made here".to_owned()),
                _ if USERSPACE.contains(&name) || name.starts_with("x-") || name == "comment" => {}
                _ => self.data.push(word),
            }
        }
        Ok(())
    }

    fn calls(self, has_source: bool) -> Result<Vec<Call>, String> {
        let (flags, data) = (self.flags.0, self.data.join(","));
        let mut calls = Vec::new();
        match (self.bind, self.remount) {
            (Some(Call::Bind | Call::BindRecursive), true) => {
                // Only the flags of this mount, not of its file system, which knows the data.
                calls.push(Call::Remount { flags: flags | MountFlags::BIND, data: String::new() });
            }
            (Some(_), true) => return Err("`move` and `remount` exclude each other".to_owned()),
            (None, true) => calls.push(Call::Remount { flags, data }),
            (Some(_), false) if !has_source => return Err("what is to be bound?".to_owned()),
            (Some(call), false) => {
                let moves = call == Call::Move;
                calls.push(call);
                // A new bind mount takes no flags; mount(8) sets them afterwards as well.
                if !flags.is_empty() && !moves {
                    let flags = flags | MountFlags::BIND;
                    calls.push(Call::Remount { flags, data: String::new() });
                }
            }
            (None, false) if self.kind.is_none() && !self.propagation.is_empty() => {}
            (None, false) => {
                let kind = self.kind.filter(|kind| !kind.is_empty() && *kind != "auto");
                let kind = kind.ok_or("give the type of the file system with -t")?.to_owned();
                if !has_source {
                    return Err("give a source and a directory".to_owned());
                }
                calls.push(Call::New { kind, flags, data });
            }
        }
        calls.extend(self.propagation.into_iter().map(Call::Propagation));
        Ok(calls)
    }
}

/// Splits at commas that are not inside double quotes: `context="a,b",ro` are two.
fn words(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .collect()
}

/// `shared`, `rslave` and so on.
fn propagation(word: &str) -> Option<MountPropagationFlags> {
    let one = |word: &str| match word {
        "shared" => Some(MountPropagationFlags::SHARED),
        "slave" => Some(MountPropagationFlags::DOWNSTREAM),
        "private" => Some(MountPropagationFlags::PRIVATE),
        "unbindable" => Some(MountPropagationFlags::UNBINDABLE),
        _ => None,
    };
    let recursive = || one(word.strip_prefix('r')?).map(|flags| flags | MountPropagationFlags::REC);
    one(word).or_else(recursive)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls in the form of a call of mount(2), each on a line.
    fn parse(line: &str) -> Result<String, String> {
        let arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let request = Request::parse(&arguments)?;
        let names = |flags: MountFlags| {
            let known = FLAGS.iter().chain(&[("bind", "", MountFlags::BIND)]);
            let known = known.filter(|(_, _, flag)| flags.contains(*flag));
            known.map(|(name, _, _)| *name).collect::<Vec<_>>().join(",")
        };
        let call = |call: &Call| match call {
            Call::New { kind, flags, data } => format!("new {kind} [{}] [{data}]", names(*flags)),
            Call::Remount { flags, data } => format!("remount [{}] [{data}]", names(*flags)),
            Call::Propagation(flags) => format!("propagation {:x}", flags.bits()),
            other => format!("{other:?}"),
        };
        let calls: Vec<_> = request.calls.iter().map(call).collect();
        Ok(format!("{} > {}: {}", request.source, request.target, calls.join("; ")))
    }

    #[test]
    fn what_kubelet_asks_for_becomes_system_calls() {
        for (line, want) in [
            // emptyDir in memory, secrets, tokens.
            (
                "-t tmpfs -o size=67108864,noswap tmpfs /v",
                "tmpfs > /v: new tmpfs [] [size=67108864,noswap]",
            ),
            ("-t tmpfs -o noswap tmpfs /v", "tmpfs > /v: new tmpfs [] [noswap]"),
            (
                "-t hugetlbfs -o pagesize=2Mi nodev /v",
                "nodev > /v: new hugetlbfs [] [pagesize=2Mi]",
            ),
            // A local volume: two calls of the program.
            ("-o bind /disk /v", "/disk > /v: Bind"),
            (
                "-o bind,remount,ro,relatime,nosuid /disk /v",
                "/disk > /v: remount [ro,nosuid,relatime,bind] []",
            ),
            // A subpath: what the descriptor stands for is bound.
            ("--no-canonicalize -o bind /proc/9/fd/7 /s", "/proc/9/fd/7 > /s: Bind"),
            ("-o remount,ro /v", " > /v: remount [ro] []"),
            (
                "-t ext4 -o rw,noatime,defaults,_netdev,discard /dev/sdb /v",
                "/dev/sdb > /v: new ext4 [noatime] [discard]",
            ),
        ] {
            assert_eq!(parse(line), Ok(want.to_owned()), "{line}");
        }
    }

    #[test]
    fn what_others_ask_for_is_understood_too() {
        for (line, want) in [
            ("--rbind /a /b", "/a > /b: BindRecursive"),
            ("--bind -o ro /a /b", "/a > /b: Bind; remount [ro,bind] []"),
            ("-o rbind,rslave /a /b", "/a > /b: BindRecursive; propagation 84000"),
            ("--make-rshared /v", " > /v: propagation 104000"),
            ("--make-rslave --make-unbindable /v", " > /v: propagation 84000; propagation 20000"),
            ("--move /a /b", "/a > /b: Move"),
            ("-r -t erofs /dev/vda /b", "/dev/vda > /b: new erofs [ro] []"),
            ("-t tmpfs -o ro,nodev -o rw,x-a=b t /b", "t > /b: new tmpfs [nodev] []"),
            (
                "-t ext4 -o context=\"u:r,c0\",nosuid d /b",
                "d > /b: new ext4 [nosuid] [context=\"u:r,c0\"]",
            ),
        ] {
            assert_eq!(parse(line), Ok(want.to_owned()), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (line, want) in [
            ("-t tmpfs", "give a source and a directory"),
            ("a b c", "give a source and a directory"),
            ("/dev/vda /b", "give the type of the file system with -t"),
            ("-t ext4 /b", "give a source and a directory"),
            ("-o loop -t ext4 /a /b", "loop devices are not made here"),
            ("--bind /b", "what is to be bound?"),
            ("-o move,remount /a /b", "`move` and `remount` exclude each other"),
            ("--fork /a /b", "unknown option `fork`"),
            ("-t", "option `-t` needs a value"),
        ] {
            assert_eq!(parse(line), Err(want.to_owned()), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_arguments_make_it_panic(line in "(-o |-t |--)?[a-z,=\"é -]{0,40}") {
            let _ = parse(&line);
        }
    }
}
