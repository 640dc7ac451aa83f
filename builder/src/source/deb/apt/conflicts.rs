//! Which packages may be in one root: what `apt-get --simulate install` makes of generated archives
//! with `Conflicts`, `Breaks` and `Provides`, and what we make of the same files.

use std::collections::{BTreeMap, BTreeSet};

use super::choice::{install, publish_one};
use super::tests::{Host, Numbers};
use super::*;
use crate::source::deb::archive::Archive;
use crate::source::deb::resolve::{Wishes, resolve};

const PACKAGES: usize = 12;
const VERSIONS: &[&str] = &["1.0-1", "1.0-1~bpo13+1", "1:0.9", "2", "10"];

/// How much of a choice dependencies leave.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    None,
    Some,
}

/// A paragraph of a `Packages` file. Only packages of lower numbers are needed.
fn package(numbers: &mut Numbers, number: usize, choice: Choice) -> String {
    let name = |number: usize| format!("p{number:02}");
    let mut fields = String::new();
    let mut field = |name: &str, parts: Vec<String>| {
        if !parts.is_empty() {
            fields.push_str(&format!("{name}: {}\n", parts.join(", ")));
        }
    };
    let mut depends = Vec::new();
    for _ in 0..numbers.below(3).min(number) {
        let first = name(numbers.below(number));
        depends.push(match numbers.below(3) {
            0 if choice == Choice::Some => format!("{first} | {}", name(numbers.below(number))),
            1 if choice == Choice::Some => numbers.one_of(&["v0", "v1", "v2"]).to_owned(),
            _ => first,
        });
    }
    field("Depends", depends);
    let mut provides = Vec::new();
    for virtual_name in ["v0", "v1", "v2"] {
        match numbers.below(8) {
            0 => provides.push(virtual_name.to_owned()),
            1 => provides.push(format!("{virtual_name} (= {})", numbers.one_of(VERSIONS))),
            _ => {}
        }
    }
    field("Provides", provides);
    for name_of_field in ["Conflicts", "Breaks"] {
        let mut refused = Vec::new();
        if numbers.below(4) == 0 {
            let virtual_name = numbers.one_of(&["v0", "v1", "v2"]).to_owned();
            let name =
                if numbers.below(2) == 0 { virtual_name } else { name(numbers.below(PACKAGES)) };
            let bound = numbers.one_of(&["", "<<", "<=", "=", ">=", ">>"]);
            refused.push(match bound {
                "" => name,
                bound => format!("{name} ({bound} {})", numbers.one_of(VERSIONS)),
            });
        }
        field(name_of_field, refused);
    }
    if numbers.below(4) == 0 {
        field("Replaces", vec![name(numbers.below(PACKAGES))]);
    }
    let version = numbers.one_of(VERSIONS);
    crate::source::deb::testing::package(&name(number), version, &fields)
}

fn names(packages: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    packages.into_iter().map(|number| format!("p{number:02}")).collect()
}

fn ours(archive: &mut Archive, packages: &BTreeSet<String>) -> Result<BTreeMap<String, String>> {
    let (tools, exclude) = (BTreeSet::new(), BTreeMap::new());
    let wishes = Wishes { packages, tools: &tools, kernel: "kernel", exclude: &exclude };
    let packages = resolve(archive, &wishes)?.packages.into_iter();
    let packages = packages.filter(|package| package.name != "kernel");
    Ok(packages.map(|package| (package.name, package.version)).collect())
}

fn apts(host: &Host, packages: &BTreeSet<String>) -> Option<BTreeMap<String, String>> {
    install(host, &packages.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn apt_installs_together_what_we_do_and_nothing_that_we_refuse() {
    let (mut both, mut neither) = (0, 0);
    for seed in 200..206 {
        let mut numbers = Numbers(seed);
        let host = Host::new();
        let index: Vec<_> =
            (0..PACKAGES).map(|number| package(&mut numbers, number, Choice::None)).collect();
        let mut archive = publish_one(&host, &index);
        for _ in 0..12 {
            let wished = names([numbers.below(PACKAGES), numbers.below(PACKAGES)]);
            let (ours, apts) = (ours(&mut archive, &wished), apts(&host, &wished));
            match &ours {
                Ok(_) => both += 1,
                Err(error) => {
                    assert_eq!(error.id(), Id::PackagesConflict, "{}", error.chain());
                    neither += 1;
                }
            }
            let text = index.join("\n");
            assert_eq!(ours.as_ref().ok(), apts.as_ref(), "seed {seed} {wished:?}\n{text}");
        }
    }
    assert!(both > 15 && neither > 15, "{both} taken, {neither} refused");
}

#[test]
fn what_we_take_where_there_is_a_choice_apt_finds_whole() {
    let (mut both, mut only_apt) = (0, 0);
    for seed in 300..306 {
        let mut numbers = Numbers(seed);
        let host = Host::new();
        let index: Vec<_> =
            (0..PACKAGES).map(|number| package(&mut numbers, number, Choice::Some)).collect();
        let mut archive = publish_one(&host, &index);
        for _ in 0..12 {
            let wished = names([numbers.below(PACKAGES), numbers.below(PACKAGES)]);
            match ours(&mut archive, &wished) {
                Ok(ours) => {
                    both += 1;
                    let all = ours.keys().cloned().collect();
                    let text = index.join("\n");
                    assert_eq!(Some(&ours), apts(&host, &all).as_ref(), "seed {seed}\n{text}");
                }
                // What was chosen is never taken back: rarely apt finds a way that we do not.
                Err(error) if error.id() == Id::PackagesConflict => {
                    only_apt += usize::from(apts(&host, &wished).is_some());
                }
                Err(error) => assert_eq!(error.id(), Id::Unsatisfiable, "{}", error.chain()),
            }
        }
    }
    assert!(both > 15 && only_apt < 8, "{both} taken, {only_apt} refused by us only");
}
