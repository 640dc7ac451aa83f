//! The promise "only these parts", checked: every executable belongs to a component that the
//! recipe names, nothing can be used to log in or to install, nothing is set-id, and every
//! shared library that a program asks for is there.

use std::collections::{BTreeMap, BTreeSet};

use formats::architecture::Architecture;
use formats::tree::{Blob, Kind, Tree, TreePath};
use globset::{GlobBuilder, GlobMatcher};

use crate::compose::program::Program;
use crate::error::{Error, Id, Result};

/// Names that are never in a node image, whatever the recipe allows: file name and what it is.
const NEVER: &[(&str, &str)] = &[
    ("ash", "a shell"),
    ("bash", "a shell"),
    ("busybox", "a shell"),
    ("csh", "a shell"),
    ("dash", "a shell"),
    ("fish", "a shell"),
    ("ksh", "a shell"),
    ("sh", "a shell"),
    ("tcsh", "a shell"),
    ("zsh", "a shell"),
    ("awk", "an interpreter"),
    ("gawk", "an interpreter"),
    ("mawk", "an interpreter"),
    ("lua", "an interpreter"),
    ("node", "an interpreter"),
    ("perl", "an interpreter"),
    ("php", "an interpreter"),
    ("python", "an interpreter"),
    ("ruby", "an interpreter"),
    ("tclsh", "an interpreter"),
    ("apk", "a package manager"),
    ("apt", "a package manager"),
    ("apt-get", "a package manager"),
    ("dnf", "a package manager"),
    ("dpkg", "a package manager"),
    ("pip", "a package manager"),
    ("rpm", "a package manager"),
    ("yum", "a package manager"),
    ("sshd", "a login service"),
    ("login", "a login service"),
    ("su", "a way to change user"),
    ("sudo", "a way to change user"),
];

/// Where the dynamic linker of Debian looks without a cache.
fn library_paths(architecture: Architecture) -> [String; 3] {
    [architecture.libraries().to_owned(), "usr/lib".to_owned(), "usr/lib64".to_owned()]
}

/// Attributes of a file that give whoever runs it what he does not have.
const CAPABILITY: &str = "security.capability";
/// The only attributes that a file of the root may have: nothing but programs looks at them.
/// What else there is (labels, signatures, access lists, what overlayfs notes of its layers)
/// is looked at by the kernel, and no image of ours has a use for it.
const ATTRIBUTES: &str = "user.";
/// What overlayfs notes of its layers when it is mounted by a user.
const OVERLAY: &str = "user.overlay.";

/// What a recipe allows.
#[derive(Debug)]
pub struct Rules {
    executables: Vec<(GlobMatcher, String)>,
    programs: BTreeSet<TreePath>,
    library_paths: [String; 3],
}

impl Rules {
    /// `executables` are globs with the component's name; `programs` are the paths that Go and
    /// Cargo components give and that need no glob.
    ///
    /// # Errors
    /// [`Id::BadGlob`].
    pub fn new(
        executables: &BTreeMap<String, String>,
        programs: BTreeSet<TreePath>,
        architecture: Architecture,
    ) -> Result<Self> {
        let matcher = |(pattern, owner): (&String, &String)| Ok((glob(pattern)?, owner.clone()));
        let executables = executables.iter().map(matcher).collect::<Result<_>>()?;
        Ok(Self { executables, programs, library_paths: library_paths(architecture) })
    }

    /// Checks the whole tree. `program` says what a file is; it is asked for executables and
    /// shared libraries only.
    ///
    /// # Errors
    /// [`Id::NotAllowed`] with everything that is wrong; what `program` fails with.
    pub fn check(
        &self,
        tree: &Tree,
        owners: &BTreeMap<TreePath, String>,
        mut program: impl FnMut(&Blob) -> Result<Program>,
    ) -> Result<()> {
        let (mut wrong, mut unanswered) = (Vec::new(), None);
        for (path, node) in tree.iter() {
            let owner = owners.get(path).map_or("nobody", String::as_str);
            let mut complain = |what: String| wrong.push(format!("{path} {what}, from {owner}"));
            if node.mode & 0o6000 != 0 && node.kind != Kind::Directory {
                complain("is set-user-id or set-group-id".to_owned());
            }
            for name in node.xattrs.keys() {
                if name == CAPABILITY {
                    complain(format!(
                        "has file capabilities (`{name}`), which are as good as set-user-id"
                    ));
                } else if !name.starts_with(ATTRIBUTES) || name.starts_with(OVERLAY) {
                    complain(format!("has the extended attribute `{name}`"));
                }
            }
            let never = never(path.name()).filter(|_| node.kind != Kind::Directory);
            if let Some(what) = never {
                complain(format!("is {what}"));
            }
            let Kind::File(blob) = &node.kind else { continue };
            let executable = node.mode & 0o111 != 0;
            let unasked = executable && never.is_none() && !self.allows(path, owner);
            if unasked {
                complain("is an executable that no component of the recipe answers for".to_owned());
            }
            if !executable && !path.name().contains(".so") {
                continue;
            }
            let content = program(blob);
            let content = content
                .map_err(|error| error.within(format!("cannot check {path}, from {owner}")))?;
            // A line in the recipe does not make a script one that may be there.
            if unasked && !matches!(content, Program::Script(_)) {
                unanswered.get_or_insert((path, owner));
            }
            match content {
                Program::Script(interpreter) => {
                    complain(format!("is a script for `{interpreter}`"));
                }
                Program::Elf { linker, needed } => {
                    let missing_linker =
                        linker.filter(|linker| !exists(tree, linker.trim_start_matches('/')));
                    let missing = needed.iter().filter(|library| {
                        !self
                            .library_paths
                            .iter()
                            .any(|dir| exists(tree, &format!("{dir}/{library}")))
                    });
                    for library in missing_linker.iter().chain(missing) {
                        complain(format!("needs `{library}`, which is not in the tree"));
                    }
                }
                Program::Damaged(how) => complain(format!("is a damaged ELF file ({how})")),
                Program::Data => {}
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let message = format!("the root may not hold this:\n  {}", wrong.join("\n  "));
        let error = Error::new(Id::NotAllowed, message)
            .hint("leave out what a package brings with a glob in `[debian] drop`");
        Err(match unanswered {
            Some((path, owner)) => error.hint(format!(
                "an executable that the node really needs has a line in `[tree.executables]`, \
                 here `\"{path}\" = \"{owner}\"`"
            )),
            None => error,
        })
    }

    fn allows(&self, path: &TreePath, owner: &str) -> bool {
        let absolute = path.to_string();
        let by_glob = |(glob, of): &(GlobMatcher, String)| of == owner && glob.is_match(&absolute);
        self.programs.contains(path) || self.executables.iter().any(by_glob)
    }
}

/// A glob over absolute paths: `*` stays within a directory, `**` does not.
///
/// # Errors
/// [`Id::BadGlob`].
pub fn glob(pattern: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    // The library's whole text would name the glob a second time.
    let bad = |error: globset::Error| {
        Error::new(Id::BadGlob, format!("`{pattern}` is not a glob: {}", error.kind()))
    };
    Ok(glob.map_err(bad)?.compile_matcher())
}

/// Follows one step of symbolic links in the directories, which is all that usrmerge needs.
fn exists(tree: &Tree, path: &str) -> bool {
    let direct = |text: &str| TreePath::new(text).is_ok_and(|path| tree.get(&path).is_some());
    if direct(path) {
        return true;
    }
    let Some((first, rest)) = path.split_once('/') else { return false };
    let link = TreePath::new(first).ok().and_then(|first| tree.get(&first).cloned());
    match link.map(|node| node.kind) {
        Some(Kind::Symlink(target)) => direct(&format!("{}/{rest}", target.trim_matches('/'))),
        _ => false,
    }
}

/// `python3.13` is `python`, `perl5.40.1` is `perl`.
fn never(name: &str) -> Option<&'static str> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    NEVER.iter().find(|(bad, _)| *bad == name || *bad == stem).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;
    use formats::tree::Node;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn check(files: &[(&str, u16)], what: Program) -> Result<()> {
        let mut tree = Tree::new();
        let blob = Blob { sha256: Sha256::of("x"), size: 1 };
        for (file, mode) in files {
            tree.insert(path(file), Node::file(blob, *mode)).unwrap();
        }
        tree.insert(path("lib64"), Node::symlink("usr/lib64")).unwrap();
        tree.insert(path("usr/lib64/ld"), Node::file(blob, 0o644)).unwrap();
        let owners = files.iter().map(|(file, _)| (path(file), "runc".to_owned())).collect();
        let executables = BTreeMap::from([("/usr/bin/*".to_owned(), "runc".to_owned())]);
        let rules =
            Rules::new(&executables, [path("usr/lib/orlop/init")].into(), Architecture::Amd64);
        let rules = rules.unwrap();
        rules.check(&tree, &owners, |_| Ok(what.clone()))
    }

    #[test]
    fn attributes_that_the_kernel_looks_at_are_refused_whatever_has_them() {
        for (name, want) in [
            ("user.note", None),
            (
                "security.capability",
                Some(
                    "has file capabilities (`security.capability`), which are as good as set-user-id",
                ),
            ),
            ("security.selinux", Some("has the extended attribute `security.selinux`")),
            ("security.ima", Some("has the extended attribute `security.ima`")),
            (
                "trusted.overlay.redirect",
                Some("has the extended attribute `trusted.overlay.redirect`"),
            ),
            ("user.overlay.opaque", Some("has the extended attribute `user.overlay.opaque`")),
            (
                "system.posix_acl_access",
                Some("has the extended attribute `system.posix_acl_access`"),
            ),
        ] {
            let blob = Blob { sha256: Sha256::of("x"), size: 1 };
            for mut node in [Node::file(blob, 0o644), Node::directory(0o755), Node::symlink("x")] {
                node.xattrs.insert(name.to_owned(), vec![1]);
                let mut tree = Tree::new();
                tree.insert(path("etc/x"), node).unwrap();
                let owners = BTreeMap::from([(path("etc/x"), "runc".to_owned())]);
                let rules =
                    Rules::new(&BTreeMap::new(), BTreeSet::new(), Architecture::Amd64).unwrap();
                let outcome = rules.check(&tree, &owners, |_| Ok(Program::Data));
                let text = outcome.err().map(|error| error.to_string());
                let want = want
                    .map(|want| format!("the root may not hold this:\n  /etc/x {want}, from runc"));
                assert_eq!(text, want);
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_its_path_and_component() {
        let mut tree = Tree::new();
        let blob = Blob { sha256: Sha256::of("x"), size: 1 };
        tree.insert(path("usr/bin/runc"), Node::file(blob, 0o755)).unwrap();
        let owners = BTreeMap::from([(path("usr/bin/runc"), "runc".to_owned())]);
        let rules =
            Rules::new(&BTreeMap::new(), [path("usr/bin/runc")].into(), Architecture::Amd64)
                .unwrap();
        let failing =
            |_: &Blob| Err(Error::new(Id::WrongDigest, "cannot use what the store holds"));
        let error = rules.check(&tree, &owners, failing).unwrap_err();
        assert_eq!(error.id(), Id::WrongDigest);
        assert_eq!(
            error.chain(),
            "cannot check /usr/bin/runc, from runc: cannot use what the store holds"
        );
    }

    #[test]
    fn named_components_pass() {
        check(&[("usr/bin/runc", 0o755), ("usr/lib/orlop/init", 0o755)], Program::Data).unwrap();
        let elf = Program::Elf { linker: Some("/lib64/ld".into()), needed: vec!["ld".into()] };
        check(&[("usr/bin/runc", 0o755)], elf).unwrap();
    }

    #[test]
    fn what_breaks_the_promise_is_named_with_who_brought_it() {
        let elf = Program::Elf { linker: Some("/lib/ld".into()), needed: vec!["libz.so.1".into()] };
        for (file, mode, what, message) in [
            ("usr/bin/su", 0o755, Program::Data, "/usr/bin/su is a way to change user, from runc"),
            ("etc/sh", 0o644, Program::Data, "/etc/sh is a shell, from runc"),
            (
                "usr/bin/python3.13",
                0o755,
                Program::Data,
                "/usr/bin/python3.13 is an interpreter, from runc",
            ),
            (
                "usr/bin/x",
                0o4755,
                Program::Data,
                "/usr/bin/x is set-user-id or set-group-id, from runc",
            ),
            (
                "opt/tool",
                0o755,
                Program::Data,
                "/opt/tool is an executable that no component of the recipe answers for, from runc",
            ),
            (
                "usr/bin/x",
                0o755,
                Program::Script("/bin/sh -e".into()),
                "/usr/bin/x is a script for `/bin/sh -e`, from runc",
            ),
            (
                "usr/bin/x",
                0o755,
                Program::Damaged("cut off".into()),
                "/usr/bin/x is a damaged ELF file (cut off), from runc",
            ),
            (
                "usr/bin/x",
                0o755,
                elf,
                "/usr/bin/x needs `/lib/ld`, which is not in the tree, from runc\n  \
                 /usr/bin/x needs `libz.so.1`, which is not in the tree, from runc",
            ),
        ] {
            let error = check(&[(file, mode)], what).unwrap_err();
            assert_eq!(error.id(), Id::NotAllowed);
            assert_eq!(error.to_string(), format!("the root may not hold this:\n  {message}"));
        }
    }

    #[test]
    fn a_line_in_the_recipe_is_proposed_only_where_it_would_help() {
        for (what, hints) in [(Program::Data, 2), (Program::Script("/bin/sh".into()), 1)] {
            let error = check(&[("opt/tool", 0o755)], what).unwrap_err();
            assert_eq!(error.hints().len(), hints, "{:?}", error.hints());
        }
    }

    #[test]
    fn globs_keep_within_a_directory_unless_doubled() {
        assert!(glob("/usr/*").unwrap().is_match("/usr/a"));
        assert!(!glob("/usr/*").unwrap().is_match("/usr/a/b"));
        assert!(glob("/usr/**").unwrap().is_match("/usr/a/b"));
        assert_eq!(glob("[").unwrap_err().id(), Id::BadGlob);
    }
}
