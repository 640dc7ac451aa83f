//! Reads `go.mod`, strictly: what is not understood is an error, for it might shape the program.
//! The format: <https://go.dev/ref/mod#go-mod-file>.

use std::collections::{BTreeMap, BTreeSet};

/// What a component's `go.mod` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoMod {
    /// The path of the module itself.
    pub module: String,
    /// The oldest language version it accepts.
    pub go: String,
    /// The toolchain that builds it, such as `go1.26.11`.
    pub toolchain: String,
    /// Versions of all modules that are needed, by path.
    pub require: BTreeMap<String, String>,
    /// Packages which are programs to build.
    pub tools: BTreeSet<String>,
}

/// Why a `go.mod` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GoModError {
    /// A line that is not understood.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A directive that must be there is missing.
    #[error("there is no `{0}` line")]
    Missing(&'static str),
}

impl GoMod {
    /// Reads the text of a `go.mod`.
    ///
    /// # Errors
    /// See [`GoModError`]. A `replace` by a directory is refused: what such a directory holds
    /// is not recorded anywhere.
    pub fn parse(text: &str) -> Result<Self, GoModError> {
        let mut reader = Reader::default();
        for (index, line) in text.lines().enumerate() {
            reader.line(line).map_err(|what| GoModError::Line { line: index + 1, what })?;
        }
        if let Some(block) = reader.block {
            let what = format!("the block of `{block}` does not end");
            return Err(GoModError::Line { line: text.lines().count(), what });
        }
        Ok(Self {
            module: reader.module.ok_or(GoModError::Missing("module"))?,
            go: reader.go.ok_or(GoModError::Missing("go"))?,
            toolchain: reader.toolchain.ok_or(GoModError::Missing("toolchain"))?,
            require: reader.require,
            tools: reader.tools,
        })
    }

    /// The version of the module that holds this package; `None` if it is the component's own or
    /// nobody's.
    pub fn version_of(&self, package: &str) -> Option<&str> {
        let holds = |module: &str| {
            package
                .strip_prefix(module)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let required = self.require.iter().filter(|(module, _)| holds(module));
        let (module, version) = required.max_by_key(|(module, _)| module.len())?;
        let own = holds(&self.module) && self.module.len() > module.len();
        if own { None } else { Some(version) }
    }
}

#[derive(Default)]
struct Reader {
    block: Option<String>,
    module: Option<String>,
    go: Option<String>,
    toolchain: Option<String>,
    require: BTreeMap<String, String>,
    tools: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let words = words(line)?;
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match (self.block.clone(), words.as_slice()) {
            (_, []) => Ok(()),
            (Some(_), [")"]) => {
                self.block = None;
                Ok(())
            }
            (Some(block), words) => self.directive(&block, words),
            (None, [block, "("]) => {
                if !["require", "replace", "exclude", "retract", "tool", "godebug"].contains(block)
                {
                    return Err(format!("`{block}` cannot begin a block"));
                }
                self.block = Some((*block).to_owned());
                Ok(())
            }
            (None, [name, words @ ..]) => self.directive(name, words),
        }
    }

    fn directive(&mut self, name: &str, words: &[&str]) -> Result<(), String> {
        match (name, words) {
            ("module", [path]) => once(&mut self.module, name, path),
            ("go", [version]) => {
                if !is_release(version) {
                    return Err(format!("`{version}` is not a version of Go"));
                }
                once(&mut self.go, name, version)
            }
            ("toolchain", [toolchain]) => {
                let version = toolchain.strip_prefix("go").unwrap_or_default();
                if !is_release(version) || version.split('.').count() != 3 {
                    let form = "write an exact one, such as `go1.26.11`";
                    return Err(format!("`{toolchain}` is not a toolchain: {form}"));
                }
                once(&mut self.toolchain, name, toolchain)
            }
            ("require", [module, version]) => {
                if !version.starts_with('v') {
                    return Err(format!("`{version}` is not a version"));
                }
                match self.require.insert((*module).to_owned(), (*version).to_owned()) {
                    Some(other) if other != *version => {
                        Err(format!("`{module}` is required at `{other}` and at `{version}`"))
                    }
                    _ => Ok(()),
                }
            }
            ("replace", [_, "=>", path] | [_, _, "=>", path]) => {
                Err(format!("`{path}` is a directory: replace modules by versions only"))
            }
            // Which versions are chosen stands in `require`; these only say how it came about.
            ("replace", [_, "=>", _, _] | [_, _, "=>", _, _])
            | ("exclude", [_, _])
            | ("retract", [_, ..]) => Ok(()),
            // Becomes part of the program, and of the key together with the whole file.
            ("godebug", [_]) => Ok(()),
            ("tool", [package]) => {
                self.tools.insert((*package).to_owned());
                Ok(())
            }
            _ => Err(format!("`{name} {}` is not understood", words.join(" "))),
        }
    }
}

fn once(place: &mut Option<String>, name: &str, value: &str) -> Result<(), String> {
    match place.replace(value.to_owned()) {
        Some(_) => Err(format!("there is a second `{name}` line")),
        None => Ok(()),
    }
}

/// `1.26` or `1.26.11`: numbers and nothing else.
fn is_release(version: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = version.split('.').collect();
    (2..=3).contains(&parts.len()) && parts.into_iter().all(number)
}

/// The words of a line, without its comment. Brackets are words of their own.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next().filter(|_| !rest.starts_with("//")) {
        let end = match first {
            '"' | '`' => {
                let inner = &rest[1..];
                let end = inner.find(first).ok_or("a string does not end")?;
                if inner[..end].contains('\\') {
                    return Err("escapes in strings are not understood".to_owned());
                }
                words.push(inner[..end].to_owned());
                end + 2
            }
            '(' | ')' | ',' | '[' | ']' => {
                words.push(first.to_string());
                1
            }
            _ => {
                let stops = |c: char| c.is_whitespace() || "()[],\"`".contains(c);
                let word = &rest[..rest.find(stops).unwrap_or(rest.len())];
                let word = word.find("//").map_or(word, |comment| &word[..comment]);
                words.push(word.to_owned());
                word.len()
            }
        };
        rest = rest[end..].trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "module a.example/m\ngo 1.26.0\ntoolchain go1.26.11\n";

    fn parse(rest: &str) -> Result<GoMod, GoModError> {
        GoMod::parse(&format!("{HEAD}{rest}"))
    }

    #[test]
    fn blocks_lines_comments_and_quotes_are_one_language() {
        let text = "
            // A comment.
            require b.example/x v1.2.3 // indirect
            require (
                \"c.example/y\" v0.0.0-20260101000000-abcdefabcdef

                `d.example/z` v2.0.0+incompatible//indirect
            )
            tool (
                b.example/x/cmd/one
            )
            tool a.example/m/two
            replace b.example/x => c.example/fork v1.0.0
            replace ( b.example/x v1.2.3 => c.example/fork v1.0.1
            )
            exclude b.example/x v1.0.0
            retract [v1.0.0, v1.1.0]
            godebug default=go1.21
        ";
        let text = text.replace("replace ( b", "replace (\n b");
        let gomod = parse(&text).unwrap();
        assert_eq!(gomod.module, "a.example/m");
        assert_eq!((gomod.go.as_str(), gomod.toolchain.as_str()), ("1.26.0", "go1.26.11"));
        let require: Vec<_> = gomod.require.iter().map(|(m, v)| format!("{m} {v}")).collect();
        assert_eq!(
            require,
            [
                "b.example/x v1.2.3",
                "c.example/y v0.0.0-20260101000000-abcdefabcdef",
                "d.example/z v2.0.0+incompatible",
            ]
        );
        let tools: Vec<_> = gomod.tools.iter().map(String::as_str).collect();
        assert_eq!(tools, ["a.example/m/two", "b.example/x/cmd/one"]);
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (rest, what) in [
            ("frobnicate x", "`frobnicate x` is not understood"),
            ("require b.example/x", "`require b.example/x` is not understood"),
            ("require b.example/x 1.0", "`1.0` is not a version"),
            ("go 1.25", "there is a second `go` line"),
            ("module (", "`module` cannot begin a block"),
            ("require (", "the block of `require` does not end"),
            ("replace b => ../b", "`../b` is a directory: replace modules by versions only"),
            ("tool \"x", "a string does not end"),
            (r#"tool "\x41""#, "escapes in strings are not understood"),
            ("require b v1\nrequire b v2", "`b` is required at `v1` and at `v2`"),
        ] {
            let line = 3 + rest.lines().count();
            assert_eq!(parse(rest), Err(GoModError::Line { line, what: what.to_owned() }));
        }
    }

    #[test]
    fn the_toolchain_must_be_exact() {
        for toolchain in ["default", "go1.26", "go1.27rc1", "go1.26.1-custom", "1.26.1", "go1..1"] {
            let text = format!("module m\ngo 1.26\ntoolchain {toolchain}\n");
            let error = GoMod::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with("line 3: ") && error.contains(toolchain), "{error}");
        }
        let error = GoMod::parse("module m\ngo 1.26\n").unwrap_err();
        assert_eq!(error, GoModError::Missing("toolchain"));
    }

    #[test]
    fn the_longest_module_path_holds_a_package() {
        let gomod = parse("require b/x v1\nrequire b/x/v2 v2\nrequire a.example v3\n").unwrap();
        for (package, version) in [
            ("b/x", Some("v1")),
            ("b/x/cmd", Some("v1")),
            ("b/x/v2/cmd", Some("v2")),
            ("b/xy", None),
            ("a.example/m/cmd", None),
            ("a.example/n", Some("v3")),
        ] {
            assert_eq!(gomod.version_of(package), version, "{package}");
        }
    }

    #[test]
    fn the_components_of_this_repository_are_pinned_and_say_what_they_build() {
        let recipes = concat!(env!("CARGO_MANIFEST_DIR"), "/../recipes/components");
        let mut components = 0;
        for entry in std::fs::read_dir(recipes).unwrap() {
            let directory = entry.unwrap().path();
            let text = std::fs::read_to_string(directory.join("go.mod")).unwrap();
            let gomod = GoMod::parse(&text).unwrap();
            let name = directory.file_name().unwrap().to_str().unwrap();
            assert_eq!(gomod.module, format!("orlop.dev/components/{name}"));
            for tool in &gomod.tools {
                assert!(gomod.version_of(tool).is_some(), "{tool}");
            }
            assert!(!gomod.tools.is_empty() && directory.join("go.sum").is_file(), "{name}");
            components += 1;
        }
        assert!(components > 0);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z()\\[\\]\"`/=> \n.,\\\\é]{0,80}") {
            drop(GoMod::parse(&text));
            drop(parse(&text));
        }
    }
}
