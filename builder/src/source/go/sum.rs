//! `go.sum`: which files of a module proxy a component needs
//! (<https://go.dev/ref/mod#go-sum-files>, <https://go.dev/ref/mod#goproxy-protocol>).

use std::collections::BTreeSet;

/// The names below a proxy, or below the cache's `cache/download`, of all files that `go.sum` has
/// a digest of. Lines that are not understood are passed over: Go will judge them.
pub(super) fn files(text: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for line in text.lines() {
        let [module, version, _digest] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            continue;
        };
        match version.strip_suffix("/go.mod") {
            Some(version) => drop(files.insert(file(module, version, "mod"))),
            None => files.extend(["mod", "zip"].map(|kind| file(module, version, kind))),
        }
    }
    files
}

/// The name of one file of a module.
pub(super) fn file(module: &str, version: &str, kind: &str) -> String {
    format!("{}/@v/{}.{kind}", escaped(module), escaped(version))
}

/// As names that differ on file systems which know no capital letters.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(c.to_ascii_lowercase());
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_what_it_is_the_digest_of() {
        let text = "github.com/BurntSushi/toml v1.0.0-RC1 h1:x=\r\n\
            github.com/BurntSushi/toml v1.0.0-RC1/go.mod h1:y=\n\n\
            a.example/pruned v0.1.0/go.mod h1:z=\nodd\n";
        let files: Vec<_> = files(text).into_iter().collect();
        assert_eq!(
            files,
            [
                "a.example/pruned/@v/v0.1.0.mod",
                "github.com/!burnt!sushi/toml/@v/v1.0.0-!r!c1.mod",
                "github.com/!burnt!sushi/toml/@v/v1.0.0-!r!c1.zip",
            ]
        );
    }
}
