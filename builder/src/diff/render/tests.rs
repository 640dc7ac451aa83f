//! What is shown, and that nothing an image calls a file is taken for more than a name.

use expect_test::expect;

use super::document::Document;
use super::*;
use crate::diff::side::{Kind, Side};
use crate::diff::{Difference, compare, tests};

/// A name with something that each form or a terminal would obey.
const EVIL: &str = "/etc/<script>alert(1)</script>|`x`*@you*\u{1b}[2J\n\u{202e}[a](b)&amp;";

fn document(difference: &Difference) -> Document {
    Document::new(difference)
}

/// A root with one file, and one with `names` as well.
fn with_files(names: impl IntoIterator<Item = String>) -> Difference {
    let mut before = Side::new("a", Kind::Root);
    before.files = Some(vec![tests::file("root", "/etc/motd", 0o644, "hello")]);
    let mut after = Side::new("b", Kind::Root);
    let added = names.into_iter().map(|name| tests::file("root", &name, 0o644, &name));
    after.files = Some(before.files.clone().into_iter().flatten().chain(added).collect());
    compare(&before, &after, None).unwrap()
}

#[test]
fn the_summary_comes_first_and_tables_are_aligned() {
    expect![[r#"
        a -> b
          before  a: a build, tiny 1 x86_64
          after   b: a build, tiny 2 x86_64

          version         1 -> 2
          packages        1 added, 1 removed, 2 changed
          Go modules      1 changed
          crates          1 changed
          linked packages 1 changed
          kernel          6.1 -> 6.2; 2 words of the command line; 3 options; modules: 1 added, 1 removed, 1 changed
          in the UKI      1 changed
          units           1 changed
          attack surface  +1 -1 executables, +1 set-id files, +1 file capabilities, +2 -1 listening ports, +1 -1 modules on demand
          root image      1000 B -> 1.1 KiB (+100 B, +10.0 %)
          files           2 added, 2 removed, 4 changed
          compilers       1 changed
          suites          1 changed
          from the web    1 changed
          to fetch        about 12.1 KiB of 20.1 KiB (60.2 %)

        Debian packages
          back   2        1 (older)
          gone   1        -
          libc6  2.41-12  2.41-13
          new    -        1

        Go modules in programs
          x.example/net  v1.0.0  v1.1.0  /usr/bin/agent, /usr/bin/other

        Crates in programs
          rustix  1.0.0  1.1.0  /init

        Debian libraries in programs
          libc6-dev  2.41-12  2.41-13  /init

        Kernel
          release       6.1    6.2
          command line  quiet  -
          command line  -      loud

        Kernel options
          CONFIG_B    m  n
          CONFIG_NEW  -  7
          CONFIG_OLD  y  -

        Kernel modules
          erofs   changed  initrd
          new_fs  added    root
          old_fs  removed  root

        Parts of the UKI
          .initrd  changed  6 B  14 B

        Units
          web  changed  exec            ["/usr/bin/web", "--listen=0.0.0.0:80"]  ["/usr/bin/web", "--listen", ":81"]
          web  changed  ready           "exit"                                   -
          web  changed  ready.http-200  -                                        "http://127.0.0.1:82/healthz"

        Attack surface
          executables        added    /usr/bin/new
          executables        removed  /usr/bin/gone
          set-id files       added    /usr/bin/agent
          file capabilities  added    /etc/motd
          listening ports    added    web: 127.0.0.1:82
          listening ports    added    web: :81
          listening ports    removed  web: 0.0.0.0:80
          modules on demand  added    new_fs
          modules on demand  removed  old_fs

        Images
          root  1000 B  1.1 KiB  +100 B

        Components
          deb/motd          4.9 KiB  9.8 KiB  +4.9 KiB
          deb/new-fs.ko.xz        -  4.9 KiB  +4.9 KiB
          deb/gone          3.9 KiB        -  -3.9 KiB
          deb/new                 -  2.9 KiB  +2.9 KiB
          deb/old-fs.ko.xz  2.9 KiB        -  -2.9 KiB
          deb/erofs.ko      4.9 KiB  6.8 KiB  +2.0 KiB

        Packages that compile
          gcc  12  13

        Rust compilers
          rustc  rustc 1.90  rustc 1.91

        Suites
          trixie  Mon  Tue

        Files from the web
          tool  aa  bb

        What the lock answers
          removed  package b
          added    package c

        Files
          /etc/motd                                    changed  content, mode 0644 -> 0600, owner 0:0 -> 7:0, xattrs [] -> [security.capability]  4.9 KiB  9.8 KiB  +4.9 KiB
          /usr/lib/modules/6.2/kernel/fs/new-fs.ko.xz  added    file 0644 0:0                                                                           -  4.9 KiB  +4.9 KiB
          /usr/bin/gone                                removed  file 0755 0:0                                                                     3.9 KiB        -  -3.9 KiB
          /usr/bin/new                                 added    file 0755 0:0                                                                           -  2.9 KiB  +2.9 KiB
          /usr/lib/modules/6.1/kernel/fs/old-fs.ko.xz  removed  file 0644 0:0                                                                     2.9 KiB        -  -2.9 KiB
          initrd:/lib/modules/erofs.ko                 changed  content                                                                           4.9 KiB  6.8 KiB  +2.0 KiB
          /bin                                         changed  target usr/bin -> usr/sbin                                                              -        -         -
          /usr/bin/agent                               changed  mode 0755 -> 4755                                                                 4.9 KiB  4.9 KiB      +0 B

        What is to fetch is an estimate for a node that has the first side: 4 KiB blocks of the root image that are nowhere in the first one, its hash tree, and the UKI without its padding, none of it compressed.
    "#]]
    .assert_eq(&text(&document(&tests::difference()), false));
}

#[test]
fn sides_without_a_difference_say_so() {
    let difference = compare(&tests::before(), &tests::before(), None).unwrap();
    expect![[r#"
        a -> a
          before  a: a build, tiny 1 x86_64
          after   a: a build, tiny 1 x86_64

        no difference
    "#]]
    .assert_eq(&text(&document(&difference), false));
    assert!(markdown(&document(&difference)).contains("**No difference.**"));
    assert!(html(&document(&difference), &difference).contains("<strong>No difference.</strong>"));
}

#[test]
fn long_tables_are_cut_unless_all_is_wanted_and_folded_in_comments() {
    let difference = with_files((0..40).map(|number| format!("/etc/file-{number:02}")));
    let document = document(&difference);
    let short = text(&document, false);
    assert!(short.contains("\n  ... and 28 more: `--all` shows them\n"), "{short}");
    assert!(short.contains("/etc/file-11") && !short.contains("/etc/file-12"));
    let long = text(&document, true);
    assert!(long.contains("/etc/file-39") && !long.contains("more:"));
    let comment = markdown(&document);
    assert!(comment.contains("<details><summary><b>Files</b> (40)</summary>"));
    assert!(comment.contains("/etc/file-39"));
}

#[test]
fn a_comment_fits_however_much_changed() {
    for (count, length) in [(3000, 200), (60, 100_000)] {
        let name = "&".repeat(length);
        let difference = with_files((0..count).map(|number| format!("/{name}-{number}")));
        let comment = markdown(&document(&difference));
        assert!(comment.chars().count() <= LIMIT, "{}", comment.chars().count());
        assert!(comment.contains("more, for which there is no room here."));
        assert!(comment.contains(&format!("{count} added")));
    }
}

#[test]
fn a_name_is_a_name_in_every_form() {
    let difference = with_files([EVIL.to_owned()]);
    let document = document(&difference);
    for shown in [text(&document, true), markdown(&document), html(&document, &difference)] {
        let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!shown.contains(bad), "{shown:?}");
        assert!(
            shown.contains(r"\u{1b}[2J\n\u{202e}") || shown.contains(r"&#92;u{1b}&#91;2J&#92;n")
        );
    }
    let page = html(&document, &difference);
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;|`x`*@you*"));
    assert!(page.contains("&amp;amp;"));
    let comment = markdown(&document);
    let line = comment.lines().find(|line| line.contains("alert")).unwrap();
    let cells: Vec<_> = line.split('|').collect();
    assert_eq!(cells.len(), 2 + 6, "{line}");
    assert!(!cells[1].contains(['*', '`', '[', '@']) && !cells[1].contains("<script"), "{line}");
}

#[test]
fn the_page_allows_no_script_but_its_own_and_names_nothing_outside() {
    let difference = tests::difference();
    let page = html(&document(&difference), &difference);
    let policy = page.lines().find(|line| line.contains("Content-Security-Policy")).unwrap();
    assert!(policy.contains("default-src 'none'; style-src 'sha256-"), "{policy}");
    for outside in ["http:", "https:", "//", "src=", "@import", "url("] {
        let allowed = ["default-src", "the example", "https://"];
        let found: Vec<_> = page
            .lines()
            .filter(|line| line.contains(outside) && !line.trim_start().starts_with("//"))
            .filter(|line| !allowed.iter().any(|known| line.contains(known)))
            .filter(|line| !line.contains("127.0.0.1:82"))
            .collect();
        assert_eq!(found, [""; 0], "{outside}");
    }
}
