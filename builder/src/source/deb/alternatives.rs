//! Links that a package's script would make with update-alternatives(1). No script is ever run: this
//! reads what stands in it, so that a program which nobody misses until it is called can be named
//! together with the line that makes it. No byte of an image depends on it.

use std::collections::BTreeMap;

use formats::tree::TreePath;
use serde::{Deserialize, Serialize};

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// Where it would be, an absolute path.
    pub link: String,
    /// What it would lead to, an absolute path.
    pub target: String,
    /// The highest of several for one link counts.
    pub priority: i64,
}

/// Finds the calls that a shell script makes with words that can be read without running it.
pub(crate) fn parse(script: &str) -> Vec<Alternative> {
    let mut found = Vec::new();
    for line in script.replace("\\\n", " ").lines() {
        let call = line.trim_start();
        if call.starts_with('#') {
            continue;
        }
        let mut words = call.split_whitespace().skip_while(|word| {
            *word != "update-alternatives" && !word.ends_with("/update-alternatives")
        });
        let mut words = words.by_ref().map_while(|word| {
            let ends = word.starts_with(['#', ';', '&', '|', '>', '<']);
            (!ends).then(|| word.replace(['"', '\''], ""))
        });
        let mut priority = 0;
        while let Some(word) = words.next() {
            let (link, target) = match word.as_str() {
                "--install" | "--slave" => {
                    let link = words.next();
                    // The name under which the choice is kept.
                    drop(words.next());
                    (link, words.next())
                }
                _ => continue,
            };
            let (Some(link), Some(target)) = (link, target) else { break };
            if word == "--install" {
                let number = words.next().unwrap_or_default();
                priority = number.trim_end_matches(';').parse().unwrap_or_default();
            }
            let target = target.trim_end_matches(';').to_owned();
            let plain = |path: &str| path.starts_with('/') && !path.contains(['$', '`', '*', '{']);
            if plain(&link) && plain(&target) {
                found.push(Alternative { link, target, priority });
            }
        }
    }
    found
}

/// For each package the links that are lacking in a tree that has what they would lead to, with the
/// lines of a recipe that make them. `has` says whether a path is in the tree.
pub fn lacking(
    packages: &[(String, Vec<Alternative>)],
    has: &dyn Fn(&TreePath) -> bool,
) -> Vec<String> {
    let path = |text: &str| TreePath::new(text).ok().map(|path| super::unpack::merged(path, false));
    let there = |text: &str| path(text).is_some_and(|path| has(&path));
    let mut warnings = Vec::new();
    for (package, alternatives) in packages {
        let mut best: BTreeMap<&str, &Alternative> = BTreeMap::new();
        for one in alternatives.iter().filter(|one| !there(&one.link) && there(&one.target)) {
            let known = best.entry(&one.link).or_insert(one);
            if one.priority > known.priority {
                *known = one;
            }
        }
        if best.is_empty() {
            continue;
        }
        let line = |one: &&Alternative| {
            // In one directory the name alone is enough.
            let (directory, name) = one.target.rsplit_once('/').unwrap_or_default();
            let same = one.link.rsplit_once('/').is_some_and(|(other, _)| other == directory);
            let target = if same { name } else { &one.target };
            format!("\n  \"{}\" = \"{target}\"", one.link)
        };
        warnings.push(format!(
            "a script of `{package}` would make links to programs, and none is run: what is needed \
             of them goes into `[tree.symlinks]`:{}",
            best.values().map(line).collect::<String>()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCRIPT: &str = "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n\
        \tupdate-alternatives \\\n\t  --install /usr/sbin/tables tables /usr/sbin/tables-old 10 \\\n\
        \t  --slave /usr/sbin/tables-save tables-save /usr/sbin/tables-old-save\n\
        \tupdate-alternatives --quiet --install /usr/sbin/tables tables /usr/sbin/tables-new 20 \\\n\
        \t  --slave /usr/sbin/tables-save tables-save /usr/sbin/tables-new-save || true\n\
        # update-alternatives --install /usr/bin/no no /usr/bin/yes 1\n\
        \tfor i in a b; do update-alternatives --install /usr/bin/$i $i \"/opt/$i\" 1; done\n\
        \t/usr/bin/update-alternatives --install \"/bin/mt\" mt '/bin/mt-gnu' -10; true\nfi\n";

    #[test]
    fn calls_with_plain_words_are_found() {
        let found = parse(SCRIPT);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.link.as_str(), one.target.as_str(), one.priority))
            .collect();
        assert_eq!(
            found,
            [
                ("/usr/sbin/tables", "/usr/sbin/tables-old", 10),
                ("/usr/sbin/tables-save", "/usr/sbin/tables-old-save", 10),
                ("/usr/sbin/tables", "/usr/sbin/tables-new", 20),
                ("/usr/sbin/tables-save", "/usr/sbin/tables-new-save", 20),
                ("/bin/mt", "/bin/mt-gnu", -10),
            ]
        );
    }

    #[test]
    fn a_link_that_is_lacking_is_named_with_the_line_that_makes_it() {
        let lacking = |there: &[&str]| {
            let has = |path: &TreePath| there.contains(&path.as_str());
            lacking(&[("tables".to_owned(), parse(SCRIPT))], &has)
        };
        let start = "a script of `tables` would make links to programs, and none is run: what is \
            needed of them goes into `[tree.symlinks]`:";
        let new = ["usr/sbin/tables-new", "usr/sbin/tables-old", "usr/bin/mt-gnu"];
        let lines = "\n  \"/bin/mt\" = \"mt-gnu\"\n  \"/usr/sbin/tables\" = \"tables-new\"";
        assert_eq!(lacking(&new), [format!("{start}{lines}")]);
        let old = lacking(&["usr/sbin/tables-old", "usr/sbin/tables-save"]);
        assert_eq!(old, [format!("{start}\n  \"/usr/sbin/tables\" = \"tables-old\"")]);
        assert!(lacking(&["usr/sbin/tables-new", "usr/sbin/tables"]).is_empty());
        assert!(lacking(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn any_script_is_read(text in "(update-alternatives|--install|--slave| /a|\\\\\n|[ ;#\n$]|.){0,24}") {
            let found = parse(&text);
            prop_assert!(found.iter().all(|one| one.link.starts_with('/')));
        }
    }
}
