//! What may stand in `keys.toml`, and how what may not is shown.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// 64 digits, all the same.
fn public(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn whole() -> String {
    format!(
        "schema = 1\n\
         [root]\nkeys = [\"alice\", \"bob\", \"hsm\"]\n\
         [targets]\nthreshold = 1\nkeys = [\"hsm\"]\n\
         [snapshot]\nkeys = [\"online\"]\n\
         [timestamp]\nkeys = [\"online\"]\n\
         [key.alice]\npublic = \"{}\"\nfile = \"alice.pem\"\n\
         [key.bob]\npublic = \"{}\"\n\
         [key.hsm]\npublic = \"{}\"\nsign-with = [\"hsm-sign\", \"--slot\", \"1\"]\n\
         [key.online]\npublic = \"{}\"\nfile = \"/run/secrets/online.pem\"\n",
        public('a'),
        public('b'),
        public('c'),
        public('d'),
    )
}

fn name(text: &str) -> Name {
    Name::try_from(text.to_owned()).unwrap()
}

#[test]
fn roles_and_keys_are_read_and_root_takes_two_of_its_keys() {
    let roles = Roles::parse(&whole().replace("[timestamp]", "[timestamp]\ndays = 2")).unwrap();
    let root = Signing { threshold: 2, days: 365, keys: ["alice", "bob", "hsm"].map(name).into() };
    assert_eq!(roles.role(Role::Root), &root);
    for (role, days, key) in
        [(Role::Targets, 90, "hsm"), (Role::Snapshot, 30, "online"), (Role::Timestamp, 2, "online")]
    {
        let want = Signing { threshold: 1, days, keys: vec![name(key)] };
        assert_eq!(roles.role(role), &want, "{role}");
    }
    let words = ["hsm-sign", "--slot", "1"].map(str::to_owned);
    for (key, digit, holder) in [
        ("alice", 0xaa, Holder::File("alice.pem".into())),
        ("bob", 0xbb, Holder::Elsewhere),
        ("hsm", 0xcc, Holder::Command(words.into())),
        ("online", 0xdd, Holder::File("/run/secrets/online.pem".into())),
    ] {
        assert_eq!(roles.keys()[&name(key)], Key { public: PublicKey::new([digit; 32]), holder });
    }
    assert_eq!(roles.keys().len(), 4);
}

/// What is said of the whole file with one text in place of another.
fn said(from: &str, to: &str, want: Expect) {
    let text = whole();
    assert!(text.contains(from), "{from}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let error = Roles::load(&path).unwrap_err();
    assert_eq!(error.id(), Id::KeyRoles);
    let hints = error.hints().iter().map(|hint| format!("\n  hint: {hint}"));
    let shown = format!("{}{}\n", error.chain(), hints.collect::<String>());
    want.assert_eq(&shown.replace(directory.path().to_str().unwrap(), "DIR"));
}

#[test]
fn what_is_not_of_this_form_is_shown_where_it_stands() {
    said(
        "schema = 1",
        "schema = 2",
        expect![[r#"
        schema 2 is not known: use 1
          DIR/keys.toml:1:10
           1 | schema = 2
             |          ^
    "#]],
    );
    said(
        "[targets]",
        "[target]",
        expect![[r#"
        `target` is not a key that stands here
          DIR/keys.toml:4:2
           4 | [target]
             |  ^^^^^^
          hint: did you mean `targets`?
    "#]],
    );
    said(
        "threshold",
        "treshold",
        expect![[r#"
        `treshold` is not a key that stands here
          DIR/keys.toml:5:1
           5 | treshold = 1
             | ^^^^^^^^
          hint: did you mean `threshold`?
    "#]],
    );
    said(
        "sign-with",
        "sign_with",
        expect![[r#"
        `sign_with` is not a key that stands here
          DIR/keys.toml:18:1
           18 | sign_with = ["hsm-sign", "--slot", "1"]
              | ^^^^^^^^^
          hint: did you mean `sign-with`?
    "#]],
    );
    said(
        "file =",
        "path =",
        expect![[r#"
        `path` is not a key that stands here
          DIR/keys.toml:13:1
           13 | path = "alice.pem"
              | ^^^^
          hint: the keys here are `public`, `file`, `sign-with`
    "#]],
    );
    said(
        "keys = [\"hsm\"]",
        "keys = \"hsm\"",
        expect![[r#"
        invalid type: string "hsm", expected a sequence
          DIR/keys.toml:6:8
           6 | keys = "hsm"
             |        ^^^^^
    "#]],
    );
    said(
        "\"alice\",",
        "\"Alice\",",
        expect![[r#"
        `Alice` is not a name: use 1 to 32 of a-z, 0-9 and `-`, a letter first
          DIR/keys.toml:3:8
           3 | keys = ["Alice", "bob", "hsm"]
             |        ^^^^^^^^^^^^^^^^^^^^^^^
    "#]],
    );
    said(
        "aaaa",
        "aaa",
        expect![[r#"
        this is not a public key: use its 32 bytes as 64 of 0-9 and a-f
          DIR/keys.toml:12:10
           12 | public = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
              |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#]],
    );
    said(
        "[key.bob]\npublic",
        "[key.bob]\nfile",
        expect![[r#"
        the key `public` is missing
          DIR/keys.toml:14:1
           14 | [key.bob]
              | ^^^^^^^^^
    "#]],
    );
    said(
        "[root]",
        "[root",
        expect![[r#"
        unclosed table, expected `]`
          DIR/keys.toml:2:6
           2 | [root
             |      ^
    "#]],
    );
    said(
        "[root]\nkeys = [\"alice\", \"bob\", \"hsm\"]\n",
        "",
        expect![[r#"
        the key `root` is missing
          DIR/keys.toml:1:1
           1 | schema = 1
             | ^
    "#]],
    );
}

#[test]
fn everything_that_makes_no_sense_is_shown() {
    said(
        "[\"alice\", \"bob\", \"hsm\"]",
        "[\"alise\", \"bob\", \"bob\"]",
        expect![[r#"
        2 problems in the roles of keys

          there is no `[key.alise]`
            DIR/keys.toml:3:9
             3 | keys = ["alise", "bob", "bob"]
               |         ^^^^^^^
            hint: did you mean `alice`?

          `root` names `bob` twice: it signs once
            DIR/keys.toml:3:25
             3 | keys = ["alise", "bob", "bob"]
               |                         ^^^^^
    "#]],
    );
    said(
        "threshold = 1",
        "threshold = 0",
        expect![[r#"
        `targets` would be signed by nobody
          DIR/keys.toml:5:13
           5 | threshold = 0
             |             ^
    "#]],
    );
    said(
        "threshold = 1",
        "threshold = 2",
        expect![[r#"
        `targets` takes 2 signatures and has 1 key
          DIR/keys.toml:5:13
           5 | threshold = 2
             |             ^
          hint: name more keys, or say another `threshold`
    "#]],
    );
    said(
        "[\"alice\", \"bob\", \"hsm\"]",
        "[\"alice\"]",
        expect![[r#"
        `root` takes 2 signatures and has 1 key
          DIR/keys.toml:3:8
           3 | keys = ["alice"]
             |        ^^^^^^^^^
          hint: name more keys, or say another `threshold`
    "#]],
    );
    said(
        "[targets]",
        "[targets]\ndays = 0",
        expect![[r#"
        `targets` signs for 1 to 3660 days, and not for 0
          DIR/keys.toml:5:8
           5 | days = 0
             |        ^
    "#]],
    );
    said(
        "[\"online\"]",
        "[]",
        expect![[r#"
        `snapshot` has no key
          DIR/keys.toml:8:8
           8 | keys = []
             |        ^^
    "#]],
    );
    said(
        &public('b'),
        &public('a'),
        expect![[r#"
        `bob` is the same key as `alice`
          DIR/keys.toml:15:10
           15 | public = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
              |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#]],
    );
    said(
        "[\"hsm-sign\", \"--slot\", \"1\"]",
        "[]",
        expect![[r#"
        `sign-with` begins with a program
          DIR/keys.toml:18:13
           18 | sign-with = []
              |             ^^
    "#]],
    );
    said(
        "sign-with",
        "file = \"x\"\nsign-with",
        expect![[r#"
        `hsm` has both `file` and `sign-with`
          DIR/keys.toml:19:13
           19 | sign-with = ["hsm-sign", "--slot", "1"]
              |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#]],
    );
}

#[test]
fn the_example_of_the_page_is_in_order() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/keys.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```toml\n").filter_map(|block| block.split("```").next());
    let whole: Vec<_> = blocks.filter(|block| block.starts_with("schema = 1")).collect();
    assert_eq!(whole.len(), 1);
    assert_eq!(Roles::parse(whole[0]).unwrap().role(Role::Root).threshold, 2);
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, whole() + &"#".repeat(70_000)).unwrap();
    assert_eq!(Roles::load(&path).unwrap_err().id(), Id::KeyRoles);
    assert_eq!(Roles::load(directory.path()).unwrap_err().id(), Id::Read);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(
        at in 0usize..600,
        length in 0usize..40,
        text in "[\\[\\]{}='\"#.,a-z0-9 \\n-]{0,12}",
    ) {
        let whole = whole();
        let at = at.min(whole.len());
        let end = (at + length).min(whole.len());
        if let Ok(roles) = Roles::parse(&(whole[..at].to_owned() + &text + &whole[end..])) {
            for role in Role::ALL {
                let Signing { threshold, days, keys } = roles.role(role);
                prop_assert!(*days >= 1);
                prop_assert!(*threshold >= 1 && *threshold as usize <= keys.len());
                prop_assert!(keys.iter().all(|key| roles.keys().contains_key(key)));
            }
        }
    }
}
