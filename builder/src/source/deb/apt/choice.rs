//! Which version of a package is taken: what `apt-cache policy` and `apt-get --simulate install`
//! make of generated archives, and what we make of the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use formats::deb::Release;
use formats::digest::Sha256;

use super::tests::{Host, Numbers};
use super::*;
use crate::source::deb::archive::{Archive, Origin};
use crate::source::deb::index;
use crate::source::deb::resolve::{Wishes, resolve};

const VERSIONS: &[&str] =
    &["1.0-1", "1.0-1~bpo13+1", "1.0-1+deb13u1", "1.0~rc1-1", "1:0.9", "2", "10", "0:1.0-1.1"];

/// Name, codename and further fields of a release file.
type Suite = (&'static str, &'static str, &'static str);

const SUITES: &[Suite] = &[
    ("stable", "one", ""),
    ("stable-updates", "one-updates", ""),
    ("stable-backports", "one-backports", "NotAutomatic: yes\nButAutomaticUpgrades: yes\n"),
    ("experimental", "rc-buggy", "NotAutomatic: yes\n"),
];

/// A paragraph of a `Packages` file. Only packages of lower numbers are needed, so no two need one
/// another.
fn package(numbers: &mut Numbers, number: usize, version: &str) -> String {
    let mut depends = Vec::new();
    for _ in 0..numbers.below(3).min(number) {
        let mut needed = || {
            let name = format!("p{:02}", numbers.below(number));
            match numbers.below(3) {
                0 => format!("{name} (>= {})", numbers.one_of(VERSIONS)),
                1 => format!("{name} (<< {})", numbers.one_of(VERSIONS)),
                _ => name,
            }
        };
        let first = needed();
        depends.push(first);
    }
    let depends = match depends.as_slice() {
        [] => String::new(),
        some => format!("Depends: {}\n", some.join(", ")),
    };
    crate::source::deb::testing::package(&format!("p{number:02}"), version, &depends)
}

/// Writes an archive below the host's root, and apt's sources for it: the paragraphs that `index`
/// gives for each suite.
fn publish(host: &Host, suites: &[Suite], mut index: impl FnMut() -> Vec<String>) {
    let mut sources = String::new();
    for (suite, codename, fields) in suites {
        let mut index = index();
        index.push(crate::source::deb::testing::package("kernel", "6", ""));
        let index = index.join("\n");
        let release = format!(
            "Origin: test\nSuite: {suite}\nCodename: {codename}\n{fields}Date: Thu, 19 Nov 2026 \
             02:12:54 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n {} {} \
             main/binary-amd64/Packages\n",
            Sha256::of(&index),
            index.len()
        );
        let directory = host.root().join("archive/dists").join(codename);
        fs::create_dir_all(directory.join("main/binary-amd64")).unwrap();
        fs::write(directory.join("main/binary-amd64/Packages"), index).unwrap();
        fs::write(directory.join("Release"), release).unwrap();
        let place = host.root().join("archive");
        let _ = writeln!(sources, "deb [trusted=yes] file:{} {codename} main", place.display());
    }
    host.write("sources.list", &sources);
    host.apt("apt-get", &["update", "-q"]).unwrap();
}

/// An archive of one suite, as apt and we read it.
pub(super) fn publish_one(host: &Host, index: &[String]) -> Archive {
    publish(host, &SUITES[..1], || index.to_vec());
    read(host, &SUITES[..1])
}

/// An archive of all suites, in each of which half of the packages are.
fn publish_all(host: &Host, numbers: &mut Numbers) {
    publish(host, SUITES, || {
        let mut index = Vec::new();
        for number in 0..12 {
            if numbers.below(2) == 0 {
                let version = numbers.one_of(VERSIONS);
                index.push(package(numbers, number, version));
            }
        }
        index
    });
}

fn read(host: &Host, suites: &[Suite]) -> Archive {
    let (mut origins, mut records) = (Vec::new(), Vec::new());
    for (_, codename, _) in suites {
        let directory = host.root().join("archive/dists").join(codename);
        let text = fs::read_to_string(directory.join("Release")).unwrap();
        let release = Release::parse(&text).unwrap();
        let file = index::choose(&release, codename, "main", Architecture::Amd64).unwrap();
        let content = fs::read(directory.join("main/binary-amd64/Packages")).unwrap();
        origins.push(Origin::new(codename, &release));
        records.extend(file.read(&content, "url", codename).unwrap());
    }
    Archive::new(Architecture::Amd64, origins, records).unwrap()
}

/// Names and versions that we would take for a wish.
fn ours(host: &Host, wish: &str) -> Option<BTreeMap<String, String>> {
    let wishes = Wishes {
        packages: &BTreeSet::from([wish.to_owned()]),
        tools: &BTreeSet::new(),
        kernel: "kernel",
        exclude: &BTreeMap::new(),
    };
    let packages = resolve(&mut read(host, SUITES), &wishes).ok()?.packages.into_iter();
    let packages = packages.filter(|package| package.name != "kernel");
    Some(packages.map(|package| (package.name, package.version)).collect())
}

/// Names and versions that apt would install for wishes.
pub(super) fn install(host: &Host, wishes: &[&str]) -> Option<BTreeMap<String, String>> {
    let options = ["--simulate", "--no-install-recommends", "-q", "install"];
    let output = host.apt("apt-get", &[&options, wishes].concat()).ok()?;
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        Some((name.to_owned(), rest.strip_prefix('(')?.split(' ').next()?.to_owned()))
    };
    Some(output.lines().filter_map(line).collect())
}

#[test]
fn apt_chooses_the_candidates_that_we_choose() {
    for seed in 0..6 {
        let mut numbers = Numbers(seed);
        let host = Host::new();
        publish_all(&host, &mut numbers);
        let archive = read(&host, SUITES);
        let names: Vec<_> = (0..12).map(|number| format!("p{number:02}")).collect();
        let arguments: Vec<_> =
            std::iter::once("policy").chain(names.iter().map(String::as_str)).collect();
        let policy = host.apt("apt-cache", &arguments).unwrap();
        let mut apts = BTreeMap::new();
        let mut name = "";
        for line in policy.lines() {
            if !line.starts_with(' ') {
                name = line.trim_end_matches(':');
            } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
                && version != "(none)"
            {
                apts.insert(name.to_owned(), version.to_owned());
            }
        }
        let candidate =
            |name: &String| Some((name.clone(), archive.get(name)?.version.to_string()));
        let ours: BTreeMap<_, _> = names.iter().filter_map(candidate).collect();
        assert!(ours.len() > 6);
        assert_eq!(ours, apts, "seed {seed}\n{policy}");
    }
}

#[test]
fn apt_takes_for_a_pin_what_we_take() {
    let (mut both, mut neither) = (0, 0);
    for seed in 100..106 {
        let mut numbers = Numbers(seed);
        let host = Host::new();
        publish_all(&host, &mut numbers);
        for _ in 0..12 {
            let name = format!("p{:02}", numbers.below(12));
            let wish = match numbers.below(3) {
                0 => name,
                1 => format!("{name}={}", numbers.one_of(VERSIONS)),
                _ => {
                    let suites = ["one", "stable-updates", "one-backports", "experimental"];
                    format!("{name}/{}", numbers.one_of(&suites))
                }
            };
            let (ours, apts) = (ours(&host, &wish), install(&host, &[&wish]));
            match (&ours, &apts) {
                (Some(_), Some(_)) => both += 1,
                (None, None) => neither += 1,
                _ => {}
            }
            assert_eq!(ours, apts, "seed {seed} {wish} in {}", host.root().display());
        }
    }
    assert!(both > 20 && neither > 5, "{both} taken, {neither} refused");
}
