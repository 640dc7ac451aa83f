//! `config` of a repository: a key file of GLib, of which only `[core]` matters to a reader.

/// How a repository keeps files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Deflated, with owner and mode in the file: to be served, and what we write.
    Archive,
    /// As they are, with their owners: those of a machine, which root writes.
    Bare,
    /// As files of whoever wrote it, with owner and mode beside, in `user.ostreemeta`.
    BareUser,
    /// As files of whoever wrote it, which have no owner.
    BareUserOnly,
}

/// What we know of a repository's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How files are kept.
    pub mode: Mode,
}

/// Why a `config` is not of a repository that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key of `[core]` is missing.
    #[error("its `config` has no `{0}` in `[core]`")]
    Missing(&'static str),
    /// There has only ever been version 1.
    #[error("its `config` has `repo_version={}`, and only 1 is known", .0.escape_debug())]
    Version(String),
    /// Another way to keep files.
    #[error("its `config` has `mode={}`, which is not known", .0.escape_debug())]
    Mode(String),
}

impl Config {
    /// Reads a `config`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut section = "";
        let (mut version, mut mode) = (None, None);
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
            } else if section == "core"
                && let Some((key, value)) = line.split_once('=')
            {
                match key.trim() {
                    "repo_version" => version = Some(value.trim()),
                    "mode" => mode = Some(value.trim()),
                    _ => {}
                }
            }
        }
        let version = version.ok_or(ConfigError::Missing("repo_version"))?;
        if version != "1" {
            return Err(ConfigError::Version(version.to_owned()));
        }
        let mode = match mode.ok_or(ConfigError::Missing("mode"))? {
            "archive" | "archive-z2" => Mode::Archive,
            "bare" => Mode::Bare,
            "bare-user" => Mode::BareUser,
            "bare-user-only" => Mode::BareUserOnly,
            other => return Err(ConfigError::Mode(other.to_owned())),
        };
        Ok(Self { mode })
    }

    /// The `config` of a new archive, by the name of its mode that all versions know.
    pub const ARCHIVE: &str = "[core]\nrepo_version=1\nmode=archive-z2\n";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_mode_is_found_whatever_else_is_said() {
        let config = |mode| Ok(Config { mode });
        let text = "# x\n[remote \"a\"]\nmode=no\n\n[core]\nrepo_version = 1\nlocking=false\n";
        assert_eq!(Config::parse(Config::ARCHIVE), config(Mode::Archive));
        assert_eq!(Config::parse(&format!("{text} mode = bare\n")), config(Mode::Bare));
        assert_eq!(Config::parse(&format!("{text}mode=bare-user\n")), config(Mode::BareUser));
        assert_eq!(Config::parse(text), Err(ConfigError::Missing("mode")));
        assert_eq!(Config::parse("mode=bare\n"), Err(ConfigError::Missing("repo_version")));
        let version = ConfigError::Version("2".to_owned());
        assert_eq!(Config::parse("[core]\nrepo_version=2\nmode=bare\n"), Err(version));
        let mode = ConfigError::Mode("bare-split-xattrs".to_owned());
        assert_eq!(Config::parse(&format!("{text}mode=bare-split-xattrs")), Err(mode));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-z\\[\\]= _0-9]{0,20}\n){0,6}") {
            drop(Config::parse(&text));
        }
    }
}
