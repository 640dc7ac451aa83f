//! `--json` and `--progress json`: every command has an object or refuses, a failure is an object,
//! and all of them are what `docs/json.md` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use builder::cli::Cli;
use serde_json::Value;

use crate::documented::{Table, sections};
use crate::mock_registry::{MockRegistry, Reply};
use crate::project::{Ended, Project, repository};

/// What `--json` must make of a command line.
enum Want {
    /// An object as this section of the page says.
    Object(&'static str),
    /// The same, and then a failure with this id.
    Verdict(&'static str, &'static str),
    /// A failure with this id.
    Failure(&'static str),
}

use Want::{Failure, Object, Verdict};

/// Sections whose objects are checked elsewhere: they need QEMU, a control plane, programs of Go, or
/// somebody who ends them.
const ELSEWHERE: [&str; 7] = [
    "`orlop run`",
    "`orlop cluster`",
    "`orlop diff`",
    "`orlop serve`",
    "`orlop upgrade`",
    "`orlop upgrade --dry-run`",
    "`orlop upgrade --status`",
];

/// The section of those that make metadata and sign it.
const SIGNED: &str = "`orlop keys init`, `orlop keys sign` and `orlop keys rotate`";

/// The section of those that change what is published.
const PUBLISHED: &str = "`orlop publish`, `orlop promote` and `orlop withdraw`";

/// Command lines in an order in which they make sense.
const LINES: &[(&str, Want)] = &[
    ("init node-1 --base recipe.toml", Object("`orlop init`")),
    ("init node-1 --base recipe.toml", Failure("E0201")),
    ("check", Object("`orlop check`")),
    ("lock", Object("`orlop lock`")),
    ("lock -p wide", Object("`orlop lock`")),
    ("check", Object("`orlop check`")),
    ("check none.toml", Failure("E0309")),
    ("lock --why libtiny", Object("`orlop lock --why`")),
    ("lock --why none", Failure("E0211")),
    ("fetch", Object("`orlop fetch`")),
    ("build", Object("`orlop build`")),
    ("build -p debug", Object("`orlop build`")),
    ("build -o overlay", Failure("E0212")),
    ("build --no-commit", Object("`orlop build`")),
    ("build --repo overlay", Failure("E0812")),
    ("commit orlop-out/tiny", Object("`orlop commit`")),
    ("commit overlay", Failure("E0810")),
    ("log", Object("`orlop log`")),
    ("log none", Failure("E0220")),
    ("log --repo overlay", Failure("E0812")),
    ("checkout orlop/x86_64/tiny/dev files", Object("`orlop checkout`")),
    ("checkout orlop/x86_64/tiny/dev files", Failure("E0212")),
    ("prune --keep 1 --dry-run", Object("`orlop prune`")),
    ("prune --keep 1", Object("`orlop prune`")),
    ("diff orlop.lock orlop-out/tiny/disk.raw", Failure("E0223")),
    ("diff orlop-out/tiny none", Failure("E0220")),
    ("diff orlop-out/tiny overlay", Failure("E0810")),
    ("diff orlop-out/tiny orlop-out/tiny --format html", Failure("E0216")),
    ("inspect orlop-out/tiny", Object("`orlop inspect` of a build")),
    ("inspect orlop-out/tiny/disk.raw", Object("`orlop inspect` of a disk")),
    ("inspect orlop-out/tiny/root.img", Object("`orlop inspect` of a root image")),
    ("inspect orlop-out/tiny/uki.efi", Object("`orlop inspect` of a UKI")),
    ("inspect recipe.toml", Failure("E0810")),
    ("budget", Object("`orlop budget`")),
    ("budget -p tight", Verdict("`orlop budget`", "E0105")),
    ("sbom orlop-out/tiny", Failure("E0216")),
    ("provenance orlop-out/tiny", Failure("E0216")),
    ("repro --work .. --dry-run", Object("`orlop repro --dry-run`")),
    ("repro --work .. -p random --keep kept", Verdict("`orlop repro`", "E0106")),
    ("repro --against overlay", Failure("E0810")),
    ("run orlop-out/tiny", Failure("E0601")),
    ("cluster --components overlay", Failure("E0630")),
    ("upgrade worker-1 --to 1.2 --kubeconfig none", Failure("E0870")),
    ("upgrade worker-1 --to .. --kubeconfig none", Failure("E0200")),
    ("upgrade --status --to 1.2", Failure("E0200")),
    ("keys new plain --no-passphrase", Object("`orlop keys new` and `orlop keys public`")),
    (
        "keys new locked --passphrase-file secret",
        Object("`orlop keys new` and `orlop keys public`"),
    ),
    ("keys new plain --no-passphrase", Failure("E0225")),
    ("keys new other", Failure("E0226")),
    ("keys public locked.pem", Failure("E0226")),
    (
        "keys public locked.pem --passphrase-file secret",
        Object("`orlop keys new` and `orlop keys public`"),
    ),
    ("keys public locked.pem --passphrase-file recipe.toml", Failure("E0841")),
    ("keys public recipe.toml", Failure("E0840")),
    ("keys show", Object("`orlop keys show`")),
    ("keys show good.toml", Failure("E0312")),
    ("keys show none.toml", Failure("E0701")),
    ("keys init release --no-passphrase", Object(SIGNED)),
    ("keys init release", Failure("E0225")),
    ("keys init . --passphrase-file secret", Failure("E0842")),
    ("keys init . --roots many", Failure("E0200")),
    ("keys rotate snapshot --keys release", Object(SIGNED)),
    ("keys rotate none --keys release", Failure("E0200")),
    ("keys sign release/2.root.json --keys release", Object(SIGNED)),
    ("keys sign recipe.toml --keys release", Failure("E0850")),
    ("keys sign none --keys release", Failure("E0701")),
    ("publish orlop-out/tiny --to releases --keys release --wave 10:24", Object(PUBLISHED)),
    ("publish orlop-out/tiny --to releases --keys release", Failure("E0227")),
    ("publish orlop-out/tiny --version / --to releases --keys release", Failure("E0229")),
    ("publish overlay --to releases --keys release", Failure("E0810")),
    ("publish --refresh --to releases --keys release", Object(PUBLISHED)),
    ("publish --to releases --keys release", Failure("E0200")),
    ("promote 1.0 --from releases --to stable --keys release", Object(PUBLISHED)),
    ("promote 9 --from releases --to stable --keys release", Failure("E0228")),
    ("verify stable", Object("`orlop verify`")),
    ("verify stable --root release/2.root.json --version 1.0", Object("`orlop verify`")),
    ("verify stable --at 2100-01-01T00:00:00Z", Failure("E0850")),
    ("verify stable --version 9", Failure("E0228")),
    ("verify none", Failure("E0701")),
    ("withdraw 1.0 --to releases --keys release", Object(PUBLISHED)),
    ("withdraw 1.0 --to releases --keys release", Failure("E0228")),
    ("serve none", Failure("E0701")),
    ("serve . --listen 192.0.2.1:80", Failure("E0626")),
    ("recipe show -p debug", Object("`orlop recipe show`")),
    ("recipe show -p none", Failure("E0307")),
    ("config check good.toml", Object("`orlop config check`")),
    ("config check good.toml weak.toml wrong.toml", Verdict("`orlop config check`", "E0310")),
    ("config show good.toml", Object("`orlop config show` and `orlop config example`")),
    ("config show none.toml", Failure("E0311")),
    ("config example", Object("`orlop config show` and `orlop config example`")),
    ("manifests updater --for user:me --for serviceaccount:a/b", Object("`orlop manifests`")),
    ("manifests updater --for me", Failure("E0200")),
    ("manifests kata", Failure("E0308")),
    ("manifests kata kata.toml", Object("`orlop manifests`")),
    ("manifests gvisor --on a=b", Object("`orlop manifests`")),
    ("manifests gvisor --on a", Failure("E0200")),
    ("store path", Object("`orlop store path`")),
    ("store add good.toml wrong.toml", Object("`orlop store add`")),
    ("store add overlay", Failure("E0701")),
    ("store verify", Object("`orlop store verify`")),
    ("publish --to releases --oci REGISTRY/releases:1", Object(PUBLISHED)),
    ("publish --to overlay --oci REGISTRY/releases:1", Failure("E0862")),
    ("publish --to releases --oci releases", Failure("E0200")),
    ("publish --to releases --oci REGISTRY/releases:1 --epoch 2", Failure("E0200")),
    ("pull REGISTRY/releases:1 --to mirror --root release/1.root.json", Object("`orlop pull`")),
    ("pull REGISTRY/releases:1 --to overlay", Failure("E0862")),
    ("pull REGISTRY/releases:2 --to mirror", Failure("E0502")),
    ("pull REGISTRY/image:latest --to mirror", Failure("E0860")),
    ("pull REGISTRY/odd:1 --to mirror", Failure("E0861")),
    ("store unpack -o tree", Object("`orlop store unpack`")),
    ("store unpack -o tree", Failure("E0212")),
    ("clean --dry-run", Object("`orlop clean`")),
    ("clean", Object("`orlop clean`")),
    ("clean --keep none.lock", Failure("E0402")),
    ("doctor", Verdict("`orlop doctor`", "E0624")),
    ("explain", Object("`orlop explain`")),
    ("explain e0301", Object("`orlop explain ID`")),
    ("explain E9999", Failure("E0210")),
    ("completions bash", Failure("E0216")),
    ("--version", Object("`orlop --version`")),
    ("--help", Failure("E0216")),
    ("build --help", Failure("E0216")),
    ("biuld", Failure("E0200")),
    ("build --jobs many", Failure("E0200")),
    ("store", Failure("E0200")),
];

fn project() -> Project {
    let project = Project::new();
    let recipe = String::from_utf8(project.read("recipe.toml")).unwrap();
    let wide = "[profile.wide.debian]\npackages = { remove = [\"runc\"] }\n\
                [profile.wide.tree.executables]\n\"/usr/sbin/runc\" = \"init\"\n";
    let tight = "[profile.tight.budget]\nfiles = 1\n";
    let random = "[profile.random.local.random]\npath = \"/proc/sys/kernel/random/uuid\"\n\
                  at = \"/etc/id\"\n";
    project.write("recipe.toml", recipe + wide + tight + random);
    project.write(
        "orlop.wide.lock",
        format!(
            "schema = 1\ninputs = []\n[[package]]\nname = \"gone\"\nversion = \"1\"\n\
             architecture = \"all\"\nsource = \"gone\"\nsuite = \"trixie\"\npath = \"p\"\n\
             sha256 = \"{}\"\nsize = 1\nrole = \"root\"\nrequired-by = []\n",
            formats::digest::Sha256::of("gone")
        ),
    );
    project.write("secret", "correct horse\n");
    let digits = |digit: &str| digit.repeat(64);
    project.write(
        "keys.toml",
        format!(
            "schema = 1\n[root]\nkeys = ['a', 'b']\n[targets]\nkeys = ['a']\n[snapshot]\n\
             keys = ['a']\n[timestamp]\nkeys = ['a']\n[key.a]\npublic = '{}'\nfile = 'locked.pem'\n\
             [key.b]\npublic = '{}'\nsign-with = ['sign']\n[key.c]\npublic = '{}'\n",
            digits("a"),
            digits("b"),
            digits("c"),
        ),
    );
    project.write("good.toml", "schema = 1\nhostname = \"a\"\n");
    let kata = "schema = 1\nextends = 'recipe.toml'\nkata.hypervisor = 'qemu'\n";
    project.write("kata.toml", kata);
    project.write("weak.toml", "schema = 1\nsecurity.lockdown = 'none'\n");
    project.write("wrong.toml", "schema = 1\nhostnam = \"a\"\nx = 1\n");
    project
}

/// The last line of stderr, and the only one that is such an object.
fn failure(ended: &Ended) -> Value {
    let line = ended.stderr.lines().last().unwrap_or_default();
    let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", ended.stderr));
    Table::of("Failures").check(&value);
    assert_eq!(value["event"], "error");
    assert_eq!(value["status"].as_i64(), ended.status.map(i64::from));
    value
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The command lines of all commands that do something, such as `config check`.
fn commands(command: &clap::Command, before: &str, found: &mut BTreeSet<String>) {
    for command in command.get_subcommands() {
        let name = format!("{before}{}", command.get_name());
        if command.has_subcommands() {
            commands(command, &format!("{name} "), found);
        } else {
            found.insert(name);
        }
    }
}

#[test]
fn every_command_has_json_as_documented_or_refuses_to() {
    let project = project();
    let mut tables: BTreeMap<&str, Table> = BTreeMap::new();
    let registry = MockRegistry::start();
    registry.put_manifest("latest", b"{}");
    registry.odd(|asked| asked.target.contains("/odd/").then(|| Reply::new(401, "")));
    for (line, want) in LINES {
        let line = &line.replace("REGISTRY", &registry.host());
        if line == "log" {
            // One that cannot be followed.
            project.write("orlop-out/repo/refs/heads/damaged", "");
        }
        // Before and after the command, as it may stand.
        let ended = project.run(&[&["--json"], &words(line)[..]].concat());
        let shown = format!("{line}\n{}{}", ended.stdout, ended.stderr);
        if let Object(section) | Verdict(section, _) = want {
            let value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{shown}"));
            tables.entry(section).or_insert_with(|| Table::of(section)).check(&value);
        }
        match want {
            Object(_) => assert_eq!(ended.status, Some(0), "{shown}"),
            Verdict(_, id) => assert_eq!(failure(&ended)["id"], *id, "{shown}"),
            Failure(id) => {
                assert_eq!(failure(&ended)["id"], *id, "{shown}");
                assert_eq!(ended.stdout, "", "{shown}");
            }
        }
    }
    tables.values().for_each(Table::complete);

    let mut all = BTreeSet::new();
    commands(&<Cli as clap::CommandFactory>::command(), "", &mut all);
    let tried = |name: &String| {
        let name = format!("{name} ");
        LINES.iter().any(|(line, _)| format!("{line} ").starts_with(&name))
    };
    let untried: Vec<_> = all.iter().filter(|name| !tried(name)).collect();
    assert!(all.len() > 15 && untried.is_empty(), "{untried:?}");

    let checked = |section: &String| {
        let elsewhere = [ELSEWHERE.as_slice(), &["Failures", "Progress"]].concat();
        tables.contains_key(section.as_str()) || elsewhere.contains(&section.as_str())
    };
    let unchecked: Vec<_> = sections().into_iter().filter(|section| !checked(section)).collect();
    assert_eq!(unchecked, [""; 0]);
}

#[test]
fn a_failure_is_an_object_on_the_last_line_whichever_way_json_was_asked_for() {
    let project = project();
    project.good(&["lock"]);
    project.ask_for("none");
    for words in [
        &["build", "--json"][..],
        &["build", "--locked", "--progress", "json"],
        &["--progress=json", "build"],
        &["--progress", "none", "--json", "build"],
    ] {
        let ended = project.run(words);
        let value = failure(&ended);
        assert_eq!((&value["id"], &value["class"]), (&"E0401".into(), &"lock".into()));
        let message = value["message"].as_str().unwrap();
        assert!(message.ends_with("\n  + package none"), "{message}");
        assert_eq!(value["hints"][0], "`orlop lock` brings it up to date");
        assert_eq!(ended.stdout, "");
    }
    // What is for QEMU is none of ours.
    let ended = project.run(&["run", "none", "--", "--json"]);
    assert!(ended.stderr.contains("error[E0701]"), "{}", ended.stderr);
}

#[test]
fn progress_is_an_object_a_line_to_the_very_end() {
    let project = project();
    let mut events = BTreeSet::new();
    for words in [&["check"][..], &["lock"], &["build"], &["lock", "-p", "wide"], &["build", "x"]] {
        let ended = project.run(&[words, &["--progress", "json"]].concat());
        for line in ended.stderr.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            let event = value["event"].as_str().unwrap().to_owned();
            let section = if event == "error" { "Failures" } else { "Progress" };
            Table::of(section).check(&value);
            events.insert(event);
        }
    }
    assert_eq!(events, ["done", "error", "note", "start", "warning"].map(str::to_owned).into());
}

#[test]
fn a_path_that_is_not_text_is_shown_and_does_not_matter() {
    use std::os::unix::ffi::OsStrExt as _;
    let project = project();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    for (words, at) in [
        (&["init", "--base", "recipe.toml", "--json"][..], "/directory"),
        (&["build", "--json", "-o"], "/output"),
        (&["store", "path", "--json", "--store"], "/store"),
    ] {
        let command = project.command(words).arg(name);
        let ended = project.end(crate::project::start(command));
        assert_eq!(ended.status, Some(0), "{words:?} {}", ended.stderr);
        let value: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(value.pointer(at), Some(&"caf\u{fffd}".into()), "{value}");
        // `store path` makes none.
        if words[0] != "store" {
            fs::remove_dir_all(project.path("").join(name)).unwrap();
        }
    }
}

/// The tables say what they say for all; that a table can be wrong is tried here.
#[test]
#[should_panic(expected = "`report` is not documented")]
fn a_field_that_no_table_has_is_found() {
    Table::of("`orlop store path`")
        .check(&serde_json::json!({ "schema": 1, "store": "x", "report": 1 }));
}

#[test]
fn the_page_of_json_is_found_from_that_of_the_command_line() {
    let page = fs::read_to_string(repository().join("docs/cli.md")).unwrap();
    assert!(page.contains("](json.md)"));
}
