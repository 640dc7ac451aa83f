//! The picture of `docs/diff.md`: the head of the page that `orlop diff --format html` makes, as one
//! SVG, which is text, light or dark as the reader is.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::command::{output, program, workspace};
use crate::image;

/// Where it goes.
const PICTURE: &str = "docs/diff.svg";

/// What it shows, in pixels.
const SIZE: (u32, u32) = (1000, 930);

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The build that was there before
    before: PathBuf,
    /// Another build
    after: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = program(image::orlop()?);
    let page =
        output(command.args(["diff", "--format", "html"]).args([&args.before, &args.after]))?;
    let picture = picture(&page).context("the page of `orlop diff` is not as it was")?;
    fs::write(workspace().join(PICTURE), picture)?;
    println!("{PICTURE}");
    Ok(())
}

/// From the page: its style, its head, its summary and its maps. All of that is well-formed XML.
fn picture(page: &str) -> Option<String> {
    let between = |start: &str, end: &str| Some(page.split_once(start)?.1.split_once(end)?.0);
    let style = between("<style>", "</style>")?;
    let (summary, _) = between("<header>", "<details>")?.split_once("<nav")?;
    let maps = between("<section id=\"map\"", "<details>")?;
    let namespace = "xmlns=\"http://www.w3.org/2000/svg\"";
    let maps = maps.replace("<svg ", &format!("<svg {namespace} "));
    let (width, height) = SIZE;
    Some(format!(
        "<svg {namespace} width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>{style}\n.page {{ height: 100%; padding: 1.5rem; background: var(--back); \
         color: var(--text); font: 15px/1.5 system-ui, sans-serif; }}\n\
         .maps {{ grid-template-columns: 1fr 1fr; }}</style>\n\
         <foreignObject width=\"{width}\" height=\"{height}\">\n\
         <div xmlns=\"http://www.w3.org/1999/xhtml\" class=\"page\">\n\
         <header>{summary}</section>\n<section{maps}</section>\n</main>\n</div>\n\
         </foreignObject>\n</svg>\n"
    ))
}
