//! Plan and verdict as text for people.

use std::fmt::Write as _;

use super::compare::Difference;
use super::{Kept, Plan, Varied, Verdict};

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
    if verdict.same {
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
        line(&mut text, format!("and {} places more", comparison.more));
    }
    let follows: Vec<_> = comparison
        .differing
        .iter()
        .filter(|file| comparison.causes().all(|cause| cause.file != **file))
        .map(String::as_str)
        .collect();
    if !follows.is_empty() {
        line(&mut text, format!("these differ because of that: {}", follows.join(", ")));
    }
    if !verdict.left_out.is_empty() {
        let files = verdict.left_out.join(", ");
        line(&mut text, format!("not compared, for the report has no digest of it: {files}"));
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
    line(text, format!("{file}: {place}"));
    if let Some(looks) = looks {
        line(text, format!("    {looks}"));
    }
    let sides = if published { ["published", "here"] } else { ["first", "second"] };
    for (side, value) in sides.iter().zip([one, two]) {
        if let Some(value) = value {
            line(text, format!("    {side:<10} {value}"));
        }
    }
    if let Some(component) = component {
        line(text, format!("    {:<10} {component}", "component"));
    }
    let Some(step) = step else { return };
    let mut words = format!("    {:<10} {step}", "step");
    match inputs.as_deref() {
        Some([]) => words += ", which had the same inputs in both builds",
        Some(lines) => {
            let _ = write!(words, ", which had other inputs:\n      {}", lines.join("\n      "));
        }
        None => {}
    }
    line(text, words);
}
