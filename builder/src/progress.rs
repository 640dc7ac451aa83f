//! What a person or a machine sees while we work: bars on a terminal, plain lines otherwise,
//! JSON on request. Everything goes to stderr; stdout is for results.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::error::SCHEMA;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Bars if stderr is a terminal, plain lines if not.
    Auto,
    /// One line when a task ends.
    Plain,
    /// One JSON object a line.
    Json,
    /// Nothing but errors.
    None,
}

/// Where progress goes. Cheap to clone; all clones draw on one screen.
#[derive(Debug, Clone)]
pub struct Progress {
    mode: Mode,
    bars: MultiProgress,
}

impl Progress {
    /// Decides what `Auto` means here.
    pub fn new(mode: Mode) -> Self {
        let mode = match mode {
            Mode::Auto if !std::io::stderr().is_terminal() => Mode::Plain,
            mode => mode,
        };
        Self { mode, bars: MultiProgress::new() }
    }

    /// Begins a task; `bytes` is its size if it is known and worth a bar.
    pub fn task(&self, name: impl Into<String>, bytes: Option<u64>) -> Task {
        let name = name.into();
        let bar = (self.mode == Mode::Auto).then(|| {
            let (bar, template) = match bytes {
                Some(total) => (
                    ProgressBar::new(total),
                    "{spinner} {msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec}",
                ),
                None => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
            };
            let bar = self.bars.add(bar);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(name.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        self.json("start", &name, "");
        Task { progress: self.clone(), name, bar }
    }

    /// One line for people; machines get it as an event.
    pub fn note(&self, text: impl AsRef<str>) {
        self.json("note", text.as_ref(), "");
        self.line(text.as_ref());
    }

    /// Something that is worth a look and does not stop the work.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.json("warning", text.as_ref(), "");
        self.line(&format!("warning: {}", text.as_ref()));
    }

    /// Something that is done: machines get it as an event at once, people later in a table.
    pub fn record(&self, name: &str, result: &str) {
        self.json("done", name, result);
    }

    /// Where something is that goes on for long, in words, and how much of it is done in percent: a line
    /// for people where there is no board, an event for machines.
    pub fn node(&self, name: &str, text: &str, percent: Option<u8>) {
        if self.mode == Mode::Json {
            let object = serde_json::json!({
                "schema": SCHEMA, "event": "node", "name": name, "result": text, "percent": percent
            });
            drop(writeln!(std::io::stderr(), "{object}"));
        }
        if self.mode == Mode::Plain {
            let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
            self.line(&format!("{name}  {text}{percent}"));
        }
    }

    /// Lines for people alone, such as a table of what machines got as events.
    pub fn table(&self, lines: &str) {
        lines.lines().for_each(|line| self.line(line));
    }

    /// Lines that stay at the bottom of the screen and change; nothing where there is no screen.
    pub fn board(&self) -> Option<Board> {
        let shown = self.mode == Mode::Auto;
        shown.then(|| Board { bars: self.bars.clone(), lines: Vec::new() })
    }

    fn line(&self, text: &str) {
        match self.mode {
            // The bars are redrawn below the line: their own `println` fills it with blanks to the
            // terminal's width. A closed stderr is no reason to stop.
            Mode::Auto => drop(self.bars.suspend(|| writeln!(std::io::stderr(), "{text}"))),
            Mode::Plain => drop(writeln!(std::io::stderr(), "{text}")),
            Mode::Json | Mode::None => {}
        }
    }

    fn json(&self, event: &str, name: &str, result: &str) {
        if self.mode == Mode::Json {
            let object = serde_json::json!({
                "schema": SCHEMA, "event": event, "name": name, "result": result
            });
            drop(writeln!(std::io::stderr(), "{object}"));
        }
    }
}

/// Lines on the screen that change. Dropped, they vanish.
#[derive(Debug)]
pub struct Board {
    bars: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Board {
    /// Shows these lines instead of what was there.
    pub fn set(&mut self, lines: &[String]) {
        for bar in self.lines.drain(lines.len().min(self.lines.len())..) {
            self.bars.remove(&bar);
        }
        for (index, line) in lines.iter().enumerate() {
            if index == self.lines.len() {
                let bar = self.bars.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                    bar.set_style(style);
                }
                self.lines.push(bar);
            }
            self.lines[index].set_message(line.clone());
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        for bar in &self.lines {
            self.bars.remove(bar);
        }
    }
}

/// A piece of work under way. Dropped without [`Task::done`], it vanishes from the screen.
#[derive(Debug)]
pub struct Task {
    progress: Progress,
    name: String,
    bar: Option<ProgressBar>,
}

impl Task {
    /// So many more bytes are done.
    pub fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Ends it with one line: the task's name and what came out.
    pub fn done(self, result: impl AsRef<str>) {
        self.progress.json("done", &self.name, result.as_ref());
        self.progress.line(&format!("{:<24} {}", self.name, result.as_ref()));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
