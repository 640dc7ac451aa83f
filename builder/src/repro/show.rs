//! Plan and verdict as text for people. What files and servers say is made visible: it is others'.

use std::fmt::Write as _;

use super::compare::Difference;
use super::place::Part;
use super::{Kept, Plan, Varied, Verdict};
use crate::build::artifact::Kind;
use crate::visible::visible;

/// As many characters are shown of what others say.
const SHOWN: usize = 200;

/// As many inputs of a step are shown.
const INPUTS: usize = 20;

/// What others say, visible and of a length that can be read.
pub(super) fn seen(text: &str) -> String {
    visible(&cut(text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| seen(name)).collect::<Vec<_>>().join(", ")
}

/// What will be done.
pub fn plan(plan: &Plan) -> String {
    let mut text = match (&plan.against, plan.builds) {
        (Some(against), _) => format!("builds `{}` once and compares with `{against}`", plan.image),
        (None, builds) => format!("builds `{}` {builds} times and compares", plan.image),
    };
    let each = if plan.builds == 1 { "it" } else { "each build" };
    let (packages, compiled) = (plan.packages, plan.compiled.len());
    let sources = "begins with an empty store but for sources";
    let work = format!("{packages} packages to unpack, {compiled} components to compile");
    line(&mut text, format!("; {each} {sources}: {work}"));
    if !plan.compiled.is_empty() {
        line(&mut text, format!("  compiled by {each}: {}", plan.compiled.join(", ")));
        line(
            &mut text,
            "  to compile takes minutes of processor time and gigabytes of room".into(),
        );
    }
    if !plan.taken.is_empty() {
        let taken = plan.taken.join(", ");
        line(&mut text, format!("  programs that are not compiled if the store has them: {taken}"));
    }
    conditions(&mut text, &plan.varied, &plan.kept);
    text
}

fn line(text: &mut String, line: String) {
    text.push_str(&line);
    text.push('\n');
}

fn conditions(text: &mut String, varied: &[Varied], kept: &[Kept]) {
    for Varied { condition, one, two } in varied {
        line(text, format!("  other {condition}: {one}; {two}"));
    }
    for Kept { condition, because } in kept {
        line(text, format!("  same {condition}: {because}"));
    }
}

/// What came of it.
pub fn verdict(verdict: &Verdict) -> String {
    let comparison = &verdict.comparison;
    let (compared, differing) = (comparison.compared.len(), comparison.differing.len());
    let mut text = String::new();
    let all = compared + verdict.left_out.len();
    if verdict.same && all > compared {
        let word = "same as far as compared";
        let what =
            format!("{word}: {compared} of {all} files of `{}`, byte for byte", verdict.image);
        line(&mut text, what);
    } else if verdict.same {
        line(&mut text, format!("same: {compared} files of `{}`, byte for byte", verdict.image));
    } else {
        line(
            &mut text,
            format!("different: {differing} of {compared} files of `{}`", verdict.image),
        );
    }
    for difference in comparison.causes() {
        cause(&mut text, difference, verdict.against.is_some());
    }
    if comparison.more > 0 {
        line(&mut text, format!("and at least {} places more", comparison.more));
    }
    let follows: Vec<_> = comparison
        .differing
        .iter()
        .filter(|file| comparison.causes().all(|cause| cause.file != **file))
        .collect();
    if !follows.is_empty() {
        line(&mut text, format!("these differ because of that: {}", list(follows)));
    }
    let is_disk = |file: &&String| *file == Kind::Disk.file_name();
    let (disks, unknown): (Vec<_>, Vec<_>) = verdict.left_out.iter().partition(is_disk);
    for disk in disks {
        line(&mut text, format!("not compared: {disk}, which `--disk` downloads"));
    }
    if !unknown.is_empty() {
        line(&mut text, format!("not compared, for no build here has it: {}", list(unknown)));
    }
    if !verdict.remembered.is_empty() {
        line(&mut text, format!("not done again: {}", verdict.remembered.join(", ")));
    }
    for output in verdict.builds.iter().filter_map(|build| build.output.as_ref()) {
        line(&mut text, format!("kept: {}", output.display()));
    }
    conditions(&mut text, &verdict.varied, &verdict.kept);
    text
}

fn cause(text: &mut String, difference: &Difference, published: bool) {
    let Difference { file, place, component, step, looks, one, two, inputs, .. } = difference;
    line(text, format!("{}: {}", seen(file), seen(&place.to_string())));
    if let Some(looks) = looks {
        line(text, format!("    {looks}"));
    }
    let sides = match published {
        _ if place.0.last().is_some_and(Part::is_reported) => ["reported", "published"],
        true => ["published", "here"],
        false => ["first", "second"],
    };
    for (side, value) in sides.iter().zip([one, two]) {
        if let Some(value) = value {
            line(text, format!("    {side:<10} {}", seen(value)));
        }
    }
    if let Some(component) = component {
        line(text, format!("    {:<10} {}", "component", seen(component)));
    }
    let Some(step) = step else { return };
    let mut words = format!("    {:<10} {}", "step", seen(step));
    match inputs.as_deref() {
        Some([]) => words += ", which had the same inputs in both builds",
        Some(lines) => {
            words += ", which had other inputs:";
            // They are visible as they are: see `step::Inputs`.
            for line in lines.iter().take(INPUTS) {
                let _ = write!(words, "\n      {}", cut(line));
            }
            if lines.len() > INPUTS {
                let _ = write!(words, "\n      and {} more", lines.len() - INPUTS);
            }
        }
        None => {}
    }
    line(text, words);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repro::{Comparison, Place};

    #[test]
    fn nothing_that_others_say_reaches_a_terminal_as_it_is() {
        let odd = |what: &str| format!("{what}\u{1b}]0;x\u{7}\u{202e}\n");
        let difference = Difference {
            file: odd("file"),
            place: Place(vec![Part::path(odd("path")), Part::section(odd("section"))]),
            component: Some(odd("component")),
            step: Some(odd("step")),
            looks: None,
            one: Some(odd("one")),
            two: Some("x".repeat(5000)),
            follows: None,
            inputs: Some((0..50).map(|index| format!("+ source {index}")).collect()),
        };
        let other =
            Difference { file: odd("other"), follows: Some("x".into()), ..difference.clone() };
        let verdict = Verdict {
            image: "tiny".into(),
            same: false,
            against: Some("https://a.example".into()),
            varied: Vec::new(),
            kept: Vec::new(),
            remembered: Vec::new(),
            left_out: vec![odd("left"), "disk.raw".into()],
            builds: Vec::new(),
            comparison: Comparison {
                compared: vec![odd("file"), odd("other")],
                differing: vec![odd("file"), odd("other")],
                differences: vec![difference, other],
                more: 0,
            },
        };
        let text = super::verdict(&verdict);
        let odd = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(odd), "{text:?}");
        for what in ["file", "path", "section", "component", "step", "one", "other", "left"] {
            assert!(text.contains(&format!("{what}\\u{{1b}}]0;x")), "{what} in {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() < 300), "{text}");
        assert!(text.contains("\nnot compared: disk.raw, which `--disk` downloads\n"), "{text}");
        assert!(text.contains("+ source 19\n      and 30 more\n"), "{text}");
    }

    #[test]
    fn a_verdict_on_less_than_all_says_so_first() {
        let verdict = |left_out: &[&str]| {
            let verdict = Verdict {
                image: "tiny".into(),
                same: true,
                against: None,
                varied: Vec::new(),
                kept: Vec::new(),
                remembered: Vec::new(),
                left_out: left_out.iter().map(|name| (*name).to_owned()).collect(),
                builds: Vec::new(),
                comparison: Comparison { compared: vec!["a".into()], ..Comparison::default() },
            };
            super::verdict(&verdict).lines().next().map(str::to_owned)
        };
        let first = |text: &str| Some(text.to_owned());
        assert_eq!(verdict(&[]), first("same: 1 files of `tiny`, byte for byte"));
        let partly = "same as far as compared: 1 of 2 files of `tiny`, byte for byte";
        assert_eq!(verdict(&["disk.raw"]), first(partly));
    }
}
