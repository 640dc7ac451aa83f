//! House rules that no compiler checks. Each is a function over the files that git knows; each
//! says what is wrong and where.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::command::{cargo, output, program, workspace};

/// A source file has one subject: past this many lines it has two.
const LONGEST_FILE: usize = 600;

/// Licences that everything we link may have.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    // libFuzzer, which is in no program of ours but those that hunt for panics.
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

pub(crate) fn run() -> Result<()> {
    let files =
        output(program("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let files: Vec<&str> = files.lines().filter(|file| workspace().join(file).is_file()).collect();
    let mut wrong = Vec::new();
    for file in &files {
        let bytes = fs::read(workspace().join(file))?;
        let Ok(text) = String::from_utf8(bytes) else {
            wrong.push(format!("{file}: not UTF-8: no binaries in git"));
            continue;
        };
        check_text(file, &text, &mut wrong);
        check_names(file, &text, &mut wrong);
        check_architecture(file, &text, &mut wrong);
        if file.ends_with(".md") {
            check_links(file, &text, &mut wrong);
        }
    }
    check_licences(&mut wrong)?;
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{} house rules are broken:\n  {}", wrong.len(), wrong.join("\n  "))
}

fn check_text(file: &str, text: &str, wrong: &mut Vec<String>) {
    let generated = ["Cargo.lock", "go.sum"].iter().any(|name| file.ends_with(name));
    if generated {
        return;
    }
    if file.ends_with(".rs") {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{file}: {lines} lines, more than {LONGEST_FILE}"));
        }
        if !text.starts_with("//!") && !file.contains("/tests/") && !file.ends_with("build.rs") {
            wrong.push(format!("{file}: no `//!` that says what it is"));
        }
    }
    for (number, line) in text.lines().enumerate() {
        let mut complain = |what: &str| wrong.push(format!("{file}:{}: {what}", number + 1));
        // Go is written with tabs, by its own `gofmt`.
        let go = file.ends_with(".go") || file.ends_with("go.mod");
        if line.contains('\t') && !go {
            complain("a tab");
        }
        if line.ends_with(' ') {
            complain("a space at the end of the line");
        }
        // Words that are put together here so that this file does not hold them.
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX:")] {
            if line.contains(word) {
                complain("a note to self: open an issue or do it");
            }
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        wrong.push(format!("{file}: no line break at its end"));
    }
}

/// `](path)` in Markdown: what is not a web address must exist.
/// What gives a file its name without bringing its content to the disk first.
const RENAMES: &[&str] = &["fs::rename(", ".persist(", "renameat"];

fn check_names(file: &str, text: &str, wrong: &mut Vec<String>) {
    if !file.starts_with("builder/src/") || file == "builder/src/durable.rs" {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        // The `persist` of our own module is no method.
        if RENAMES.iter().any(|call| line.contains(call)) && !line.contains("durable::") {
            let at = number + 1;
            wrong.push(format!("{file}:{at}: only `builder::durable` gives files their names"));
        }
    }
}

/// Names that differ between architectures, as they stand in texts.
const MACHINES: &[&str] = &[
    "amd64",
    "x86_64",
    "x86-64",
    "BOOTX64",
    "linuxx64",
    "bootx64",
    "ld-linux",
    "arm64",
    "aarch64",
    "BOOTAA64",
    "linuxaa64",
    "bootaa64",
];

/// A name of an architecture stands in the one module that knows them all. Tests say what they
/// want to see; the emulator of `bench` is a program of packages that the recipe beside it names.
fn check_architecture(file: &str, text: &str, wrong: &mut Vec<String>) {
    let crates = [
        "builder/src/",
        "cri/src/",
        "formats/src/",
        "init/src/",
        "node/src/",
        "updater/src/",
        "web/src/",
        "xtask/src/",
    ];
    // The last is where these names are looked for.
    let exempt = [
        "formats/src/architecture.rs",
        "xtask/src/bench/qemu.rs",
        "xtask/src/bench/qemu.toml",
        "xtask/src/tidy.rs",
    ];
    let tests = ["/testing.rs", "builder/src/source/deb/apt/choice.rs"];
    let test = file.contains("/tests") || tests.iter().any(|name| file.ends_with(name));
    if !crates.iter().any(|start| file.starts_with(start)) || exempt.contains(&file) || test {
        return;
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    for (number, line) in code.lines().enumerate() {
        let said = line.contains('"') && !line.trim_start().starts_with("//");
        if said && MACHINES.iter().any(|name| line.contains(name)) {
            let at = number + 1;
            wrong.push(format!("{file}:{at}: only `formats::architecture` names architectures"));
        }
    }
}

fn check_links(file: &str, text: &str, wrong: &mut Vec<String>) {
    let here = Path::new(file).parent().unwrap_or(Path::new(""));
    for (number, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let local = !target.is_empty() && !target.contains("://");
            if local && !workspace().join(here).join(target).exists() {
                wrong.push(format!("{file}:{}: the link to `{target}` leads nowhere", number + 1));
            }
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
}

/// Every crate can be used under licences of our list. `deny.toml` says the same to cargo-deny.
fn check_licences(wrong: &mut Vec<String>) -> Result<()> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&text)?;
    for package in &metadata.packages {
        let expression = package.license.as_deref().unwrap_or("none");
        if !permitted(expression) {
            wrong.push(format!(
                "crate {}: its licence `{expression}` is not on our list",
                package.name
            ));
        }
    }
    Ok(())
}

/// Whether an SPDX expression can be satisfied: all parts of an AND, one part of an OR.
fn permitted(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "");
    let one = |choice: &str| LICENCES.contains(&choice.trim());
    flat.split(" AND ").all(|part| part.replace('/', " OR ").split(" OR ").any(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_an_architecture_is_found_outside_its_module() {
        let found = |file: &str, text: &str| {
            let mut wrong = Vec::new();
            check_architecture(file, text, &mut wrong);
            wrong.len()
        };
        let line = "const TARGET: &str = \"x86_64-unknown-linux-gnu\";\n";
        let test = format!("#[cfg(test)]\nmod tests {{\n{line}}}\n");
        assert_eq!(found("builder/src/source/cargo.rs", line), 1);
        assert_eq!(found("builder/src/run/firmware.rs", line), 1);
        assert_eq!(found("xtask/src/fuzz.rs", line), 1);
        let loader = "const LOADER: &str = \"ld-linux.so\";\n";
        assert_eq!(found("builder/src/start.rs", loader), 1);
        assert_eq!(found("formats/src/architecture.rs", line), 0);
        assert_eq!(found("builder/src/source/cargo/tests.rs", line), 0);
        assert_eq!(found("builder/src/a.rs", &format!("// {line}")), 0);
        assert_eq!(found("builder/src/a.rs", &test), 0);
    }

    #[test]
    fn a_licence_expression_needs_one_of_each_or() {
        for good in ["MIT", "MIT OR Apache-2.0", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND ISC"] {
            assert!(permitted(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "none", ""] {
            assert!(!permitted(bad), "{bad}");
        }
    }

    #[test]
    fn broken_rules_are_found_with_their_line() {
        let mut wrong = Vec::new();
        check_text("a.rs", "//! x\n\tx \n", &mut wrong);
        assert_eq!(wrong, ["a.rs:2: a tab", "a.rs:2: a space at the end of the line"]);
        wrong.clear();
        check_text("a.go", "func main() {\n\trun() \n}\n", &mut wrong);
        assert_eq!(wrong, ["a.go:2: a space at the end of the line"]);
        wrong.clear();
        check_names("builder/src/a.rs", "//!\nfile.persist(path)?;\n", &mut wrong);
        assert_eq!(wrong, ["builder/src/a.rs:2: only `builder::durable` gives files their names"]);
        wrong.clear();
        check_names("builder/src/a.rs", "durable::rename(from, to)?;\n", &mut wrong);
        check_names("builder/src/durable.rs", "fs::rename(from, to)\n", &mut wrong);
        assert_eq!(wrong, [""; 0]);
        check_links(
            "README.md",
            "[a](no/such.md) [b](Cargo.toml) [c](https://x.example/y)",
            &mut wrong,
        );
        assert_eq!(wrong, ["README.md:1: the link to `no/such.md` leads nowhere"]);
    }
}
