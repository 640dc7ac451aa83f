//! As a page of its own: one file, no network, readable without its script. The browser runs no
//! script but the one whose digest the page names, whatever an image calls its files.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formats::digest::Sha256;

use super::document::{Cell, Document, Section};
use super::treemap::{Rectangle, squarify};
use crate::diff::sizes::{Group, Leaf, Map};
use crate::diff::{Change, Difference, both};
use crate::figures::{bytes, number};
use crate::visible::visible;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The map of the larger side, in units of its drawing.
const PLACE: Rectangle = Rectangle { x: 0.0, y: 0.0, width: 620.0, height: 440.0 };
/// What is smaller than so many square units is drawn together with its like.
const SMALLEST_LEAF: f64 = 30.0;
const SMALLEST_GROUP: f64 = 400.0;
/// The strip with a group's name.
const STRIP: f64 = 15.0;
/// The width of a letter of a file's name and of a group's, about.
const LETTER: f64 = 6.3;
const BOLD_LETTER: f64 = 7.4;

/// The whole page.
pub fn html(document: &Document, difference: &Difference) -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::of(text).as_bytes());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'sha256-{}'; script-src 'sha256-{}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        digest(STYLE),
        digest(SCRIPT),
        escaped(&document.heading)
    );
    page += &format!("<header>\n<h1>{}</h1>\n<dl>\n", escaped(&document.heading));
    for (what, side) in &document.sides {
        page += &format!("<dt>{what}</dt><dd>{}</dd>\n", escaped(side));
    }
    page += "</dl>\n</header>\n<main>\n";
    page += &summary(document);
    page += &maps(difference);
    for section in &document.sections {
        page += &table_section(section);
    }
    page += "</main>\n";
    if !document.notes.is_empty() {
        page += "<footer>\n";
        for note in &document.notes {
            page += &format!("<p>{}</p>\n", escaped(note));
        }
        page += "</footer>\n";
    }
    page += &format!("<script>{SCRIPT}</script>\n</body>\n</html>\n");
    page
}

fn summary(document: &Document) -> String {
    let mut text = String::from(
        "<section aria-labelledby=\"h-summary\">\n<h2 id=\"h-summary\">Summary</h2>\n",
    );
    text += "<div class=\"summary\">\n";
    if !document.different {
        text += "<p><strong>No difference.</strong></p>\n";
    }
    if !document.summary.is_empty() {
        text += "<dl>\n";
        for (what, said) in &document.summary {
            text += &format!("<dt>{what}</dt><dd>{}</dd>\n", escaped(said));
        }
        text += "</dl>\n";
    }
    text += "</div>\n";
    if !document.sections.is_empty() {
        text += "<nav aria-label=\"Parts\">\n<ul>\n";
        for section in &document.sections {
            let (id, title, count) = (section.id, section.title, section.rows.len());
            text += &format!(
                "<li><a href=\"#{id}\">{title}</a> <span class=\"count\">{count}</span></li>\n"
            );
        }
        text += "</ul>\n</nav>\n";
    }
    text + "</section>\n"
}

fn table_section(section: &Section) -> String {
    let (id, title) = (section.id, section.title);
    let count = section.rows.len();
    let mut text = format!(
        "<section id=\"{id}\" aria-labelledby=\"h-{id}\">\n\
         <h2 id=\"h-{id}\">{title} <span class=\"count\">{count}</span></h2>\n"
    );
    text += &table(section);
    text + "</section>\n"
}

fn table(section: &Section) -> String {
    let title = section.title;
    let numeric = |column: usize| section.rows.iter().all(|row| row[column].number().is_some());
    let class = |column: usize| if numeric(column) { " class=\"number\"" } else { "" };
    // A region that scrolls can be reached with the keyboard.
    let mut text = format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{title}\" tabindex=\"0\">\n<table>\n\
         <caption>{title}</caption>\n<thead><tr>"
    );
    for (column, name) in section.columns.iter().enumerate() {
        text += &format!("<th scope=\"col\"{}>{name}</th>", class(column));
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in &section.rows {
        text += "<tr>";
        for (column, cell) in row.iter().enumerate() {
            let shown = escaped(&cell.text());
            text += &match (cell, cell.number()) {
                (Cell::Name(_), _) => format!("<td><code>{shown}</code></td>"),
                (_, Some(value)) => {
                    format!("<td{} data-value=\"{value}\">{shown}</td>", class(column))
                }
                _ => format!("<td>{shown}</td>"),
            };
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table>\n</div>\n"
}

fn maps(difference: &Difference) -> String {
    let sides = [("before", &difference.map.before), ("after", &difference.map.after)];
    let size = |map: &Map| map.iter().map(|group| group.size).sum::<u64>();
    let sizes = sides.iter().map(|(_, map)| map.as_ref().map_or(0, size));
    let largest = sizes.max().unwrap_or_default();
    if largest == 0 {
        return String::new();
    }
    let mut text = String::from(
        "<section id=\"map\" aria-labelledby=\"h-map\">\n\
         <h2 id=\"h-map\">Where the bytes are</h2>\n\
         <p class=\"quiet\">Areas are bytes, in both maps of one scale.</p>\n\
         <ul class=\"legend\">\n",
    );
    for (class, what) in [
        ("same", "the same"),
        ("changed", "~ changed"),
        ("added", "+ added"),
        ("removed", "\u{2212} removed"),
    ] {
        text += &format!(
            "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect width=\"10\" height=\"10\" \
             class=\"{class}\"/></svg>{what}</li>\n"
        );
    }
    text += "</ul>\n<div class=\"maps\">\n";
    for (name, map) in sides {
        if let Some(map) = map {
            // Areas of both maps are of one scale.
            let height = PLACE.height * (size(map) as f64 / largest as f64);
            let place = Rectangle { height: height.max(20.0), ..PLACE };
            text += &figure(name, map, place);
        }
    }
    text += "</div>\n";
    text += "<details>\n<summary>The same as a table</summary>\n";
    text += &table(&groups(difference));
    text + "</details>\n</section>\n"
}

/// The groups of both maps, for whoever does not see them.
fn groups(difference: &Difference) -> Section {
    let sizes = |map: &Option<Map>| {
        let groups = map.iter().flatten().map(|group| (group.name.clone(), group.size));
        groups.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (before, after) = (sizes(&difference.map.before), sizes(&difference.map.after));
    let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
    let mut rows: Vec<_> = both(&before, &after)
        .map(|(name, before, after)| {
            let (before, after) = (before.copied(), after.copied());
            let by = signed(after.unwrap_or_default()) - signed(before.unwrap_or_default());
            let cells = vec![
                Cell::Name(visible(name)),
                Cell::Size(before),
                Cell::Size(after),
                Cell::Growth(by),
            ];
            (before.max(after), cells)
        })
        .collect();
    rows.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    Section {
        id: "groups",
        title: "Where the bytes are",
        columns: vec!["Component", "Before", "After", "Growth"],
        rows: rows.into_iter().map(|(_, cells)| cells).collect(),
    }
}

fn figure(name: &str, map: &Map, place: Rectangle) -> String {
    let total = map.iter().map(|group| group.size).sum::<u64>();
    let heaviest: Vec<_> = map
        .iter()
        .take(5)
        .map(|group| format!("{} {}", visible(&group.name), bytes(group.size)))
        .collect();
    let mut text = format!(
        "<figure>\n<figcaption>{name}: {}</figcaption>\n<svg viewBox=\"0 0 {:.0} {:.1}\" \
         role=\"img\" aria-labelledby=\"t-{name} d-{name}\">\n\
         <title id=\"t-{name}\">Bytes {name}</title>\n\
         <desc id=\"d-{name}\">{} in {}. The heaviest: {}.</desc>\n",
        bytes(total),
        place.width,
        place.height,
        bytes(total),
        number(map.len(), "group"),
        escaped(&heaviest.join(", "))
    );
    let scale = place.width * place.height / total.max(1) as f64;
    let map = merged_groups(map, scale);
    let sizes: Vec<_> = map.iter().map(|group| group.size).collect();
    for (group, at) in map.iter().zip(squarify(&sizes, place)) {
        draw_group(&mut text, group, at, scale);
    }
    text + "</svg>\n</figure>\n"
}

fn draw_group(text: &mut String, group: &Group, at: Rectangle, scale: f64) {
    let shown = visible(&group.name);
    let about = format!("{shown}: {}", bytes(group.size));
    *text += "<g>\n";
    rectangle(text, "group", at, &about);
    let strip = if at.width > 40.0 && at.height > 2.0 * STRIP { STRIP } else { 0.0 };
    if strip > 0.0 {
        label(text, "title", &shown, at, 11.5);
    }
    let inner = at.inner(1.5, strip);
    let files = merged_leaves(&group.files, scale);
    let sizes: Vec<_> = files.iter().map(|file| file.size).collect();
    for (file, at) in files.iter().zip(squarify(&sizes, inner)) {
        let (class, sign, word) = match file.change {
            None => ("leaf same", "", "the same"),
            Some(Change::Changed) => ("leaf changed", "~ ", "changed"),
            Some(Change::Added) => ("leaf added", "+ ", "added"),
            Some(Change::Removed) => ("leaf removed", "\u{2212} ", "removed"),
        };
        let shown = visible(&file.name);
        rectangle(text, class, at, &format!("{shown}: {}, {word}", bytes(file.size)));
        if at.width > 40.0 && at.height > 15.0 {
            let name = shown.rsplit('/').next().unwrap_or_default();
            label(text, "name", &format!("{sign}{name}"), at, 12.0);
        }
    }
    *text += "</g>\n";
}

fn rectangle(text: &mut String, class: &str, at: Rectangle, about: &str) {
    let Rectangle { x, y, width, height } = at;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\"><title>{}</title></rect>",
        escaped(about)
    );
}

/// A name at the top of a rectangle, cut to its width.
fn label(text: &mut String, class: &str, name: &str, at: Rectangle, below: f64) {
    let letter = if class == "title" { BOLD_LETTER } else { LETTER };
    #[expect(clippy::cast_possible_truncation, reason = "a few letters")]
    let room = ((at.width - 8.0) / letter).max(0.0) as usize;
    let count = name.chars().count();
    let shown: String = if count <= room {
        name.to_owned()
    } else {
        name.chars().take(room.saturating_sub(1)).chain(['\u{2026}']).collect()
    };
    let (x, y) = (at.x + 4.0, at.y + below);
    let _ = writeln!(
        text,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escaped(&shown)
    );
}

/// Groups too small to be seen become one.
fn merged_groups(map: &Map, scale: f64) -> Vec<Group> {
    let is_small = |group: &&Group| group.size as f64 * scale < SMALLEST_GROUP;
    let (small, mut kept): (Vec<&Group>, Vec<&Group>) = map.iter().partition(is_small);
    if small.len() < 2 {
        kept.extend(small);
        return kept.into_iter().cloned().collect();
    }
    let mut files: Vec<Leaf> = small.iter().flat_map(|group| group.files.clone()).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.size));
    let rest = Group {
        name: format!("{} more", small.len()),
        size: small.iter().map(|group| group.size).sum(),
        files,
    };
    let mut merged: Vec<Group> = kept.into_iter().cloned().collect();
    merged.push(rest);
    merged.sort_by_key(|group| std::cmp::Reverse(group.size));
    merged
}

/// Files too small to be seen become one for each thing that happened to them.
fn merged_leaves(files: &[Leaf], scale: f64) -> Vec<Leaf> {
    let is_small = |file: &&Leaf| file.size as f64 * scale < SMALLEST_LEAF;
    let (small, large): (Vec<&Leaf>, Vec<&Leaf>) = files.iter().partition(is_small);
    let mut merged: Vec<Leaf> = large.into_iter().cloned().collect();
    for change in [None, Some(Change::Changed), Some(Change::Added), Some(Change::Removed)] {
        let like: Vec<_> = small.iter().filter(|file| file.change == change).collect();
        match like.as_slice() {
            [] => {}
            [one] => merged.push(Leaf::clone(one)),
            many => merged.push(Leaf {
                name: number(many.len(), "small file"),
                size: many.iter().map(|file| file.size).sum(),
                change,
            }),
        }
    }
    merged.sort_by_key(|file| std::cmp::Reverse(file.size));
    merged
}

/// Text in which HTML sees no mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}
