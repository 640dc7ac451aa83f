//! Where each node is, while it goes on: lines with bars on a terminal, a line for each change elsewhere.

use std::collections::BTreeMap;

use upgrade::rollout::{Outcome, Shown, Stage};
use upgrade::run::News;

use crate::progress::{Board, Progress};

/// Where there is no screen, a line is worth so many more percent.
const STEP: u8 = 25;
/// Characters of a bar.
const BAR: usize = 24;

/// Shows it.
pub(super) struct Show<'a> {
    progress: &'a Progress,
    board: Option<Board>,
    /// What was said of each node last.
    said: BTreeMap<String, (String, Option<u8>)>,
    silent: bool,
}

impl<'a> Show<'a> {
    pub(super) fn new(progress: &'a Progress) -> Self {
        Self { progress, board: progress.board(), said: BTreeMap::new(), silent: false }
    }

    pub(super) fn tell(&mut self, news: &News<'_>) {
        match news {
            News::Silence(refusal) => {
                if !std::mem::replace(&mut self.silent, true) {
                    self.progress.warn(format!("the API server is not heard: {refusal}"));
                }
            }
            News::Shown(nodes) => {
                self.silent = false;
                self.show(nodes);
            }
        }
    }

    fn show(&mut self, nodes: &[Shown]) {
        if let Some(board) = &mut self.board {
            let width = nodes.iter().map(|shown| shown.node.chars().count()).max().unwrap_or(0);
            let lines = nodes.iter().filter(|shown| shown.stage != Stage::Waits);
            board.set(&lines.map(|shown| line(shown, width)).collect::<Vec<_>>());
        }
        for Shown { node, stage } in nodes {
            let now = said(stage);
            let before = self.said.get(node);
            let more = match (before, &now) {
                (None, _) => *stage != Stage::Waits,
                (Some((text, _)), (new, _)) if text != new => true,
                (Some((_, Some(before))), (_, Some(now))) => *now >= before.saturating_add(STEP),
                _ => false,
            };
            if more {
                self.progress.node(node, &now.0, now.1);
                self.said.insert(node.clone(), now);
            }
        }
    }
}

/// Where a node is, in words, and how much of it is done in percent.
pub(super) fn said(stage: &Stage) -> (String, Option<u8>) {
    let text = match stage {
        Stage::Waits => "waits".to_owned(),
        Stage::Cordons => "is being cordoned".to_owned(),
        Stage::Drains(0, _) => "its pods have gone".to_owned(),
        Stage::Drains(1, None) => "1 pod leaves".to_owned(),
        Stage::Drains(left, None) => format!("{left} pods leave"),
        Stage::Drains(left, Some(why)) => format!("pods leave, {left} are left; {why}"),
        Stage::Asked => "is asked".to_owned(),
        Stage::Works(phase, percent) => return (phase.name().to_owned(), *percent),
        Stage::Comes => "is back, and not Ready yet".to_owned(),
        Stage::Ends(outcome) => format!("{}; is let go", outcome_text(outcome)),
        Stage::Ended(outcome) => outcome_text(outcome),
    };
    (text, None)
}

/// What came of a node, in words.
pub(super) fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Upgraded { from, to } => format!("{from} -> {to}"),
        Outcome::Already(version) => format!("runs {version} already"),
        Outcome::NotBegun => "not begun".to_owned(),
        Outcome::FellBack(why) => format!("fell back: {why}"),
        Outcome::NotTaken(why) => format!("not taken: {why}"),
        Outcome::PodsRemain(why) => format!("its pods do not leave: {why}"),
        Outcome::Lost(why) => format!("does not come back: {why}"),
        Outcome::Forbidden(why) => format!("may not be changed: {why}"),
        Outcome::Elsewhere(why) => why.clone(),
    }
}

fn line(shown: &Shown, width: usize) -> String {
    let (text, percent) = said(&shown.stage);
    let name = format!("{:<width$}", shown.node);
    let Some(percent) = percent else { return format!("{name}  {text}") };
    let done = BAR * usize::from(percent.min(100)) / 100;
    let bar: String = (0..BAR)
        .map(|place| match place {
            place if place < done => '=',
            place if place == done => '>',
            _ => ' ',
        })
        .collect();
    format!("{name}  {text} [{bar}] {percent} %")
}

#[cfg(test)]
mod tests {
    use formats::fleet::Phase;

    use super::*;

    #[test]
    fn a_line_has_a_bar_while_an_image_comes() {
        let shown = |stage| Shown { node: "worker-1".to_owned(), stage };
        for (stage, want) in [
            (
                Stage::Works(Phase::Staging, Some(50)),
                "worker-1   staging [============>           ] 50 %",
            ),
            (
                Stage::Works(Phase::Staging, Some(100)),
                "worker-1   staging [========================] 100 %",
            ),
            (Stage::Works(Phase::Trial, None), "worker-1   trial"),
            (Stage::Drains(2, None), "worker-1   2 pods leave"),
            (Stage::Drains(0, None), "worker-1   its pods have gone"),
            (
                Stage::Ends(Outcome::FellBack("why".to_owned())),
                "worker-1   fell back: why; is let go",
            ),
        ] {
            assert_eq!(line(&shown(stage), 9), want);
        }
    }
}
