//! What was found and what went, as JSON and as a table.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{CATEGORIES, Item, Needed, Places, Verdict};
use crate::figures::bytes;

/// Whether anything was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Removed,
    /// It was only asked what would be.
    DryRun,
}

/// What `orlop clean` has found and done. `docs/json.md` has the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Nothing was removed.
    pub dry_run: bool,
    /// What was not used for this many seconds may go.
    pub older_than_seconds: u64,
    /// The locks that keep something.
    pub locks: Vec<String>,
    /// What was, or would be, freed.
    pub removed_bytes: u64,
    /// What stays.
    pub kept_bytes: u64,
    /// One entry for each category.
    pub categories: Vec<Row>,
}

/// What is said of a category.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub directory: String,
    /// What goes.
    pub removed: Sum,
    /// What stays because it was used lately, or was not asked for.
    pub kept: Sum,
    /// What stays because a lock needs it.
    pub needed: Sum,
}

/// How many pieces, and how large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sum {
    /// How many.
    pub items: u64,
    /// What they take on the disk.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, item: &Item) {
        self.items += 1;
        self.bytes += item.bytes;
    }
}

impl Report {
    /// Adds up what was decided.
    pub fn new(
        items: &[Item],
        verdicts: &[Verdict],
        needed: &Needed,
        places: Places<'_>,
        older_than: Duration,
        outcome: Outcome,
    ) -> Self {
        let row = |category: &super::Category| Row {
            name: category.name,
            directory: category.kind.directory(places).display().to_string(),
            ..Row::default()
        };
        let mut categories: Vec<_> = CATEGORIES.iter().map(row).collect();
        for (item, verdict) in items.iter().zip(verdicts) {
            let row = &mut categories[item.category];
            match verdict {
                Verdict::Remove => row.removed.add(item),
                Verdict::Young | Verdict::NotAsked => row.kept.add(item),
                Verdict::Needed => row.needed.add(item),
            }
        }
        Self {
            dry_run: outcome == Outcome::DryRun,
            older_than_seconds: older_than.as_secs(),
            locks: needed.locks.iter().map(|lock| lock.display().to_string()).collect(),
            removed_bytes: categories.iter().map(|row| row.removed.bytes).sum(),
            kept_bytes: categories.iter().map(|row| row.kept.bytes + row.needed.bytes).sum(),
            categories,
        }
    }
}

impl fmt::Display for Report {
    /// A line for each category that has something, and one for all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |sum: &Sum| match sum.items {
            0 => "-".to_owned(),
            items => format!("{items}, {}", bytes(sum.bytes)),
        };
        let going = if self.dry_run { "would go" } else { "removed" };
        let mut lines = vec![["", going, "needed by locks", "used lately"].map(str::to_owned)];
        for row in &self.categories {
            if [row.removed, row.kept, row.needed].iter().any(|sum| sum.items > 0) {
                let sums = [&row.removed, &row.needed, &row.kept].map(cell);
                let [removed, needed, kept] = sums;
                lines.push([row.name.to_owned(), removed, needed, kept]);
            }
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<_> = (0..4).map(|column| width(column).unwrap_or(0)).collect();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        let removed = bytes(self.removed_bytes);
        let kept = bytes(self.kept_bytes);
        match (self.dry_run, self.removed_bytes) {
            (_, 0) => write!(f, "nothing to remove, {kept} stay"),
            (true, _) => write!(f, "{removed} would be freed, {kept} stay; nothing was removed"),
            (false, _) => write!(f, "{removed} freed, {kept} stay"),
        }
    }
}
