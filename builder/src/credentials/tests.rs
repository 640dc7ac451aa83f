//! Whose password goes where, and that it is seen nowhere.

use super::*;
use crate::error::Id;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// `user:password` of the login that is found for an address.
fn found(logins: &Logins, text: &str) -> Option<String> {
    logins.find(&address(text)).map(|login| format!("{}:{}", login.user, login.password))
}

fn netrc(text: &str) -> Logins {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("netrc");
    fs::write(&file, text).unwrap();
    Logins::of_user(None, Some(&file))
}

fn apt(files: &[(&str, &str)]) -> Logins {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join("etc/apt").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Logins::default().with_apt(root.path())
}

#[test]
fn an_address_is_shown_without_its_name_and_password() {
    for (text, plain, login) in [
        ("http://mirror.example/debian", "http://mirror.example/debian", None),
        ("HTTP://a:s3cret@mirror.example:80/d", "http://mirror.example:80/d", Some("a:s3cret")),
        ("https://a:s3%40c%2Fret@[::1]:8/d?x#y", "https://[::1]:8/d?x#y", Some("a:s3@c/ret")),
        ("http://a:s3@cret@mirror.example", "http://mirror.example", Some("a:s3@cret")),
        ("http://s3cret@mirror.example/", "http://mirror.example/", Some("s3cret:")),
        ("http://:s3cret@mirror.example/", "http://mirror.example/", Some(":s3cret")),
        ("http://@mirror.example/", "http://mirror.example/", None),
    ] {
        let read = address(text);
        assert_eq!(read.as_str(), plain);
        assert!(!format!("{read:?}").contains("s3"), "{read:?}");
        assert_eq!(found(&Logins::default(), text).as_deref(), login, "{text}");
    }
}

#[test]
fn what_is_no_address_is_shown_without_what_may_be_a_password() {
    for text in [
        "http://a:s3cret/ret@mirror.example/debian",
        "a:s3cret@mirror.example/debian",
        "ftp://a:s3cret@mirror.example",
        "s3cret://a:s3cret@mirror.example",
        "http://a:s3cret@",
        "http://a:s3cret@mirror.example:port/",
        "http://a:s3cret @mirror.example/",
        "file://a:s3cret@/srv",
    ] {
        let error = Address::parse(text).unwrap_err();
        assert_eq!(error.id(), Id::BadUrl);
        let scheme = if text.starts_with("s3cret:") { "s3cret:" } else { "" };
        assert!(!error.to_string().replace(scheme, "").contains("s3cret"), "{error}");
        assert!(error.to_string().contains(text.rsplit('@').next().unwrap()), "{error}");
    }
}

#[test]
fn the_values_of_a_query_are_not_shown() {
    for (text, plain) in [
        ("https://a.example/b?X-Sig=s3cret&raw=true#top", "https://a.example/b?X-Sig=...&raw=..."),
        ("https://bob:s3cret@a.example/b?s3cret", "https://a.example/b?..."),
        ("https://a.example/b#top", "https://a.example/b#top"),
        ("https://a.example?a=s3cret=&s3cret", "https://a.example?a=...&..."),
    ] {
        let read = address(text);
        assert_eq!(read.to_string(), plain);
        assert!(
            read.as_str().contains("s3cret") || !plain.contains('?'),
            "it is asked for as it is"
        );
        assert!(!format!("{read:?}").contains("s3cret"), "{read:?}");
        let written = Written::from(text);
        assert_eq!(written.to_string(), plain);
        assert_eq!(serde_json::to_value(&written).unwrap(), plain);
        assert!(!format!("{written:?}").contains("s3cret"));
        let line = format!("x = {{ url = \"{text}\", sha256 = \"@?=\" }}");
        let masked = masked(&line);
        assert!(!masked.contains("s3cret"), "{masked}");
        assert_eq!((masked.len(), masked.find("sha256")), (line.len(), line.find("sha256")));
        assert!(masked.contains("a.example") && masked.ends_with("\"@?=\" }"), "{masked}");
    }
    assert_eq!(shown("ftp://a.example/b?s=s3cret"), "ftp://a.example/b?s=...");
}

#[test]
fn a_place_in_an_answer_is_read_as_relative_to_what_was_asked() {
    let base = address("http://one.example:8/a/b?c");
    for (place, whole) in [
        ("https://two.example/x", "https://two.example/x"),
        ("//two.example/x", "http://two.example/x"),
        ("/x?y", "http://one.example:8/x?y"),
        ("x", "http://one.example:8/a/x"),
        ("?y", "http://one.example:8/a/b?y"),
        ("x?u=http://two.example/", "http://one.example:8/a/x?u=http://two.example/"),
    ] {
        assert_eq!(base.join(place).unwrap().as_str(), whole);
    }
    assert_eq!(address("http://one.example").join("x").unwrap().as_str(), "http://one.example/x");
    for place in ["ftp://two.example/x", "mailto:a@two.example", "http://"] {
        assert_eq!(base.join(place).unwrap_err().id(), Id::BadUrl, "{place}");
    }
}

#[test]
fn apts_entries_fit_as_its_manual_says() {
    // The examples of apt_auth.conf(5), and what its words imply.
    let table: &[(&str, &str, bool)] = &[
        ("example.org", "https://example.org/debian", true),
        ("example.org/deb", "https://example.org/debian", true),
        ("example.org/debian", "https://example.org/debian", true),
        ("example.org/debian/", "https://example.org/debian/dists", true),
        ("example.org:443", "https://example.org/debian", false),
        ("example.org/deb/", "https://example.org/debian", false),
        ("example.org/ubuntu", "https://example.org/debian", false),
        ("example.orga", "https://example.org/debian", false),
        ("example.net", "https://example.org/debian", false),
        ("example.org", "https://example.org:8443/debian", true),
        ("example.org:8443", "https://example.org:8443/debian", true),
        ("example.org:8443/d", "https://example.org:8443/debian", true),
        ("example.org/d", "https://example.org:8443/debian", false),
        ("example.org:8444", "https://example.org:8443/debian", false),
        ("example.org", "http://example.org/debian", false),
        ("http://example.org", "http://example.org/debian", true),
        ("http://example.org/debian", "http://example.org/debian", true),
        ("http://example.org", "https://example.org/debian", false),
        ("https://example.org", "https://example.org/debian", true),
    ];
    for (machine, asked, fits) in table {
        let text = format!("machine {machine} login a password s3cret\n");
        let logins = apt(&[("auth.conf", &text)]);
        assert_eq!(found(&logins, asked).is_some(), *fits, "{machine} {asked}");
    }
}

#[test]
fn apts_files_are_read_in_order_and_only_with_its_ending() {
    let entry = |user: &str| format!("machine example.org\nlogin {user}\tpassword p\n");
    let (a, b, c, d) = (entry("a"), entry("b"), entry("c"), entry("d"));
    let all = [
        ("auth.conf", &*a),
        ("auth.conf.d/2.conf", &*c),
        ("auth.conf.d/1.conf", &*b),
        ("auth.conf.d/0.conf.bak", &*d),
        ("auth.conf.d/.0.conf", &*d),
        ("auth.conf.d/0+.conf", &*d),
    ];
    for (from, user) in [(0, Some("a:p")), (1, Some("b:p"))] {
        assert_eq!(found(&apt(&all[from..]), "https://example.org/").as_deref(), user);
    }
    assert_eq!(found(&apt(&all[3..]), "https://example.org/"), None);
}

#[test]
fn a_netrc_fits_by_the_name_of_the_host_whatever_the_scheme() {
    let text = "# a comment machine example.net login no\nmachine Example.org\n  login a\n  \
        password \"s3 \\\"cret\"\nmacdef init\nmachine example.net login no password no\n\n\
        machine example.com account x password p#1 login b\n";
    let logins = netrc(text);
    for (asked, want) in [
        ("http://example.org/x", Some("a:s3 \"cret")),
        ("https://example.ORG:8443/y", Some("a:s3 \"cret")),
        ("https://example.com/", Some("b:p#1")),
        ("https://example.net/", None),
        ("https://www.example.org/", None),
    ] {
        assert_eq!(found(&logins, asked).as_deref(), want, "{asked}");
    }
    let logins = netrc("machine a.example login a password p\ndefault login d password q");
    assert_eq!(found(&logins, "http://b.example/").as_deref(), Some("d:q"));
    assert_eq!(found(&logins, "http://a.example/").as_deref(), Some("a:p"));
}

#[test]
fn an_address_counts_more_than_apt_and_apt_more_than_the_user() {
    let mut logins = netrc("machine example.org login netrc password p");
    assert_eq!(found(&logins, "https://example.org/").as_deref(), Some("netrc:p"));
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/apt")).unwrap();
    let entry = "machine example.org login apt password p";
    fs::write(root.path().join("etc/apt/auth.conf"), entry).unwrap();
    logins = logins.with_apt(root.path());
    assert_eq!(found(&logins, "https://example.org/").as_deref(), Some("apt:p"));
    logins.give(&address("https://one:p@example.org/one"));
    logins.give(&address("https://two:p@example.org/two"));
    for (asked, want) in [
        ("https://example.org/two/dists", "two:p"),
        ("https://example.org/one/dists", "one:p"),
        // Beside what was named: the security archive of a mirror.
        ("https://example.org/one-security/dists", "one:p"),
        ("https://example.org:443/one/dists", "one:p"),
        ("https://own:p@example.org/one", "own:p"),
        ("https://example.org:8443/one", "apt:p"),
    ] {
        assert_eq!(found(&logins, asked).as_deref(), Some(want), "{asked}");
    }
}

#[test]
fn nothing_that_holds_a_password_shows_it_when_printed() {
    let mut logins = netrc("machine example.org login a password s3cret");
    logins.give(&address("http://a:s3cret@example.com/"));
    let login = logins.find(&address("http://example.org")).unwrap();
    for text in [format!("{logins:?}"), format!("{login:?}"), login.source().to_string()] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    assert_eq!(login.basic(), "Basic YTpzM2NyZXQ=");
}

#[test]
fn the_hint_says_which_file_would_do() {
    let hint = |logins: &Logins| logins.hint(&address("http://example.org/debian"), None);
    assert_eq!(
        hint(&Logins::default()),
        "write the name and the password for `example.org` into `~/.netrc`"
    );
    let unencrypted = apt(&[("auth.conf", "machine example.org login a password s3cret")]);
    let hint = hint(&unencrypted);
    assert!(hint.ends_with("only if the entry says `machine http://example.org`"), "{hint}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_and_shows_no_password(text in "(?s)(machine |login |s3cret|http|https|://|[@:/\"\\\\#\n ]|.){0,12}") {
        for rules in [Rules::Apt, Rules::Netrc] {
            drop(files::parse(&text, rules, Path::new("file")));
        }
        if let Ok(address) = Address::parse(&text) {
            let again = Address::parse(address.as_str()).unwrap();
            proptest::prop_assert_eq!(again.as_str(), address.as_str());
            proptest::prop_assert!(again.login().is_none());
        }
    }
}
