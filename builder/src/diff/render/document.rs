//! What is said of a difference: a few lines first, then a table for each part that changed.

use crate::diff::files::{FileChange, FileState};
use crate::diff::packages::VersionChange;
use crate::diff::side::LibraryKind;
use crate::diff::{Change, Difference, Head};
use crate::figures::{bytes, growth, number, share};
use crate::visible::visible;

/// What is said. All texts are harmless: one line each, without a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The two sides.
    pub heading: String,
    /// Whether anything differs.
    pub different: bool,
    /// What each side is: `before` or `after`, and in words.
    pub sides: [(&'static str, String); 2],
    /// The few lines: what, and what happened to it.
    pub summary: Vec<(&'static str, String)>,
    /// A table for each part that changed.
    pub sections: Vec<Section>,
    /// What was not compared, and what figures are estimates of.
    pub notes: Vec<String>,
}

/// A part that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// One word, to name it in a page.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The headings of its columns.
    pub columns: Vec<&'static str>,
    /// Its rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

/// What stands in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// A word of ours.
    Word(&'static str),
    /// A name or value of an image.
    Name(String),
    /// Bytes; nothing where there is nothing.
    Size(Option<u64>),
    /// By how many bytes something grew.
    Growth(i64),
}

impl Cell {
    fn name(text: &str) -> Self {
        Self::Name(visible(text))
    }

    fn option(text: Option<&String>) -> Self {
        text.map_or(Self::Word("-"), |text| Self::name(text))
    }

    /// As text.
    pub fn text(&self) -> String {
        match self {
            Self::Word(word) => (*word).to_owned(),
            Self::Name(name) => name.clone(),
            Self::Size(None) => "-".to_owned(),
            Self::Size(Some(size)) => bytes(*size),
            Self::Growth(by) => growth(*by),
        }
    }

    /// What it is ordered by, if it is a number.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Size(size) => Some(i64::try_from(size.unwrap_or_default()).unwrap_or(i64::MAX)),
            Self::Growth(by) => Some(*by),
            _ => None,
        }
    }
}

impl Document {
    /// Of a difference.
    pub fn new(difference: &Difference) -> Self {
        let Difference { before, after, .. } = difference;
        let mut document = Self {
            heading: format!("{} -> {}", visible(&before.named), visible(&after.named)),
            different: difference.different,
            sides: [("before", head(before)), ("after", head(after))],
            summary: summary(difference),
            sections: Vec::new(),
            notes: notes(difference),
        };
        document.packages(difference);
        document.libraries(difference);
        document.kernel(difference);
        document.boot(difference);
        document.units(difference);
        document.surface(difference);
        document.sizes(difference);
        document.lock(difference);
        document.files(difference);
        document
    }

    fn add(
        &mut self,
        id: &'static str,
        title: &'static str,
        columns: &[&'static str],
        rows: impl IntoIterator<Item = Vec<Cell>>,
    ) {
        let rows: Vec<_> = rows.into_iter().collect();
        if !rows.is_empty() {
            self.sections.push(Section { id, title, columns: columns.to_vec(), rows });
        }
    }

    fn packages(&mut self, difference: &Difference) {
        let changes = difference.packages.iter().flatten();
        self.add("packages", "Debian packages", &VERSIONS, changes.map(version));
    }

    fn libraries(&mut self, difference: &Difference) {
        let kinds = [
            (LibraryKind::Go, "modules", "Go modules in programs", "Module"),
            (LibraryKind::Rust, "crates", "Crates in programs", "Crate"),
            (LibraryKind::Deb, "linked", "Debian libraries in programs", "Package"),
        ];
        for (kind, id, title, column) in kinds {
            let changes = difference.libraries.iter().flatten().filter(|one| one.kind == kind);
            let rows = changes.map(|change| {
                vec![
                    Cell::name(&change.name),
                    Cell::option(change.before.as_ref()),
                    Cell::option(change.after.as_ref()),
                    Cell::name(&change.programs.join(", ")),
                ]
            });
            self.add(id, title, &[column, "Before", "After", "In"], rows);
        }
    }

    fn kernel(&mut self, difference: &Difference) {
        let kernel = &difference.kernel;
        let mut rows = Vec::new();
        if let Some(release) = &kernel.release {
            let (before, after) = (release.before.as_ref(), release.after.as_ref());
            rows.push(vec![Cell::Word("release"), Cell::option(before), Cell::option(after)]);
        }
        if let Some(words) = &kernel.command_line {
            let none = || Cell::Word("-");
            let what = || Cell::Word("command line");
            rows.extend(words.removed.iter().map(|word| vec![what(), Cell::name(word), none()]));
            rows.extend(words.added.iter().map(|word| vec![what(), none(), Cell::name(word)]));
        }
        self.add("kernel", "Kernel", &["What", "Before", "After"], rows);
        let options = kernel.config.iter().flatten().map(|option| {
            let (before, after) = (option.before.as_ref(), option.after.as_ref());
            vec![Cell::name(&option.name), Cell::option(before), Cell::option(after)]
        });
        self.add("options", "Kernel options", &["Option", "Before", "After"], options);
        let modules = kernel.modules.iter().flatten().map(|module| {
            let change = Cell::Word(module.change.word());
            vec![Cell::name(&module.name), change, Cell::name(&module.place)]
        });
        self.add("kernel-modules", "Kernel modules", &["Module", "Change", "Place"], modules);
    }

    fn boot(&mut self, difference: &Difference) {
        let rows = difference.boot.iter().flatten().map(|part| {
            let (before, after) = (Cell::Size(part.before), Cell::Size(part.after));
            vec![Cell::name(&part.name), Cell::Word(part.change.word()), before, after]
        });
        self.add("boot", "Parts of the UKI", &["Section", "Change", "Before", "After"], rows);
    }

    fn units(&mut self, difference: &Difference) {
        let rows = difference.units.iter().flatten().flat_map(|unit| {
            let row = |key: &str, before: Option<&String>, after: Option<&String>| {
                vec![
                    Cell::name(&unit.name),
                    Cell::Word(unit.change.word()),
                    Cell::name(key),
                    Cell::option(before),
                    Cell::option(after),
                ]
            };
            let keys = unit.keys.iter();
            // Of one that came or went, what it starts says enough.
            let told = keys.filter(|one| unit.change == Change::Changed || one.key == "exec");
            let rows = told.map(|one| row(&one.key, one.before.as_ref(), one.after.as_ref()));
            let rows: Vec<_> = rows.collect();
            if rows.is_empty() { vec![row("", None, None)] } else { rows }
        });
        self.add("units", "Units", &["Unit", "Change", "Key", "Before", "After"], rows);
    }

    fn surface(&mut self, difference: &Difference) {
        let rows = difference.surface.iter().flatten().flat_map(|surface| {
            let row = move |change: Change| {
                move |name: &String| {
                    vec![Cell::Word(surface.what), Cell::Word(change.word()), Cell::name(name)]
                }
            };
            let added = surface.added.iter().map(row(Change::Added));
            added.chain(surface.removed.iter().map(row(Change::Removed)))
        });
        self.add("surface", "Attack surface", &["What", "Change", "Which"], rows);
    }

    fn sizes(&mut self, difference: &Difference) {
        let parts = [
            ("sizes", "Images", "Image", Some(&difference.sizes)),
            ("components", "Components", "Component", difference.components.as_ref()),
        ];
        for (id, title, column, changes) in parts {
            let rows = changes.into_iter().flatten().map(|change| {
                let (before, after) = (Cell::Size(change.before), Cell::Size(change.after));
                vec![Cell::name(&change.name), before, after, Cell::Growth(change.growth())]
            });
            self.add(id, title, &[column, "Before", "After", "Growth"], rows);
        }
    }

    fn lock(&mut self, difference: &Difference) {
        let Some(lock) = &difference.lock else { return };
        for (id, title, changes) in [
            ("compilers", "Packages that compile", &lock.compilers),
            ("rustc", "Rust compilers", &lock.rustc),
            ("suites", "Suites", &lock.suites),
            ("urls", "Files from the web", &lock.urls),
        ] {
            self.add(id, title, &VERSIONS, changes.iter().map(version));
        }
        let row =
            |change: Change| move |line: &String| vec![Cell::Word(change.word()), Cell::name(line)];
        let removed = lock.no_longer_asked.iter().map(row(Change::Removed));
        let rows = removed.chain(lock.asked.iter().map(row(Change::Added)));
        self.add("asked", "What the lock answers", &["Change", "Question"], rows);
    }

    fn files(&mut self, difference: &Difference) {
        let mut files: Vec<_> = difference.files.iter().flatten().collect();
        // What moved most bytes comes first; of the same, the order of paths stays.
        files.sort_by_key(|file| std::cmp::Reverse(grown(file).unwrap_or_default().unsigned_abs()));
        let rows = files.into_iter().map(|file| {
            let size = |state: &Option<FileState>| Cell::Size(content(state.as_ref()));
            vec![
                Cell::name(&path(file)),
                Cell::Word(file.change.word()),
                Cell::name(&what(file)),
                size(&file.before),
                size(&file.after),
                grown(file).map_or(Cell::Size(None), Cell::Growth),
            ]
        });
        let columns = ["Path", "Change", "What", "Before", "After", "Growth"];
        self.add("files", "Files", &columns, rows);
    }
}

const VERSIONS: [&str; 3] = ["Name", "Before", "After"];

fn version(change: &VersionChange) -> Vec<Cell> {
    let after = change.after.as_ref();
    let after = match after {
        Some(version) if change.older => Cell::name(&format!("{version} (older)")),
        other => Cell::option(other),
    };
    vec![Cell::name(&change.name), Cell::option(change.before.as_ref()), after]
}

fn path(file: &FileChange) -> String {
    if file.place == "root" { file.path.clone() } else { format!("{}:{}", file.place, file.path) }
}

/// In what a path differs, with old and new where they are short.
fn what(file: &FileChange) -> String {
    let (Some(before), Some(after)) = (&file.before, &file.after) else {
        let state = file.before.as_ref().or(file.after.as_ref());
        return state.map_or_else(String::new, |state| match &state.target {
            Some(target) => format!("{} to {target}", state.kind),
            None => format!("{} {} {}:{}", state.kind, state.mode, state.uid, state.gid),
        });
    };
    let target = |state: &FileState| state.target.clone().unwrap_or_default();
    let parts = file.what.iter().map(|what| match *what {
        "mode" => format!("mode {} -> {}", before.mode, after.mode),
        "owner" => {
            format!("owner {}:{} -> {}:{}", before.uid, before.gid, after.uid, after.gid)
        }
        "target" => format!("target {} -> {}", target(before), target(after)),
        "type" => format!("{} -> {}", before.kind, after.kind),
        "xattrs" => {
            let names = |state: &FileState| {
                state.xattrs.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
            };
            match (names(before), names(after)) {
                (one, other) if one == other => format!("value of {one}"),
                (one, other) => format!("xattrs [{one}] -> [{other}]"),
            }
        }
        other => other.to_owned(),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Bytes of a file's content; nothing else has any.
fn content(state: Option<&FileState>) -> Option<u64> {
    state.filter(|state| state.kind == "file").map(|state| state.size)
}

/// By how much the content grew, if there is any.
fn grown(file: &FileChange) -> Option<i64> {
    let (before, after) = (content(file.before.as_ref()), content(file.after.as_ref()));
    before.or(after)?;
    let signed = |size: Option<u64>| i64::try_from(size.unwrap_or_default()).unwrap_or(i64::MAX);
    Some(signed(after).saturating_sub(signed(before)))
}

fn head(head: &Head) -> String {
    let image = [&head.image, &head.version, &head.architecture];
    let image = image.into_iter().flatten().map(|text| visible(text)).collect::<Vec<_>>().join(" ");
    let kind = head.kind.words();
    let named = visible(&head.named);
    if image.is_empty() { format!("{named}: {kind}") } else { format!("{named}: {kind}, {image}") }
}

/// `2 added, 1 changed`; nothing if nothing did.
fn counted(changes: impl Iterator<Item = Change>) -> Option<String> {
    let mut counts = [0; 3];
    for change in changes {
        counts[change as usize] += 1;
    }
    let all = [Change::Added, Change::Removed, Change::Changed];
    let parts = all.into_iter().zip(counts).filter(|(_, count)| *count > 0);
    let parts: Vec<_> = parts.map(|(change, count)| format!("{count} {}", change.word())).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn of_versions(changes: &[VersionChange]) -> Option<String> {
    counted(changes.iter().filter_map(|c| Change::of(c.before.as_ref(), c.after.as_ref())))
}

fn summary(difference: &Difference) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let mut say = |what: &'static str, said: Option<String>| {
        lines.extend(said.map(|said| (what, said)));
    };
    say(
        "version",
        difference.version().map(|(before, after)| {
            let alone = if difference.is_of_version_alone() { ", and nothing else" } else { "" };
            format!("{} -> {}{alone}", visible(before), visible(after))
        }),
    );
    say("packages", difference.packages.as_deref().and_then(of_versions));
    for (kind, what) in [
        (LibraryKind::Go, "Go modules"),
        (LibraryKind::Rust, "crates"),
        (LibraryKind::Deb, "linked packages"),
    ] {
        let changes = difference.libraries.iter().flatten().filter(|one| one.kind == kind);
        say(what, counted(changes.filter_map(|c| Change::of(c.before.as_ref(), c.after.as_ref()))));
    }
    say("kernel", kernel(difference));
    say("in the UKI", counted(difference.boot.iter().flatten().map(|part| part.change)));
    say("units", counted(difference.units.iter().flatten().map(|unit| unit.change)));
    say("attack surface", surface(difference));
    for change in &difference.sizes {
        let (before, after) = (change.before.unwrap_or_default(), change.after.unwrap_or_default());
        let by = change.growth();
        let part = share(by.unsigned_abs(), before);
        let sign = if by < 0 { '-' } else { '+' };
        let text = format!("{} -> {} ({}, {sign}{part})", bytes(before), bytes(after), growth(by));
        match change.name.as_str() {
            "root" => say("root image", Some(text)),
            "uki" => say("UKI", Some(text)),
            "initrd" => say("initrd", Some(text)),
            _ => say("disk image", Some(text)),
        }
    }
    say("files", counted(difference.files.iter().flatten().map(|file| file.change)));
    if let Some(lock) = &difference.lock {
        say("compilers", of_versions(&lock.compilers));
        say("suites", of_versions(&lock.suites));
        say("from the web", of_versions(&lock.urls));
    }
    if let Some(fetch) = difference.fetch.filter(|_| difference.different) {
        let share = share(fetch.bytes, fetch.of);
        let text = format!("about {} of {} ({share})", bytes(fetch.bytes), bytes(fetch.of));
        say("to fetch", Some(text));
    }
    lines
}

fn kernel(difference: &Difference) -> Option<String> {
    let kernel = &difference.kernel;
    let mut parts = Vec::new();
    if let Some(release) = &kernel.release {
        let text = |side: &Option<String>| visible(side.as_deref().unwrap_or_default());
        parts.push(format!("{} -> {}", text(&release.before), text(&release.after)));
    }
    let words = kernel.command_line.as_ref();
    let words = words.map_or(0, |words| words.added.len() + words.removed.len());
    let options = kernel.config.as_ref().map_or(0, Vec::len);
    let modules = counted(kernel.modules.iter().flatten().map(|module| module.change));
    if words > 0 {
        parts.push(format!("{} of the command line", number(words, "word")));
    }
    if options > 0 {
        parts.push(number(options, "option"));
    }
    parts.extend(modules.map(|modules| format!("modules: {modules}")));
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn surface(difference: &Difference) -> Option<String> {
    let changed = difference.surface.iter().flatten().filter(|surface| surface.differs());
    let parts = changed.map(|surface| {
        let moved = [('+', surface.added.len()), ('-', surface.removed.len())];
        let moved = moved.into_iter().filter(|(_, count)| *count > 0);
        let moved: Vec<_> = moved.map(|(sign, count)| format!("{sign}{count}")).collect();
        format!("{} {}", moved.join(" "), surface.what)
    });
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn notes(difference: &Difference) -> Vec<String> {
    let mut notes = Vec::new();
    let lists = &difference.untold;
    let both = |what: &str| lists.len() == 2 && lists.iter().all(|one| one.what.contains(&what));
    for untold in lists {
        let named = if untold.side == "before" { &difference.before } else { &difference.after };
        let (named, kind) = (visible(&named.named), untold.kind.words());
        let what: Vec<_> = untold.what.iter().filter(|what| !both(what)).copied().collect();
        if !what.is_empty() {
            let what = what.join(", ");
            notes.push(format!("Not compared, because {named}, {kind}, does not tell: {what}."));
        }
    }
    let neither: Vec<_> = lists.iter().take(1).flat_map(|one| &one.what).copied().collect();
    let neither: Vec<_> = neither.into_iter().filter(|what| both(what)).collect();
    if !neither.is_empty() {
        notes.push(format!("Not compared, because neither side tells: {}.", neither.join(", ")));
    }
    if let Some(fetch) = difference.fetch.filter(|_| difference.different) {
        notes.push(format!(
            "What is to fetch is an estimate for a node that has the first side: {}.",
            fetch.by.words()
        ));
    }
    notes
}
