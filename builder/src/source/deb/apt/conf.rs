//! apt's configuration: settings by name, the later one counts. Of them we need the proxies.
//! Format: apt.conf(5). The judge in the tests is `apt-config dump`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Endings, parts};
use crate::credentials::Scheme;
use crate::http::Proxies;

/// How deep files may include one another, as in apt.
const MAX_DEPTH: usize = 10;

/// Settings in the order in which they were made, names in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Conf {
    settings: Vec<(String, String)>,
}

impl Conf {
    /// Reads `etc/apt/apt.conf.d` below `root`, then `etc/apt/apt.conf`. What cannot be read or
    /// understood is passed over: apt itself says so.
    pub(crate) fn read(root: &Path) -> Self {
        let mut conf = Self::default();
        let apt = root.join("etc/apt");
        let mut files = parts(&apt.join("apt.conf.d"), Endings::Conf);
        files.push(apt.join("apt.conf"));
        for file in files {
            conf.take_file(&file, root, 0);
        }
        conf
    }

    fn take_file(&mut self, file: &Path, root: &Path, depth: usize) {
        let Ok(text) = fs::read_to_string(file) else { return };
        for item in items(&text) {
            match item {
                Item::Set(name, value) => self.settings.push((name.to_lowercase(), value)),
                Item::Clear(name) => {
                    let name = name.to_lowercase();
                    let below = format!("{name}::");
                    self.settings.retain(|(one, _)| *one != name && !one.starts_with(&below));
                }
                Item::Include(place) if depth < MAX_DEPTH => {
                    let path: PathBuf = root.join(place.trim_start_matches('/'));
                    let files =
                        if place.ends_with('/') { parts(&path, Endings::Conf) } else { vec![path] };
                    files.iter().for_each(|file| self.take_file(file, root, depth + 1));
                }
                Item::Include(_) => {}
            }
        }
    }

    /// The value of a setting, if it is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let name = name.to_lowercase();
        let found = self.settings.iter().rev().find(|(one, _)| *one == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The proxies that apt uses: its own settings before those of the environment, each host's
    /// before the general one, and `https` those of `http` if it has none.
    pub(crate) fn proxies(&self, environment: Proxies) -> Proxies {
        let mut proxies = environment;
        let schemes = [(Scheme::Http, &["http"][..]), (Scheme::Https, &["https", "http"])];
        for (scheme, names) in schemes {
            let setting = |name: &str| self.get(&format!("Acquire::{name}::Proxy"));
            if let Some(value) = names.iter().find_map(|name| setting(name)) {
                *match scheme {
                    Scheme::Http => &mut proxies.http,
                    Scheme::Https => &mut proxies.https,
                } = way(value);
            }
            for name in names.iter().rev() {
                let start = format!("acquire::{name}::proxy::");
                for (setting, value) in &self.settings {
                    let host = setting.strip_prefix(&start).filter(|_| !value.is_empty());
                    if let Some(host) = host {
                        proxies.by_host.insert((scheme, host.to_owned()), way(value));
                    }
                }
            }
        }
        proxies
    }

    /// The setting by which apt would ask a program for the proxy, which we do not run.
    pub(crate) fn asks_a_program(&self) -> Option<&'static str> {
        ["Acquire::http::Proxy-Auto-Detect", "Acquire::http::ProxyAutoDetect"]
            .into_iter()
            .find(|name| self.get(name).is_some())
    }
}

/// What has no server, such as `DIRECT` and `false`, is no proxy.
fn way(value: &str) -> Option<String> {
    value.contains("://").then(|| value.to_owned())
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    Set(String, String),
    Clear(String),
    Include(String),
}

/// The settings and directives of a file.
fn items(text: &str) -> Vec<Item> {
    let text = without_comments(text);
    let mut items = Vec::new();
    // Names of the blocks that are open, each the whole way from the top.
    let mut stack: Vec<String> = Vec::new();
    let mut statement = String::new();
    let mut quoted = false;
    for c in text.chars() {
        quoted ^= c == '"';
        if quoted || !matches!(c, '{' | '}' | ';') {
            statement.push(if c == '\n' || c == '\t' { ' ' } else { c });
            continue;
        }
        let words = words(&std::mem::take(&mut statement));
        let parent = stack.last().map_or("", String::as_str);
        let name = |word: &str| match (parent, word) {
            ("", word) => word.to_owned(),
            (parent, "") => format!("{parent}::"),
            (parent, word) => format!("{parent}::{word}"),
        };
        match (words.as_slice(), c) {
            ([directive, value], ';') if directive == "#clear" => {
                items.push(Item::Clear(value.clone()));
            }
            ([directive, value], ';') if directive == "#include" => {
                items.push(Item::Include(value.clone()));
            }
            ([word, value, ..], _) => items.push(Item::Set(name(word), value.clone())),
            // A value without a name: one of a list.
            ([value], ';' | '}') => items.push(Item::Set(name(""), value.clone())),
            _ => {}
        }
        match (c, words.first()) {
            ('{', Some(word)) => stack.push(name(word)),
            ('}', _) => drop(stack.pop()),
            _ => {}
        }
    }
    items
}

/// Words, without the quotes around them.
fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in statement.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Without what stands after `//` or `#` and between `/*` and `*/`, but for quoted text and for
/// the directives that begin with a `#`.
fn without_comments(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        let directive = ["#clear", "#include", "#x-apt-configure-index"];
        let directive = directive.iter().any(|name| rest.starts_with(name));
        if !quoted && rest.starts_with("/*") {
            rest = rest[2..].split_once("*/").map_or("", |(_, rest)| rest);
        } else if !quoted && (rest.starts_with("//") || (c == '#' && !directive)) {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else {
            // Quotes do not go on over the end of a line.
            quoted = (quoted ^ (c == '"')) && c != '\n';
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    plain
}
