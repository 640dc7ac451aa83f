//! `orlop diff`: sides of every kind, wrong ones, and the page in a browser.

use std::fs;
use std::path::Path;

use builder::process::Command;
use expect_test::expect;
use serde_json::Value;

use crate::archive::Package;
use crate::project::Project;

const REF: &str = "orlop/x86_64/tiny/dev";

/// A file whose name each form has to escape in its own way.
const EVIL: &str = "overlay/etc/<img src=x onerror=alert(1)>|\u{1b}[31m";

fn json(project: &Project, words: &[&str]) -> Value {
    let ended = project.good(&[&["diff"], words, &["--format", "json"]].concat());
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Two builds in `one` and `two`, each a version: another package, another file, another unit.
fn two_builds() -> Project {
    let mut project = Project::new();
    let unit = "exec = [\"/usr/sbin/runc\"]\nready = \"exit\"\n";
    project.write("overlay/usr/lib/orlop/units/web.toml", unit);
    project.good(&["lock"]);
    project.good(&["build", "-o", "one", "--repo", "repo"]);
    fs::copy(project.path("orlop.lock"), project.path("one.lock")).unwrap();
    let package = Package::new("tiny-more", "1.0").file("usr/share/more/data", "data");
    project.archive.packages.push(package);
    project.server.serve(project.archive.publish());
    project.ask_for("tiny-more");
    project.write("overlay/etc/motd", "another\n");
    project.write(EVIL, "x");
    project.write(
        "overlay/usr/lib/orlop/units/web.toml",
        unit.replace("runc\"", "runc\", \"--port=80\""),
    );
    project.good(&["lock"]);
    project.good(&["build", "-o", "two", "--repo", "repo"]);
    project
}

fn names<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list}")).iter();
    list.map(|one| one[key].as_str().unwrap()).collect()
}

#[test]
fn two_builds_differ_in_what_was_changed_and_in_nothing_else() {
    let project = two_builds();
    let found = json(&project, &["one", "two"]);
    assert_eq!(names(&found["packages"], "name"), ["tiny-more"]);
    assert_eq!(found["packages"][0]["after"], "1.0");
    assert_eq!(found["units"][0]["keys"][0]["key"], "exec");
    let files = names(&found["files"], "path");
    let evil = EVIL.strip_prefix("overlay").unwrap();
    for path in [evil, "/etc/motd", "/usr/share/more/data", "/usr/lib/orlop/units/web.toml"] {
        assert!(files.contains(&path), "{path} is not in {files:?}");
    }
    assert!(!files.contains(&"/usr/sbin/runc"), "{files:?}");
    let ports = found["surface"].as_array().unwrap().iter();
    let ports = ports.filter(|one| one["what"] == "listening ports").collect::<Vec<_>>();
    assert_eq!(ports[0]["added"], serde_json::json!(["web: 80"]));
    // The kernel of this archive does not say what it was built with.
    let untold = found["untold"].as_array().unwrap().iter().map(|one| &one["what"]);
    let nothing_else = serde_json::json!(["kernel options"]);
    assert_eq!(untold.collect::<Vec<_>>(), [&nothing_else, &nothing_else]);
    assert_eq!(found["fetch"]["by"], "blocks");
    assert!(found["fetch"]["root"].as_u64().unwrap() > 0);

    let ended = project.run(&["diff", "one", "two", "--exit-code", "--progress", "none"]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stdout.starts_with("one -> two\n"), "{}", ended.stdout);
    assert!(ended.stderr.starts_with("error[E0107]: `one` and `two` differ\n"), "{}", ended.stderr);
    assert!(!ended.stdout.contains('\u{1b}'));
    let comment = project.good(&["diff", "one", "two", "--format", "markdown"]).stdout;
    assert!(comment.contains("| packages | 1 added |") && !comment.contains("<img"), "{comment}");
}

#[test]
fn a_side_with_itself_has_no_difference_whatever_it_is() {
    let project = Project::locked();
    project.good(&["build"]);
    let build = "orlop-out/tiny";
    for side in [build, REF, "orlop-out/tiny/disk.raw", "orlop-out/tiny/root.img", "orlop.lock"] {
        let ended = project.good(&["diff", side, side, "--exit-code"]);
        assert!(ended.stdout.contains("\nno difference\n"), "{side}: {}", ended.stdout);
    }
    // What is one thing in several forms, too.
    for (one, other) in [
        (build, REF),
        (REF, "orlop-out/tiny/root.img"),
        ("orlop-out/tiny/disk.raw", build),
        ("recipe.toml", build),
        ("recipe.toml", "orlop.lock"),
    ] {
        let ended = project.good(&["diff", one, other, "--exit-code"]);
        assert!(ended.stdout.contains("\nno difference\n"), "{one} {other}: {}", ended.stdout);
    }
    let left = fs::read_dir(project.path("orlop-out")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["repo", "tiny"], "what was built for a comparison is gone");
}

#[test]
fn versions_images_locks_and_recipes_tell_what_they_can() {
    let project = two_builds();
    let by_version = json(&project, &["one", REF, "--repo", "repo"]);
    assert_eq!(by_version["packages"], Value::Null);
    let untold = by_version["untold"][1]["what"].as_array().unwrap();
    for what in ["packages", "initrd", "boot files", "bytes to fetch"] {
        assert!(untold.contains(&what.into()), "{untold:?}");
    }
    let of_builds = json(&project, &["one", "two"]);
    let of_images = json(&project, &["one/disk.raw", "two/disk.raw"]);
    let in_root = |found: &Value| {
        let files = found["files"].as_array().unwrap().iter();
        let files = files.filter(|file| file["place"] == "root");
        files.map(|file| file["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let want = in_root(&of_builds);
    assert_eq!((in_root(&by_version), in_root(&of_images)), (want.clone(), want));
    assert_eq!(of_images["fetch"], of_builds["fetch"]);
    assert_eq!(of_images["units"], of_builds["units"]);

    let of_locks = json(&project, &["one.lock", "recipe.toml"]);
    assert_eq!(names(&of_locks["packages"], "name"), ["tiny-more"]);
    assert_eq!(of_locks["lock"]["asked"], serde_json::json!(["package tiny-more"]));
    assert_eq!(of_locks["files"], Value::Null);
}

#[test]
fn a_wrong_side_is_named_with_what_is_wrong() {
    let project = Project::locked();
    project.good(&["build"]);
    project.refused(
        &["diff", "orlop-out/tiny", "none"],
        expect![[r#"
        exit 2
        error[E0220]: the repository `orlop-out/repo` has no ref or commit `none`
          hint: there are `orlop/x86_64/tiny/dev`
          hint: there is no file or directory `none` either
    "#]],
    );
    project.refused(
        &["diff", "tiny", "orlop-out/tiny"],
        expect![[r#"
        exit 2
        error[E0220]: the repository `orlop-out/repo` has no ref or commit `tiny`
          hint: did you mean `orlop/x86_64/tiny/dev`?
          hint: there is no file or directory `tiny` either
          hint: there is the build `orlop-out/tiny`
    "#]],
    );
    project.write("wrong.toml", "schema = 1\n");
    project.refused(
        &["diff", "wrong", "orlop-out/tiny"],
        expect![[r#"
        exit 2
        error[E0220]: the repository `orlop-out/repo` has no ref or commit `wrong`
          hint: there are `orlop/x86_64/tiny/dev`
          hint: there is no file or directory `wrong` either
          hint: there is the recipe `wrong.toml`
    "#]],
    );
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    for name in ["pipe", "pipe.lock", "pipe.toml"] {
        rustix::fs::mkfifoat(rustix::fs::CWD, project.path(name), mode).unwrap();
        let ended = project.run(&["diff", name, "orlop-out/tiny"]);
        assert_eq!(ended.status, Some(7), "nobody waits for it: {}", ended.stderr);
        assert!(ended.stderr.contains("it is not a regular file"), "{}", ended.stderr);
    }
    project.refused(
        &["diff", "orlop.lock", "orlop-out/tiny/disk.raw"],
        expect![[r#"
        exit 2
        error[E0223]: `orlop.lock`, a lock, and `orlop-out/tiny/disk.raw`, a disk image, tell nothing in common that could be compared
          hint: a build tells all that there is to compare, of an image or of a lock
    "#]],
    );
    project.refused(&["diff", "none", "none", "--repo", "overlay"], expect![[r#"
        exit 8
        error[E0812]: `overlay` is not a repository of ostree: No such file or directory (os error 2)
          hint: `orlop build` and `orlop commit` make one; `--repo DIR` names it
          hint: there is no file or directory `none` either
    "#]]);
    project.refused(
        &["diff", "orlop-out/repo", "orlop-out/tiny"],
        expect![[r#"
        exit 8
        error[E0810]: `orlop-out/repo` is not an image that orlop made: it is a repository
          hint: `orlop build` prints the directory of the image as the last line of its output
          hint: name a version and `--repo orlop-out/repo`
    "#]],
    );
    project.refused(&["diff", "overlay", "orlop-out/tiny"], expect![[r#"
        exit 8
        error[E0810]: `overlay` is not an image that orlop made: it is a directory without `build.json`
          hint: `orlop build` prints the directory of the image as the last line of its output
    "#]]);
    project.refused(
        &["diff", "keyring.gpg", "orlop-out/tiny"],
        expect![[r#"
        exit 8
        error[E0810]: `keyring.gpg` is not an image that orlop made: it is of no kind that is known
          hint: `orlop build` prints the directory of the image as the last line of its output
    "#]],
    );
    project.refused(
        &["diff", "wrong.toml", "orlop-out/tiny"],
        expect![[r#"
        exit 3
        error[E0304]: a recipe must have the key `name`
          wrong.toml
          hint: `orlop explain E0304` says more
    "#]],
    );
    project.write("cut.img", &project.read("orlop-out/tiny/root.img")[..4096]);
    project.refused(
        &["diff", "cut.img", "orlop-out/tiny"],
        expect![[r#"
            exit 8
            error[E0811]: the root image `cut.img` is damaged: it has 266240 bytes and only 4096 are there
              hint: `orlop explain E0811` says more
        "#]],
    );

    let objects = project.path("orlop-out/repo/objects");
    let file = find(&objects, "filez");
    let damaged = fs::read(&file).unwrap().into_iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
    fs::write(&file, damaged).unwrap();
    let ended = project.run(&["diff", REF, "orlop-out/tiny"]);
    assert_eq!(ended.status, Some(8), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("error[E0813]: the object SHA256.file is damaged"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_recipe_that_nothing_can_be_locked_for_is_an_error_of_its_lock() {
    let project = Project::locked();
    project.good(&["build"]);
    project.ask_for("none");
    let ended = project.run(&["diff", "orlop-out/tiny", "recipe.toml", "--progress", "none"]);
    assert_eq!(ended.status, Some(4));
    assert!(ended.stderr.contains("+ package none"), "{}", ended.stderr);
}

/// The page as a browser without network has it, `script` run in it after its own.
fn dom(page: &Path, script: &str) -> String {
    let text = fs::read_to_string(page).unwrap();
    // What a user does, this script does; the page itself would not let it run.
    let policy = "http-equiv=\"Content-Security-Policy\"";
    let text = if script.is_empty() { text } else { text.replace(policy, "name=\"none\"") };
    let copy = page.with_extension("copy.html");
    fs::write(&copy, text + &format!("<script>{script}</script>\n")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let browser = Command::new("unshare")
        .args(["--net", "--map-root-user", "chromium", "--headless", "--no-sandbox"])
        .args(["--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .arg(format!("file://{}", copy.display()))
        .env("HOME", home.path());
    let said = browser.run();
    let said = said.unwrap_or_else(|e| panic!("{}; the package `chromium` is needed", e.chain()));
    String::from_utf8(said).unwrap()
}

#[test]
fn a_browser_without_network_shows_the_page_and_sorts_its_tables() {
    let project = two_builds();
    let page = project.path("page.html");
    let html = project.good(&["diff", "one", "two", "--format", "html"]).stdout;
    fs::write(&page, html).unwrap();
    // As it is: only the page's own script runs, and a name of a file is no element.
    let plain = dom(&page, "");
    assert!(
        plain.contains("<th scope=\"col\"><button type=\"button\">Path</button></th>"),
        "{plain}"
    );
    assert!(!plain.contains("<img"), "{plain}");
    assert!(plain.contains("onerror=alert(1)&gt;|\\u{1b}[31m"), "{plain}");
    assert_eq!(plain.matches("<svg viewBox=\"0 0 620").count(), 2);
    // What somebody sees who sorts: twice by growth, once by path.
    let sorted = dom(
        &page,
        "const head = (name) => [...document.querySelectorAll('#files th')]\
             .find((th) => th.textContent === name);\
         const values = (column) => [...document.querySelectorAll('#files tbody tr')]\
             .map((row) => row.cells[column].dataset.value ?? row.cells[column].textContent);\
         const said = [];\
         for (const name of ['Growth', 'Growth', 'Path']) {\
             head(name).querySelector('button').click();\
             said.push({ name, sort: head(name).ariaSort, sorted: document\
                 .querySelectorAll('#files [aria-sort]').length,\
                 values: values(head(name).cellIndex) });\
         }\
         document.title = JSON.stringify({ said, wide: document.documentElement.scrollWidth\
             <= window.innerWidth, labelled: [...document.querySelectorAll('[aria-labelledby]')]\
             .every((one) => one.getAttribute('aria-labelledby').split(' ')\
             .every((id) => document.getElementById(id))) });",
    );
    let title = sorted.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
    let title = title.unwrap().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let found: Value = serde_json::from_str(&title).unwrap_or_else(|_| panic!("{title}"));
    let said = found["said"].as_array().unwrap();
    let numbers = |index: usize| -> Vec<i64> {
        let values = said[index]["values"].as_array().unwrap().iter();
        values.map(|value| value.as_str().unwrap().parse().unwrap()).collect()
    };
    let mut growth = numbers(1);
    assert!(growth.is_sorted() && growth.len() > 3, "{growth:?}");
    growth.reverse();
    assert_eq!(numbers(0), growth);
    let paths: Vec<_> =
        said[2]["values"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(paths.iter().any(|path| path.contains("/etc/motd")), "{paths:?}");
    let sorts: Vec<_> =
        said.iter().map(|one| format!("{} {}", one["sort"], one["sorted"])).collect();
    assert_eq!(sorts, ["\"descending\" 1", "\"ascending\" 1", "\"ascending\" 1"]);
    assert_eq!((&found["wide"], &found["labelled"]), (&true.into(), &true.into()));
}

/// Some object of this kind.
fn find(directory: &Path, extension: &str) -> std::path::PathBuf {
    let inner = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files = inner.flat_map(|inner| fs::read_dir(inner).unwrap().flatten());
    let found = files.find(|file| file.path().extension().is_some_and(|one| one == extension));
    found.unwrap().path()
}
