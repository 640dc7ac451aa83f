//! As text: a summary, then tables, of which long ones are cut short.

use super::document::{Cell, Document, Section};

/// So many rows of a table are shown unless all are wanted.
pub const FEW: usize = 12;

/// A cell that is not the last of its row gets no wider.
const WIDEST: usize = 90;

/// The whole text. `all` shows every row.
pub fn text(document: &Document, all: bool) -> String {
    let mut text = format!("{}\n", document.heading);
    for (name, side) in &document.sides {
        text += &format!("  {name:<8}{side}\n");
    }
    text.push('\n');
    if !document.different {
        text += "no difference\n";
    }
    for (what, said) in &document.summary {
        text += &format!("  {what:<16}{said}\n");
    }
    for section in &document.sections {
        text += &format!("\n{}\n", section.title);
        table(&mut text, section, all);
    }
    if !document.notes.is_empty() {
        text.push('\n');
    }
    for note in &document.notes {
        text += &format!("{note}\n");
    }
    text
}

fn table(text: &mut String, section: &Section, all: bool) {
    let shown = if all || section.rows.len() <= FEW + 1 { section.rows.len() } else { FEW };
    let rows: Vec<Vec<String>> =
        section.rows[..shown].iter().map(|row| row.iter().map(Cell::text).collect()).collect();
    let length = |text: &String| text.chars().count();
    let widths: Vec<usize> = (0..section.columns.len())
        .map(|column| rows.iter().map(|row| length(&row[column])).max().unwrap_or(0).min(WIDEST))
        .collect();
    for (row, cells) in rows.iter().zip(&section.rows) {
        let mut line = String::from(" ");
        for ((cell, kind), width) in row.iter().zip(cells).zip(&widths) {
            let (right, width) = (kind.number().is_some(), *width);
            line += &if right { format!(" {cell:>width$}") } else { format!(" {cell:<width$}") };
            line.push(' ');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let more = section.rows.len() - shown;
    if more > 0 {
        *text += &format!("  ... and {more} more: `--all` shows them\n");
    }
}
