//! `orlop` killed at any moment, as by the kernel when memory is short: what is there is whole, the
//! next run gives the right bytes, and what was left half-done goes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use formats::digest::Sha256;

use crate::project::{Project, start};

/// Numbers that look drawn and are the same for a seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Paths of all files below a directory, with their digests.
fn files(directory: &Path) -> BTreeMap<String, Sha256> {
    fn add(at: &Path, of: &Path, files: &mut BTreeMap<String, Sha256>) {
        for path in fs::read_dir(at).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(of).unwrap().display().to_string();
            if path.is_dir() {
                files.insert(format!("{name}/"), Sha256::of(""));
                add(&path, of, files);
            } else {
                files.insert(name, Sha256::of(fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = BTreeMap::new();
    add(directory, directory, &mut all);
    all
}

fn names(directory: &Path) -> Vec<String> {
    files(directory).into_keys().collect()
}

/// What a command needs to have much to do, and what may be there when it was killed.
struct Deed {
    words: &'static [&'static str],
    before: fn(&Project),
}

const FILE: usize = 1 << 20;

fn forget_all(project: &Project) {
    drop(fs::remove_dir_all(project.store()));
}

const DEEDS: &[Deed] = &[
    Deed { words: &["lock"], before: forget_all },
    Deed { words: &["fetch"], before: forget_all },
    Deed {
        words: &["build", "--no-commit"],
        before: |project| {
            drop(fs::remove_dir_all(project.store().join("steps")));
            drop(fs::remove_dir_all(project.path("orlop-out")));
        },
    },
    // In place of another build.
    Deed {
        words: &["build", "--no-commit"],
        before: |project| {
            project.write("overlay/etc/motd", "another\n");
            project.good(&["build", "--no-commit"]);
            project.write("overlay/etc/motd", "hello\n");
        },
    },
    Deed { words: &["clean", "--older-than", "0d"], before: |_| () },
    Deed {
        words: &["store", "add", "big"],
        before: |project| drop(project.run(&["clean", "--older-than", "0d"])),
    },
];

/// A project whose recipe has a file of the web, too.
fn project() -> Project {
    let project = Project::new();
    let file: Vec<u8> = (0..FILE).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (url, sha256) = (project.server.url(), Sha256::of(&file));
    let table = format!("[url.tool]\nurl = \"{url}/tool\"\nsha256 = \"{sha256}\"\n");
    let table = format!("{table}unpack = {{ \".\" = \"/usr/share/tool\" }}\n\n[local.init]");
    project.change("[local.init]", &table);
    project.server.answer("/tool", crate::server::Answer::File(file));
    project.write("big", vec![7; FILE]);
    project
}

/// Runs a command and kills it after some time, should it last so long.
pub(crate) fn kill_after(project: &Project, words: &[&str], time: Duration) -> bool {
    let began = Instant::now();
    let mut child = start(project.command(words));
    loop {
        if child.try_wait().unwrap().is_some() {
            drop(child.wait_with_output());
            return false;
        }
        if began.elapsed() >= time {
            child.kill().unwrap();
            drop(child.wait_with_output());
            return true;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_command_that_is_killed_leaves_nothing_half_done_and_no_garbage() {
    let full = std::env::var_os("ORLOP_TEST_FULL").is_some();
    let (kills, seed) = if full { (120, 7) } else { (12, 1) };
    let seed = std::env::var("ORLOP_TEST_SEED").map_or(seed, |seed| seed.parse().unwrap());
    let mut numbers = Numbers(seed);
    let mut told = format!("seed {seed}");
    eprintln!("{told}");

    let project = project();
    let mut lasts = Vec::new();
    for deed in DEEDS {
        (deed.before)(&project);
        let began = Instant::now();
        project.good(deed.words);
        lasts.push(began.elapsed());
    }
    forget_all(&project);
    for words in [
        &["lock"][..],
        &["build", "--no-commit"],
        &["build", "--no-commit"],
        &["clean", "--older-than", "0d"],
    ] {
        project.good(words);
    }
    let lock = project.read("orlop.lock");
    let clean = (names(&project.path("")), names(&project.store()));
    let output = files(&project.path("orlop-out"));
    project.write("overlay/etc/motd", "another\n");
    project.good(&["build", "--no-commit"]);
    let other = files(&project.path("orlop-out"));
    project.write("overlay/etc/motd", "hello\n");
    project.good(&["build", "--no-commit"]);

    let mut killed = 0;
    let mut round = 0;
    while killed < kills {
        let which = round % DEEDS.len();
        round += 1;
        assert!(round < 10 * kills, "{told}");
        let deed = &DEEDS[which];
        (deed.before)(&project);
        let most = u64::try_from(lasts[which].as_micros()).unwrap();
        let time = Duration::from_micros(numbers.below(most + 1));
        if !kill_after(&project, deed.words, time) {
            continue;
        }
        killed += 1;
        eprintln!("{:?} killed after {time:?}", deed.words);
        let _ = write!(told, "\n{:?} killed after {time:?}", deed.words);

        // What is there is whole.
        if project.store().join("blobs").exists() {
            project.good(&["store", "verify"]);
        }
        assert!(fs::read(project.path("orlop.lock")).is_ok_and(|found| found == lock), "{told}");
        let mut found = files(&project.path("orlop-out"));
        found.retain(|name, _| name != "tiny/" && !name.starts_with(".tiny."));
        let whole = |build: &BTreeMap<String, Sha256>| {
            let mut build = build.clone();
            build.remove("tiny/");
            found.is_empty() || found == build
        };
        assert!(whole(&output) || whole(&other), "{told}\n{found:?}");

        // The next run gives what it would have given.
        project.good(deed.words);
        project.good(&["build", "--no-commit"]);
        assert!(files(&project.path("orlop-out")) == output, "{told}");
        // One that does nothing, as that before the list of what there should be.
        project.good(&["build", "--no-commit"]);
        project.good(&["clean", "--older-than", "0d"]);
        let (files, store) = (names(&project.path("")), names(&project.store()));
        let more = |found: &[String], clean: &[String]| {
            let more = found.iter().filter(|name| !clean.contains(name));
            // A directory of the store stays for what comes next.
            let more = more.filter(|name| !name.ends_with('/') || name.starts_with('.'));
            more.cloned().collect::<Vec<_>>()
        };
        let left = [more(&files, &clean.0), more(&store, &clean.1)].concat();
        assert!(left.is_empty(), "{told}\nleft {left:?}");
    }
}
