//! As Markdown for a comment of a pull request: a summary, and tables, of which long ones are folded.
//! It always fits: what would not is cut, and says so.

use super::document::{Cell, Document, Section};

/// What a comment may have, in characters, of GitHub and others.
pub const LIMIT: usize = 65_536;

/// Longer tables are folded.
const FEW: usize = 10;

/// Rows of a table, tried one after the other until the whole fits.
const TRIES: [usize; 9] = [usize::MAX, 500, 200, 100, 50, 20, 10, 4, 0];

/// A text gets no longer in a comment.
const LONGEST: usize = 300;

/// The whole text.
pub fn markdown(document: &Document) -> String {
    let mut text = String::new();
    for rows in TRIES {
        text = with(document, rows);
        if text.chars().count() <= LIMIT {
            break;
        }
    }
    text
}

fn with(document: &Document, rows: usize) -> String {
    let mut text = format!("### {}\n\n", name(&document.heading));
    for (what, side) in &document.sides {
        text += &format!("- {what}: {}\n", name(side));
    }
    text.push('\n');
    if !document.different {
        text += "**No difference.**\n\n";
    }
    if !document.summary.is_empty() {
        text += "| | |\n|---|---|\n";
    }
    for (what, said) in &document.summary {
        text += &format!("| {what} | {} |\n", plain(said));
    }
    for section in &document.sections {
        table(&mut text, section, rows);
    }
    for note in &document.notes {
        text += &format!("\n<sub>{}</sub>\n", plain(note));
    }
    text
}

fn table(text: &mut String, section: &Section, most: usize) {
    let count = section.rows.len();
    let folded = count > FEW;
    if folded {
        *text += &format!("\n<details><summary><b>{}</b> ({count})</summary>\n\n", section.title);
    } else {
        *text += &format!("\n**{}**\n\n", section.title);
    }
    let numeric = |column: usize| section.rows.iter().all(|row| row[column].number().is_some());
    let rules: Vec<_> = (0..section.columns.len())
        .map(|column| if numeric(column) { "--:" } else { "---" })
        .collect();
    *text += &format!("| {} |\n| {} |\n", section.columns.join(" | "), rules.join(" | "));
    for row in section.rows.iter().take(most) {
        let cells: Vec<_> = row.iter().map(cell).collect();
        *text += &format!("| {} |\n", cells.join(" | "));
    }
    if count > most {
        *text += &format!("\n... and {} more, for which there is no room here.\n", count - most);
    }
    if folded {
        *text += "\n</details>\n";
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Name(text) => name(text),
        other => plain(&other.text()),
    }
}

/// A name of an image: as code, in which nobody is mentioned and no address becomes a link.
fn name(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<code>{}</code>", plain(text)) }
}

/// Text in which nothing has a meaning: what Markdown or HTML would obey are references to
/// characters.
fn plain(text: &str) -> String {
    let mut escaped = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == LONGEST {
            escaped += " ...";
            break;
        }
        match c {
            '&' | '<' | '>' | '"' | '\'' | '|' | '`' | '*' | '_' | '~' | '[' | ']' | '\\' | '#'
            | '@' | '!' | '$' => escaped += &format!("&#{};", u32::from(c)),
            c => escaped.push(c),
        }
    }
    escaped
}
