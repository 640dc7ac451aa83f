//! What is wrong with `[update]` that only shows when it is used: PID 1 takes such a configuration, and the
//! updater tells of it on the node. On the host somebody can mend it before.

use std::ops::Range;

use toml::de::DeTable;

use super::{Lockdown, NodeConfig, Problem};
use crate::tuf::{Reason, Root, Signed, TopLevel};

/// What is wrong with `[update]` of `config`, which was read from `text`, in the order of the text: a root
/// that no channel can begin with, and a trial by kexec that the node's own `[security]` keeps from it.
pub fn update_problems(text: &str, config: &NodeConfig) -> Vec<Problem> {
    let update = &config.update;
    let table = DeTable::parse(text).ok();
    let place = |key: &str| -> Range<usize> {
        let section = table.as_ref().and_then(|table| table.get_ref().get("update"));
        let section = section.and_then(|section| section.get_ref().as_table());
        section.and_then(|section| section.get(key)).map_or(0..0, toml::Spanned::span)
    };
    let mut problems = Vec::new();
    if let Some(Err(why)) = update.root.as_deref().map(check_root) {
        let message = format!("`update.root` is no root that a channel can begin with: {why}");
        let mut problem = Problem::at(text, place("root"), message);
        problem.hint = Some("it is the text of `metadata/1.root.json` of the channel".to_owned());
        problems.push(problem);
    }
    let security = config.security;
    if update.kexec && !(security.lockdown == Lockdown::None && security.kexec) {
        let message = "`update.kexec` has no effect on a node that starts no other kernel";
        let mut problem = Problem::at(text, place("kexec"), message.to_owned());
        let hint = "it takes `lockdown = \"none\"` and `kexec = true` in `[security]`";
        problem.hint = Some(hint.to_owned());
        problems.push(problem);
    }
    problems.sort_by_key(|problem| problem.span.start);
    problems
}

/// Whether a text is a root that its own keys have signed.
fn check_root(text: &str) -> Result<(), Reason> {
    let signed = Signed::parse(text.as_bytes())?;
    let root: Root = signed.metadata()?;
    signed.check(&root.keys, root.role(TopLevel::Root), TopLevel::Root.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_config::parse;
    use crate::tuf::{Ed25519, Head, Signer as _};

    fn problems(update: &str) -> Vec<(usize, String)> {
        let text = format!("schema = 1\n{update}");
        let found = update_problems(&text, &parse(&text).unwrap());
        found.into_iter().map(|problem| (problem.line, problem.message)).collect()
    }

    fn is_wrong(update: &str, line: usize, words: &str) {
        let found = problems(update);
        let [(at, message)] = &found[..] else { panic!("{update}: {found:?}") };
        assert!(*at == line && message.contains(words), "{update}: {found:?}");
    }

    #[test]
    fn a_root_that_nothing_can_begin_with_is_told() {
        let key = Ed25519::from_seed(&[7; 32]).unwrap();
        let root = Root::new(Head::new(1, 2_000_000_000), |_| (vec![key.key()], 1));
        let mut signed = Signed::new(&root);
        let update = |text: &[u8]| {
            format!("[update]\nroot = '''{}'''", String::from_utf8(text.to_vec()).unwrap())
        };
        is_wrong(&update(&signed.to_file()), 3, "0 of the keys of `root` have signed it");
        let Ok(()) = signed.sign(&key);
        assert_eq!(problems(&update(&signed.to_file())), []);
        for (junk, words) in [("junk", "JSON"), ("", "JSON"), ("{}", "signatures")] {
            is_wrong(&format!("[update]\nroot = \"{junk}\""), 3, words);
        }
    }

    #[test]
    fn a_trial_by_kexec_that_the_node_does_not_let_happen_is_told() {
        let kexec = "[update]\nkexec = true\n";
        let words = "`update.kexec` has no effect";
        is_wrong(kexec, 3, words);
        is_wrong(&format!("{kexec}[security]\nlockdown = 'none'"), 3, words);
        let open = "[security]\nlockdown = 'none'\nkexec = true";
        assert_eq!(problems(&format!("{kexec}{open}")), []);
        assert_eq!(problems("[update]\nkexec = false"), []);
    }
}
