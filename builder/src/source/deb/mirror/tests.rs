//! Which mirrors are taken, and of which are the security archive.

use super::*;
use crate::source::deb::testing::Signer;

/// A host whose `etc/apt` holds these files.
fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join("etc/apt").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn find(given: &[&str], root: &Path) -> Result<Mirrors> {
    let given: Vec<_> = given.iter().map(|address| (*address).to_owned()).collect();
    let pinned = &BTreeSet::from([Signer::new(1).fingerprint()]);
    let snapshot = "20261128T000000Z".parse().ok();
    Mirrors::find(&Search {
        given: &given,
        root,
        architecture: Architecture::Amd64,
        pinned,
        snapshot,
    })
}

fn archive_of(files: &[(&str, &str)]) -> Vec<String> {
    find(&[], host(files).path()).map(|mirrors| mirrors.archive).unwrap_or_default()
}

#[test]
fn what_was_given_wins_over_the_host() {
    let host = host(&[("sources.list", "deb http://host.mirror.example/debian sid main\n")]);
    for (given, archive) in [
        (&["https://given.mirror.example/debian/"][..], "https://given.mirror.example/debian"),
        (&[], "http://host.mirror.example/debian"),
    ] {
        assert_eq!(find(given, host.path()).unwrap().archive, [archive]);
    }
}

#[test]
fn without_any_mirror_the_error_says_how_to_name_one_and_what_was_not_taken() {
    let error = find(&[], host(&[]).path()).unwrap_err();
    assert_eq!(error.id(), Id::NoMirror);
    assert!(error.hints()[0].contains("--mirror URL"));
    let text = "deb cdrom:[Debian 13]/ trixie main\n\
        deb tor+http://mirror.example/debian trixie main\n\
        deb [signed-by=/other.gpg] http://mirror.example/debian trixie main\n\
        deb http://mirror.example/ubuntu noble main\n";
    let host = host(&[("sources.list", text)]);
    let error = find(&[], host.path()).unwrap_err();
    let place = host.path().join("etc/apt/sources.list").display().to_string();
    let hints: Vec<_> = error.hints()[1..].iter().map(|hint| hint.replace(&place, "F")).collect();
    assert_eq!(
        hints,
        [
            "not taken: `F:1`: neither its key nor its address is known as Debian's",
            "not taken: `F:2`: apt's method `tor+http:` is not supported",
            "not taken: `F:3`: neither its key nor its address is known as Debian's",
        ]
    );
}

#[test]
fn what_is_not_an_address_of_a_mirror_is_refused_without_a_password() {
    for address in [
        "mirror.example/debian",
        "ftp://bob:s3cret@mirror.example",
        "http://",
        "http:///x",
        "http://mirror.example/a b",
        "http://bob:s3cret@mirror.example/?a",
        "http://bob:s3cret@",
        "file:path/to/debian",
        "file:",
        "cdrom:[s]/",
    ] {
        let error = find(&[address], Path::new("/")).unwrap_err();
        assert_eq!(error.id(), Id::BadMirror, "{address}");
        assert!(!error.chain().contains("s3cret"), "{error}");
    }
}

#[test]
fn a_password_is_kept_apart_from_the_addresses() {
    let mirrors = find(&["http://bob:s3cret@mirror.example/debian/"], Path::new("/")).unwrap();
    assert_eq!(mirrors.archive, ["http://mirror.example/debian"]);
    assert_eq!(mirrors.security, ["http://mirror.example/debian-security"]);
    assert!(mirrors.logins()[0].login().is_some());
    assert!(!format!("{mirrors:?}").contains("s3cret"));
    let source = "deb http://bob:s3cret@mirror.example/debian trixie main";
    let mirrors = find(&[], host(&[("sources.list", source)]).path()).unwrap();
    assert_eq!(mirrors.archive, ["http://mirror.example/debian"]);
    assert!(mirrors.logins()[0].login().is_some());
}

#[test]
fn an_archive_of_dates_has_its_security_archive_of_the_same_date() {
    let dated = "http://mirror.example/archive/debian/20261128T000000Z";
    let security = "http://mirror.example/archive/debian-security/20261128T000000Z";
    for given in [
        &[dated][..],
        &[dated, security],
        &[security, dated],
        &["http://mirror.example/archive/debian/{snapshot}/"],
    ] {
        let mirrors = find(given, Path::new("/")).unwrap();
        assert_eq!(mirrors.of_suite("trixie"), [dated]);
        assert_eq!(mirrors.of_suite("trixie-security"), [security]);
    }
    // As the sources of a host, what counts is the suite that stands there.
    let later = "http://mirror.example/archive/fixes/20261128T120000Z";
    let text = format!(
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {dated}/ trixie main\n\
         deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {later}/ trixie-security main\n"
    );
    let mirrors = find(&[], host(&[("sources.list", &text)]).path()).unwrap();
    assert_eq!(mirrors.of_suite("trixie-updates"), [dated]);
    assert_eq!(mirrors.of_suite("trixie-security"), [later, security]);

    let (given, pinned) = (["http://mirror.example/debian/{snapshot}".to_owned()], BTreeSet::new());
    let (root, architecture) = (Path::new("/"), Architecture::Amd64);
    let search = Search { given: &given, root, architecture, pinned: &pinned, snapshot: None };
    assert_eq!(Mirrors::find(&search).unwrap_err().id(), Id::BadMirror);
}

#[test]
fn a_mirror_may_be_on_a_disk() {
    for address in ["file:/srv/debian", "file:///srv/debian/", "copy:/srv/debian"] {
        assert_eq!(find(&[address], Path::new("/")).unwrap().archive, ["file:/srv/debian"]);
        let source = format!("deb [trusted=yes] {address} trixie main");
        assert_eq!(archive_of(&[("sources.list", &source)]), ["file:/srv/debian"]);
    }
    assert_eq!(local_path("file:/srv/a%20b"), Some(PathBuf::from("/srv/a b")));
    assert_eq!(local_path("http://mirror.example/"), None);
}

#[test]
fn a_source_is_debians_if_it_is_signed_by_a_key_that_the_recipe_pins() {
    let other = Signer::new(2);
    let ours = Signer::new(1);
    let keys = [("keyrings/ours.gpg", ours.keyring()), ("keyrings/other.gpg", other.keyring())];
    let inline = |signer: &Signer| {
        let key = signer.armored_keyring();
        let line = |line: &str| if line.is_empty() { " .\n".into() } else { format!(" {line}\n") };
        format!("\n{}", key.lines().map(line).collect::<String>())
    };
    for (signed_by, uri, taken) in [
        (" /etc/apt/keyrings/ours.gpg".to_owned(), "http://mirror.example/d", true),
        (" /etc/apt/keyrings/other.gpg".to_owned(), "http://mirror.example/debian", false),
        (" /etc/apt/keyrings/none.gpg".to_owned(), "http://mirror.example/debian", false),
        (format!(" {}", ours.fingerprint()), "http://mirror.example/d", true),
        (format!(" {}!", ours.fingerprint()), "http://mirror.example/d", true),
        (format!(" {}", other.fingerprint()), "http://mirror.example/debian", false),
        (inline(&ours), "http://mirror.example/d", true),
        (inline(&other), "http://mirror.example/d", false),
    ] {
        let text = format!(
            "Types: deb\nURIs: {uri}\nSuites: trixie\nComponents: main\nSigned-By:{signed_by}\n"
        );
        let host = host(&[("sources.list.d/a.sources", &text)]);
        for (name, key) in &keys {
            let path = host.path().join("etc/apt").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, key).unwrap();
        }
        let found = find(&[], host.path());
        assert_eq!(found.is_ok(), taken, "{text} {found:?}");
    }
}

#[test]
fn an_archive_implies_the_security_archive_beside_it() {
    for (addresses, security) in [
        (vec!["http://mirror.example/debian"], vec!["http://mirror.example/debian-security"]),
        (
            vec!["http://mirror.example/copies/trixie/"],
            vec![
                "http://mirror.example/copies/trixie-security",
                "http://mirror.example/copies/debian-security",
            ],
        ),
        (
            vec!["http://mirror.example/debian", "http://safe.mirror.example/debian-security"],
            vec![
                "http://safe.mirror.example/debian-security",
                "http://mirror.example/debian-security",
            ],
        ),
        (vec!["http://mirror.example"], vec!["http://mirror.example/debian-security"]),
    ] {
        let mirrors = Mirrors::new(addresses).unwrap();
        assert_eq!(mirrors.of_suite("trixie-security"), security);
        assert_eq!(mirrors.of_suite("trixie-updates").len(), 1);
    }
}

#[test]
fn one_line_sources_are_read() {
    let text = "\
# deb http://commented.mirror.example/debian trixie main
deb-src http://source.mirror.example/debian trixie main
deb http://one.mirror.example/debian/ bookworm main contrib # a comment
deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] https://two.mirror.example/d trixie main
deb\t[arch=amd64]\thttp://one.mirror.example/debian\tbookworm-updates\tmain
deb cdrom:[Debian]/ trixie main
deb http://three.mirror.example/debian
deb
";
    assert_eq!(
        archive_of(&[("sources.list", text)]),
        ["http://one.mirror.example/debian", "https://two.mirror.example/d"]
    );
}

#[test]
fn deb822_sources_are_read() {
    let text = "\
# A comment.
Types: deb deb-src
# http://commented.mirror.example/debian
URIs: http://one.mirror.example/debian
 http://two.mirror.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: http://off.mirror.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: http://source.mirror.example/debian
Suites: trixie
Components: main
";
    let archive = archive_of(&[("sources.list.d/debian.sources", text)]);
    assert_eq!(archive, ["http://one.mirror.example/debian", "http://two.mirror.example/debian"]);
}

#[test]
fn archives_that_are_not_debians_are_passed_over() {
    for line in [
        "deb http://mirror.example/ubuntu noble main universe",
        "deb http://mirror.example/debian noble main",
        "deb http://mirror.example/linux/debian bookworm stable",
        "deb [signed-by=/etc/apt/keyrings/other.gpg] http://mirror.example/debian trixie main",
        "deb http://mirror.example/apt bookworm-pgdg main",
        "deb http://mirror.example/apt bookworm main",
        "deb file:/path/to/packages bookworm main",
    ] {
        assert!(archive_of(&[("sources.list", line)]).is_empty(), "{line}");
    }
}

#[test]
fn a_list_of_mirrors_is_followed() {
    let sources = "\
Types: deb
URIs: mirror+file:///etc/apt/mirrors/debian.list
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
";
    let list = "# in no order\nhttp://two.mirror.example/debian\n\nhttp://one.mirror.example/debian\tpriority:1\n";
    assert_eq!(
        archive_of(&[("sources.list.d/a.sources", sources), ("mirrors/debian.list", list)]),
        ["http://one.mirror.example/debian", "http://two.mirror.example/debian"]
    );
}

#[test]
fn files_are_read_in_order_and_only_with_apts_endings() {
    let line = |host: &str| format!("deb http://{host}.mirror.example/debian sid main\n");
    let (a, b, c) = (line("a"), line("b"), line("c"));
    let archive = archive_of(&[
        ("sources.list.d/2.list", &b),
        ("sources.list.d/1.list", &a),
        ("sources.list.d/3.list.disabled", &c),
    ]);
    assert_eq!(archive, ["http://a.mirror.example/debian", "http://b.mirror.example/debian"]);
}
