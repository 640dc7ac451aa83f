//! How a program of unpacked packages is started: by its own loader, with its own libraries, so
//! that neither the host's version of the C library nor its place matters.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use formats::architecture::Architecture;

use crate::error::{Context as _, Error, Id, Result};

/// A program of a directory of unpacked packages.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// What the packages are for, which is what this machine is.
    pub architecture: Architecture,
    /// Where they are, for good: scripts hold this path.
    pub directory: &'a Path,
    /// Directories of libraries below it, searched in this order.
    pub libraries: &'a [&'a str],
    /// The program, below it.
    pub program: &'a str,
    /// Arguments before the caller's.
    pub before: &'a [String],
    /// Arguments behind the caller's.
    pub behind: &'a [&'a str],
}

impl Start<'_> {
    /// The text of a script for `/bin/sh` that starts the program.
    ///
    /// # Errors
    /// [`Id::Compilers`] if the loader could not understand the directory's name.
    pub fn script(&self) -> Result<String> {
        let directory = directory(self.directory)?;
        let libraries: Vec<_> =
            self.libraries.iter().map(|inner| format!("{directory}/{inner}")).collect();
        let words = [
            format!("{directory}/{}", self.architecture.dynamic_loader()),
            "--library-path".to_owned(),
            libraries.join(":"),
            format!("{directory}/{}", self.program),
        ];
        let before = words.iter().chain(self.before).map(|word| quoted(word));
        let behind = self.behind.iter().map(|word| quoted(word));
        let words = before.chain(["\"$@\"".to_owned()]).chain(behind);
        Ok(format!("#!/bin/sh\nexec {}\n", words.collect::<Vec<_>>().join(" ")))
    }

    /// Writes the script to `path`.
    ///
    /// # Errors
    /// Those of [`Start::script`], [`Id::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let script = self.script()?;
        fs::write(path, script)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
            .or_fail(Id::Write, || format!("cannot write `{}`", path.display()))
    }
}

/// The directory's name, if it can stand in a list of libraries, in which `:` and `;` part the names
/// and `$` begins a variable.
fn directory(path: &Path) -> Result<&str> {
    path.to_str().filter(|text| path.is_absolute() && !text.contains([':', ';', '$'])).ok_or_else(
        || {
            let message = format!("cannot start programs in `{}`", path.display());
            Error::new(Id::Compilers, message)
                .hint("use a directory whose name is UTF-8 and holds no `:`, `;` or `$`")
        },
    )
}

/// A word for a shell that takes it as it is.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start<'a>(directory: &'a Path, before: &'a [String]) -> Start<'a> {
        Start {
            architecture: Architecture::Amd64,
            directory,
            libraries: &["run", "usr/lib/x86_64-linux-gnu"],
            program: "usr/bin/gcc",
            before,
            behind: &["-fuse-ld=bfd"],
        }
    }

    #[test]
    fn a_script_starts_the_program_by_its_own_loader() {
        let before = ["--sysroot=/a b's".to_owned()];
        assert_eq!(
            start(Path::new("/a b's"), &before).script().unwrap(),
            r#"#!/bin/sh
exec '/a b'\''s/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2' '--library-path' '/a b'\''s/run:/a b'\''s/usr/lib/x86_64-linux-gnu' '/a b'\''s/usr/bin/gcc' '--sysroot=/a b'\''s' "$@" '-fuse-ld=bfd'
"#
        );
    }

    #[test]
    fn a_directory_that_the_loader_would_take_apart_is_refused() {
        for path in ["/a:b", "/a;b", "/$ORIGIN", "relative"] {
            let error = start(Path::new(path), &[]).script().unwrap_err();
            assert_eq!(error.id(), Id::Compilers, "{path}");
        }
    }
}
