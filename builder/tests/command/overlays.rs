//! What a user lays over the tree.

use expect_test::expect;

use crate::archive::Package;
use crate::project::Project;

fn manifest(project: &Project) -> String {
    String::from_utf8(project.read("orlop-out/tiny/manifest.txt")).unwrap()
}

/// The line of a path, without digest and size.
fn line(manifest: &str, path: &str) -> String {
    let of_path = |line: &&str| line.split(' ').nth(4) == Some(path);
    let line = manifest.lines().find(of_path).unwrap_or_else(|| panic!("no {path}"));
    line.split(' ').take(5).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_file_that_the_builder_makes_is_replaced_by_the_users_or_the_build_is_refused() {
    let project = Project::locked();
    project.write("overlay/etc/passwd", "root:x:0:0::/:/nonexistent\nmine:x:7:7::/:/nonexistent\n");
    project.refused(
        &["build"],
        expect![[r#"
        exit 3
        error[E0308]: `/etc/passwd` is given twice, by `users` too
          recipe.toml:29:8
           29 | path = "overlay"
              |        ^^^^^^^^^
          hint: if the later one shall win, list the path in `tree.replace`
    "#]],
    );
    project.change("[tree]\n", "[tree]\nreplace = [\"/etc/passwd\"]\n");
    let built = project.good(&["build"]);
    assert!(!built.stderr.contains("warning"), "{}", built.stderr);
    let digest = formats::digest::Sha256::of(project.read("overlay/etc/passwd"));
    assert!(manifest(&project).contains(&format!("/etc/passwd {digest} ")));
}

#[test]
fn modes_and_owners_are_those_of_the_recipe_on_any_host() {
    let project = Project::locked();
    for (name, mode) in [("etc/keys/node.key", 0o644), ("etc/keys/node.crt", 0o600)] {
        project.write(&format!("overlay/{name}"), name);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(project.path("overlay").join(name), mode).unwrap();
    }
    project.write("overlay/.git/config", "not for the node");
    project.change(
        "at = \"/\"\n",
        "at = \"/\"\n\n[local.overlay.modes]\n\"**/*.key\" = \"0600\"\n\"etc/keys/\" = \"0750\"\n\n\
         [local.overlay.owners]\n\"etc/keys/\" = \"0:7\"\n",
    );
    project.good(&["build"]);
    let manifest = manifest(&project);
    assert_eq!(line(&manifest, "/etc/keys"), "d 0750 0 7 /etc/keys");
    assert_eq!(line(&manifest, "/etc/keys/node.key"), "f 0600 0 0 /etc/keys/node.key");
    assert_eq!(line(&manifest, "/etc/keys/node.crt"), "f 0644 0 0 /etc/keys/node.crt");
    assert!(!manifest.contains(".git"), "{manifest}");
    formats::manifest::parse(&manifest).unwrap();
}

#[test]
fn what_an_overlay_and_packages_both_give_is_told_all_at_once() {
    let mut project = Project::new();
    project.archive.packages.push(
        Package::new("tiny-settings", "1-1")
            .file("etc/tiny/one", "1")
            .file("etc/tiny/two", "2")
            .link("etc/tiny/three", "one"),
    );
    project.server.serve(project.archive.publish());
    project.ask_for("tiny-settings");
    for name in ["one", "two", "three/below"] {
        project.write(&format!("overlay/etc/tiny/{name}"), "mine");
    }
    project
        .change("at = \"/\"\n", "at = \"/\"\n\n[local.overlay.modes]\n\"etc/tiny/\" = \"0700\"\n");
    project.refused(&["build"], expect![[r#"
        exit 1
        error[E0102]: components conflict:
          /etc/tiny is a directory of mode 0755 from tiny-settings and a directory of mode 0700 from overlay
          /etc/tiny/one comes from tiny-settings and from overlay
          /etc/tiny/three/below from overlay lies behind /etc/tiny/three, a link from tiny-settings
          /etc/tiny/two comes from tiny-settings and from overlay
          hint: /etc/tiny/three is a link to `one`: what is below it belongs where it leads
          hint: list the path in `[tree] replace` if the later one is right
    "#]]);
}
