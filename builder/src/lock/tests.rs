//! Locks as text: what is written, read and refused.

use std::collections::BTreeSet;
use std::path::Path;

use expect_test::expect;
use formats::digest::Sha256;
use formats::oci::Location;
use formats::tree::Blob;
use proptest::prelude::*;

use super::model::{Image, Package, Role, Rustc, Suite, UrlFile};
use super::*;
use crate::recipe::Recipe;
use crate::source::image;

fn package(name: &str, role: Role) -> Package {
    Package {
        name: name.to_owned(),
        version: "1:2.41-12+deb13u4".to_owned(),
        architecture: "amd64".to_owned(),
        source: "glibc".to_owned(),
        suite: "trixie".to_owned(),
        path: format!("pool/main/{name}.deb"),
        blob: Blob { sha256: Sha256::of(name), size: 1234 },
        role,
        required_by: ["recipe".to_owned(), "runc".to_owned()].into(),
    }
}

fn lock() -> Lock {
    Lock {
        inputs: vec!["component main".to_owned(), "suite 1 trixie".to_owned()],
        suites: vec![Suite {
            name: "trixie".to_owned(),
            date: "Sat, 15 Nov 2025 09:21:42 UTC".to_owned(),
            signed_by: "41587F7DB8C774BCCF131416762F67A0B2C39DE4".to_owned(),
            release: crate::recipe::model::Digest(Sha256::of("InRelease")),
        }],
        packages: vec![package("libc6", Role::Root), package("linux", Role::Kernel)],
        compilers: vec![package("gcc", Role::Compiler), package("libc6", Role::Compiler)],
        rustc: vec![Rustc {
            version: "rustc 1.95.0 (59807616e 2026-04-14)".to_owned(),
            commit: "59807616e1fa2540724bfbac14d7976d7e4a3860".to_owned(),
            host: "x86_64-unknown-linux-gnu".to_owned(),
            llvm: "22.1.2".to_owned(),
        }],
        urls: vec![UrlFile {
            component: "tool".to_owned(),
            url: "https://mirror.example/tool".to_owned(),
            blob: Blob { sha256: Sha256::of("tool"), size: 5 },
        }],
        images: vec![Image {
            component: "web".to_owned(),
            location: Location::new("registry.example/web:1").unwrap(),
            parts: vec![part(image::Role::Manifest), part(image::Role::Layer)],
        }],
    }
}

fn part(role: image::Role) -> image::Part {
    let blob = Blob { sha256: Sha256::of(role.name()), size: 7 };
    image::Part { role, media_type: format!("application/{}", role.name()), blob }
}

fn recipe(text: &str) -> Recipe {
    toml::from_str(text).unwrap()
}

const RECIPE: &str = r#"
schema = 1
name = "a"
os = { id = "os", name = "OS", version = "1" }
kernel = { package = "linux-image-cloud-amd64", modules = ["overlay"] }
[debian]
suites = ["trixie", "trixie-security"]
components = ["main"]
keys = ["41587f7db8c774bccf131416762f67a0b2c39de4"]
packages = ["runc"]
tools = ["systemd-boot-efi"]
exclude = { openssl = "why" }
drop = ["/usr/share/doc/**"]
[url.tool]
url = "https://mirror.example/tool"
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
unpack = { "." = "/usr/bin/tool" }
"#;

#[test]
fn a_lock_is_toml_that_a_person_can_read() {
    expect![[r##"
        # Made by `orlop lock`; do not edit.
        schema = 1
        inputs = [
            "component main",
            "suite 1 trixie",
        ]

        [[suite]]
        name = "trixie"
        date = "Sat, 15 Nov 2025 09:21:42 UTC"
        signed-by = "41587F7DB8C774BCCF131416762F67A0B2C39DE4"
        release = "5bfc87e96c5fc54b15067c0e113156812a0af4dc86aaf43b462addaa77728d08"

        [[package]]
        name = "libc6"
        version = "1:2.41-12+deb13u4"
        architecture = "amd64"
        source = "glibc"
        suite = "trixie"
        path = "pool/main/libc6.deb"
        sha256 = "fb9ce3b804ed6882db53398f268a9c8e59ab103221188aee6513dfddde5b9aff"
        size = 1234
        role = "root"
        required-by = ["recipe", "runc"]

        [[package]]
        name = "linux"
        version = "1:2.41-12+deb13u4"
        architecture = "amd64"
        source = "glibc"
        suite = "trixie"
        path = "pool/main/linux.deb"
        sha256 = "caf90169eefa5f807d577486b9f795ab86ae2983c5c20806cff959117e90af18"
        size = 1234
        role = "kernel"
        required-by = ["recipe", "runc"]

        [[compiler]]
        name = "gcc"
        version = "1:2.41-12+deb13u4"
        architecture = "amd64"
        source = "glibc"
        suite = "trixie"
        path = "pool/main/gcc.deb"
        sha256 = "94f0fa7f897ccce65856dc5a98bae4bf6957a346766613d79414c976d093aa4a"
        size = 1234
        required-by = ["recipe", "runc"]

        [[compiler]]
        name = "libc6"
        version = "1:2.41-12+deb13u4"
        architecture = "amd64"
        source = "glibc"
        suite = "trixie"
        path = "pool/main/libc6.deb"
        sha256 = "fb9ce3b804ed6882db53398f268a9c8e59ab103221188aee6513dfddde5b9aff"
        size = 1234
        required-by = ["recipe", "runc"]

        [[rustc]]
        version = "rustc 1.95.0 (59807616e 2026-04-14)"
        commit = "59807616e1fa2540724bfbac14d7976d7e4a3860"
        host = "x86_64-unknown-linux-gnu"
        llvm = "22.1.2"

        [[url]]
        component = "tool"
        url = "https://mirror.example/tool"
        sha256 = "7c9bbe5ec9b3fb774e8fa0f54247e93c34ddf8e5d16fe3073420de0ae81a262d"
        size = 5

        [[image]]
        component = "web"
        location = "registry.example/web:1"

        [[image.part]]
        role = "manifest"
        media-type = "application/manifest"
        sha256 = "05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f"
        size = 7

        [[image.part]]
        role = "layer"
        media-type = "application/layer"
        sha256 = "dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85"
        size = 7
    "##]]
    .assert_eq(&lock().to_toml());
}

#[test]
fn packages_are_written_in_order_of_their_names() {
    let mut shuffled = lock();
    shuffled.packages.reverse();
    assert_eq!(shuffled.to_toml(), lock().to_toml());
}

#[test]
fn a_lock_survives_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orlop.lock");
    lock().write(&path).unwrap();
    assert_eq!(Lock::read(&path).unwrap(), lock());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_lock_says_how_it_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let error = Lock::read(&directory.path().join("orlop.lock")).unwrap_err();
    assert_eq!(
        (error.id(), error.hints()),
        (Id::LockMissing, &["`orlop lock` makes it".to_owned()][..])
    );
}

#[test]
fn what_the_resolver_is_asked_is_a_list_of_facts() {
    expect![[r#"
        arch amd64
        component main
        exclude openssl
        kernel linux-image-cloud-amd64
        key 41587F7DB8C774BCCF131416762F67A0B2C39DE4
        package runc
        suite 1 trixie
        suite 2 trixie-security
        tool systemd-boot-efi
        url tool https://mirror.example/tool ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"#]].assert_eq(&inputs(&recipe(RECIPE)).join("\n"));
}

#[test]
fn only_what_the_resolver_is_asked_makes_a_lock_stale() {
    let fresh = Lock { inputs: inputs(&recipe(RECIPE)), ..lock() };
    for (from, to) in [
        ("\"a\"", "\"b\""),
        ("overlay", "bridge"),
        ("doc/**", "man/**"),
        ("why", "other reason"),
        ("41587f", "41587F"),
        ("/usr/bin/tool", "/usr/sbin/tool"),
    ] {
        let other = recipe(&RECIPE.replace(from, to));
        assert_ne!(other, recipe(RECIPE));
        fresh.check_fresh(&other, Path::new("orlop.lock")).unwrap();
    }
}

#[test]
fn a_stale_lock_names_the_lines_that_changed() {
    let old = Lock { inputs: inputs(&recipe(RECIPE)), ..lock() };
    let new = RECIPE
        .replace("[\"runc\"]", "[\"crun\", \"ca-certificates\"]")
        .replace("\"trixie\", \"trixie-security\"", "\"trixie-security\", \"trixie\"");
    let error = old.check_fresh(&recipe(&new), Path::new("orlop.lock")).unwrap_err();
    assert_eq!(error.id(), Id::LockStale);
    expect![[r#"
        the lock `orlop.lock` is stale: the recipe has changed since
          + package ca-certificates
          + package crun
          - package runc
          - suite 1 trixie
          + suite 1 trixie-security
          + suite 2 trixie
          - suite 2 trixie-security
          hint: `orlop lock` brings it up to date"#]]
    .assert_eq(&format!("{error}\n  hint: {}", error.hints()[0]));
}

#[test]
fn what_is_not_a_lock_is_shown_at_its_line() {
    let text = lock().to_toml();
    let twice = format!("{text}\n{}", &text[text.find("[[package]]").unwrap()..]);
    let compiler = &text[text.find("[[compiler]]").unwrap()..];
    let twice_compiler = format!("{text}\n{}", &compiler[..compiler.find("\n\n").unwrap()]);
    let mut shown = String::new();
    for text in [
        text.replace("schema = 1", "schema = 2\nnew = 1"),
        text.replace("size = 5", "sise = 5"),
        text.replace("size = 5", "size = -5"),
        text.replace("\"kernel\"", "\"seed\""),
        text.replace("sha256 = \"", "sha256 = \"z"),
        text.replace("[[url]]", "<<<<<<< HEAD\n[[url]]"),
        twice,
        twice_compiler,
        text.replace("22.1.2\"", "22.1.2\"\nnew = 1"),
        String::new(),
    ] {
        let error = Lock::parse(&text, Path::new("orlop.lock")).unwrap_err();
        assert_eq!(error.id(), Id::LockFormat);
        shown.push_str(&format!("{error}\n"));
    }
    expect![[r#"
        `orlop.lock` is of schema 2: this version of `orlop` knows 1
        `orlop.lock` is not a lock: unknown field `sise`, expected one of `component`, `url`, `sha256`, `size`
          orlop.lock:70:1
           70 | sise = 5
              | ^^^^
        `orlop.lock` is not a lock: invalid value: integer `-5`, expected u64
          orlop.lock:70:8
           70 | size = -5
              |        ^^
        `orlop.lock` is not a lock: unknown variant `seed`, expected one of `root`, `kernel`, `tool`
          orlop.lock:35:8
           35 | role = "seed"
              |        ^^^^^^
        `orlop.lock` is not a lock: `z94f0fa7f897ccce65856dc5a98bae4bf6957a346766613d79414c976d093aa4a` is not a sha256: expected 64 hexadecimal digits
          orlop.lock:45:10
           45 | sha256 = "z94f0fa7f897ccce65856dc5a98bae4bf6957a346766613d79414c976d093aa4a"
              |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        `orlop.lock` is not a lock: key with no value, expected `=`
          orlop.lock:66:9
           66 | <<<<<<< HEAD
              |         ^
        `orlop.lock` has package `libc6` twice
          orlop.lock:88:1
           88 | [[package]]
              | ^^^^^^^^^^^
        `orlop.lock` has compiler `gcc` twice
          orlop.lock:88:1
           88 | [[compiler]]
              | ^^^^^^^^^^^^
        `orlop.lock` is not a lock: unknown field `new`, expected one of `version`, `commit`, `host`, `llvm`
          orlop.lock:65:1
           65 | new = 1
              | ^^^
        `orlop.lock` is not a lock: missing field `schema`
          orlop.lock:1:1
           1 |
             | ^
    "#]].assert_eq(&shown);
}

fn text() -> impl Strategy<Value = String> {
    "[a-z\"\\\\\n é\u{7f}]{0,8}"
}

fn any_package() -> impl Strategy<Value = Package> {
    let role = prop_oneof![Just(Role::Root), Just(Role::Kernel), Just(Role::Tool)];
    let texts = [text(), text(), text(), text(), text(), text()];
    let by: proptest::collection::BTreeSetStrategy<_> =
        proptest::collection::btree_set(text(), 0..3);
    let size = 0..=u64::try_from(i64::MAX).unwrap();
    (texts, role, by, any::<[u8; 32]>(), size).prop_map(
        |(texts, role, required_by, digest, size)| {
            let [name, version, architecture, source, suite, path] = texts;
            let blob = Blob { sha256: Sha256::from_bytes(digest), size };
            Package { name, version, architecture, source, suite, path, blob, role, required_by }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        packages in proptest::collection::vec(any_package(), 0..4),
        inputs in proptest::collection::vec(text(), 0..3),
    ) {
        let mut packages = packages;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        packages.dedup_by(|a, b| a.name == b.name);
        let lock = Lock { inputs, packages, ..lock() };
        prop_assert_eq!(Lock::parse(&lock.to_toml(), Path::new("l")).unwrap(), lock);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(schema = 1|inputs = |[\\[\\]{}='\",.\n a-z0-9]|\\PC)*") {
        drop(Lock::parse(&text, Path::new("l")));
    }

    #[test]
    fn a_lock_is_fresh_for_the_recipe_it_was_made_for(names in proptest::collection::btree_set(text(), 0..4)) {
        let mut asked = recipe(RECIPE);
        asked.debian.packages = names;
        let lock = Lock { inputs: inputs(&asked), ..lock() };
        lock.check_fresh(&asked, Path::new("orlop.lock")).unwrap();
        asked.debian.packages.insert("one-more".to_owned());
        let error = lock.check_fresh(&asked, Path::new("orlop.lock")).unwrap_err().to_string();
        prop_assert_eq!(error.lines().skip(1).collect::<BTreeSet<_>>(), ["  + package one-more"].into());
    }
}

#[test]
fn compilers_are_asked_for_where_there_are_cargo_components_whatever_they_are_called() {
    let compiled = |name: &str| {
        let component = format!(
            "[cargo.{name}]\nworkspace = '..'\npackage = 'a'\nprograms = {{ a = '/usr/bin/a' }}\n"
        );
        inputs(&recipe(&format!("{RECIPE}{component}")))
    };
    let plain = inputs(&recipe(RECIPE));
    let more: Vec<_> = compiled("a").into_iter().filter(|line| !plain.contains(line)).collect();
    assert_eq!(more, ["compiler gcc", "compiler libc6-dev"]);
    assert_eq!(compiled("a"), compiled("b"), "one lock fits");
    // Those of an image count as well, and a recipe may name others.
    let inner = "[oci.a]\nreference = 'a.example/a:1'\nat = '/a.tar'\n[oci.a.cargo.a]\n\
                 workspace = '..'\npackage = 'a'\nprograms = { a = '/a' }\n";
    let named = RECIPE.replace("tools =", "compilers = ['gcc-14']\ntools =");
    let more = inputs(&recipe(&format!("{named}{inner}")));
    assert!(more.contains(&"compiler gcc-14".to_owned()), "{more:?}");
    assert!(!more.contains(&"compiler gcc".to_owned()), "{more:?}");
    assert_eq!(inputs(&recipe(&named)), plain, "without Cargo components nothing is compiled");
}
