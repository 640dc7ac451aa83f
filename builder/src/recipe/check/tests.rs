//! Each check with a recipe that fails it.

use std::fs;

use super::super::load;
use crate::error::Id;

/// A recipe that passes, with a project around it.
const GOOD: &str = r#"schema = 1
name = "good"
[os]
id = "os"
name = "OS"
version = "1.0-rc1"
[kernel]
package = "linux-image-cloud-amd64"
command-line = ["console=ttyS0", "orlop.debug"]
modules = ["overlay"]
initrd-modules = ["dm-verity"]
[debian]
suites = ["trixie"]
components = ["main"]
keys = ["41587F7DB8C774BCCF131416762F67A0B2C39DE4"]
packages = ["runc"]
tools = ["apparmor", "systemd-boot-efi"]
drop = ["/usr/share/doc/**"]
[debian.exclude]
debconf = "asks questions"
[go.one]
module = "go"
[go.one.programs]
"example.org/m/cmd/one" = "/usr/bin/one"
[cargo.two]
workspace = "rust"
package = "two"
[cargo.two.programs]
two = "/usr/bin/two"
[url.three]
url = "https://mirror.example/three.tar.gz"
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
[url.three.unpack]
"bin/three" = "/usr/bin/three"
[local.overlay]
path = "overlay"
at = "/"
[local.file]
path = "overlay/file"
at = "/etc/file"
[apparmor.five]
profile = "overlay/file"
at = "/usr/lib/five"
[oci.four]
reference = "mirror.example/four:1"
at = "/usr/lib/four.tar"
environment = { FOUR = "4" }
[oci.four.cargo.four]
workspace = "rust"
package = "four"
programs = { four = "/usr/bin/two" }
[oci.four.local.four]
path = "overlay"
at = "/"
[users.root]
id = 0
[users.node]
id = 1000
[tree]
directories = ["/proc", "/usr/bin"]
[tree.symlinks]
"/bin" = "usr/bin"
[tree.executables]
"/usr/sbin/runc" = "runc"
[disk]
esp = "88 MiB"
uki = "40 MiB"
"#;

/// The error's text for `GOOD` with `from` replaced by `to`.
fn failure(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("recipe.toml", GOOD.replace(from, to).as_str()),
        ("go/go.mod", "module m\ngo 1.26.0\ntool example.org/m/cmd/one\n"),
        ("loose/go.mod", "module m\ngo 1.26\ntool example.org/m/cmd/one\n"),
        ("open/go.mod", "module m\ngo 1.26.0\nrequire b v1.0.0\n"),
        ("rust/Cargo.toml", "[workspace]\nmembers = ['*']\n[profile.node]\n"),
        ("rust/Cargo.lock", ""),
        ("rust/two/Cargo.toml", "[package]\nname = 'two'\nedition = '2024'\n"),
        ("rust/two/src/main.rs", ""),
        ("rust/four/Cargo.toml", "[package]\nname = 'four'\n[[bin]]\nname = 'four'\n"),
        ("bare/Cargo.toml", "[package]\nname = 'two'\nedition = '2024'\n"),
        (
            "bare/Cargo.lock",
            "[[package]]\nname = 'a'\nversion = '1.0.0'\nsource = 'git+https://g.example'\n",
        ),
        ("bare/src/main.rs", ""),
        ("overlay/file", ""),
    ] {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let loaded = load(directory.path(), None).unwrap();
    match loaded.check() {
        Ok(()) => String::new(),
        Err(error) => {
            assert_eq!(error.id(), Id::RecipeCheck);
            let real = fs::canonicalize(directory.path()).unwrap();
            let hints: String =
                error.hints().iter().map(|hint| format!("\n  hint: {hint}")).collect();
            let text = format!("{error}{hints}");
            [directory.path(), &real]
                .iter()
                .fold(text, |text, path| text.replace(&format!("{}/", path.display()), ""))
        }
    }
}

#[test]
fn a_good_recipe_passes() {
    assert_eq!(failure("1.0-rc1", "1.0-rc1"), "");
}

#[test]
fn each_mistake_is_found_where_it_was_made() {
    for (from, to, want) in [
        ("1.0-rc1", "1/2", "`1/2` is not a version"),
        ("\"OS\"", "'''O\nS'''", "`os.name` must be one line of text"),
        ("linux-image-cloud-amd64", "Linux", "`Linux` is not a Debian package's name"),
        ("console=ttyS0", "a b", "`a b` must be one parameter without spaces"),
        ("console=ttyS0", "panic=0", "`panic` is given by the builder"),
        ("console=ttyS0", "orlop.roothash=0", "`orlop.roothash` is given by the builder"),
        ("orlop.debug", "orlop.debgu", "`orlop.debgu` is not a parameter that the node knows"),
        ("\"overlay\"]", "\"overlay.ko\"]", "`overlay.ko` is a file: a module is named without"),
        ("\"overlay\"]", "\"fs/overlay\"]", "`fs/overlay` is not a module's name"),
        (
            "[\"dm-verity\"]",
            "[\"dm-verity\", \"dm_verity\"]",
            "`dm_verity` and `dm-verity` are one",
        ),
        ("[\"trixie\"]", "[]", "`debian.suites` must not be empty"),
        ("[\"trixie\"]", "[\"a b\"]", "`a b` cannot stand in `debian.suites`"),
        ("[\"main\"]", "[\"../x\"]", "`../x` cannot stand in `debian.components`"),
        ("41587F7D", "4158 7F7", "not a fingerprint of 40 hexadecimal digits"),
        ("packages = [\"runc\"]", "packages = [\"Runc\"]", "`Runc` is not a Debian package's"),
        (
            "packages = [\"runc\"]",
            "packages = [\"debconf\"]",
            "`debconf` is in `debian.packages` and",
        ),
        ("packages = [\"runc\"]", "keyring = \"k.gpg\"", "`k.gpg` is not there"),
        ("asks questions", " ", "`debconf` is excluded without a reason"),
        ("/usr/share/doc/**", "usr/share", "`usr/share` must begin with `/`"),
        ("/usr/share/doc/**", "/usr/[", "`/usr/[` is not a glob"),
        ("module = \"go\"", "module = \"none\"", "`none/go.mod` cannot be read"),
        ("module = \"go\"", "module = \"loose\"", "`loose/go.mod`: no line pins the toolchain"),
        ("module = \"go\"", "module = \"loose\"", "an exact version into the `go` or the `tool"),
        ("module = \"go\"", "module = \"open\"", "`open/go.sum` is not there"),
        ("cmd/one", "cmd/oen", "did you mean `example.org/m/cmd/one`?"),
        ("cmd/one", "something/else", "run `go get -tool example.org/m/something/else` there"),
        ("\"example.org/m/cmd/one\" =", "#", "`go.one` has no programs"),
        ("workspace = \"rust\"", "workspace = \"go\"", "`go/Cargo.lock` is not there"),
        ("two = ", "# ", "`cargo.two` has no programs"),
        ("two = ", "tow = ", "did you mean `two`?"),
        ("two = ", "other = ", "`other` is not a program of `two`"),
        ("package = \"two\"", "package = \"tow\"", "has no package `tow`"),
        ("package = \"two\"", "package = \"tow\"", "it has `four`, `two`"),
        ("workspace = \"rust\"", "workspace = \"bare\"", "`bare` has no profile `node`"),
        ("workspace = \"rust\"", "workspace = \"bare\"", "`a` comes from a git repository"),
        ("https://mirror.example", "ftp://mirror.example", "must begin with `https://`"),
        ("\"bin/three\" =", "\"bin/four\" = \"/usr/bin/three\"\n\"bin/three\" =", "given twice"),
        ("\"bin/three\" =", "#", "`url.three` puts nothing into the image"),
        ("\"bin/three\"", "\"\"", "`url.three` takes what has no name"),
        ("\"bin/three\"", "\".\" = \"/a\"\nb", "`url.three` takes the file and members of it"),
        ("path = \"overlay\"", "path = \"none\"", "`none` does not exist"),
        ("id = 1000", "id = 0", "`root` and `node` have one id, 0"),
        ("id = 1000", "id = 4294967295", "4294967295 is not an id that a user can have"),
        ("[users.root]", "[users.toor]", "id 0 is the user `root`"),
        ("\"/usr/sbin/runc\"", "\"usr/sbin/runc\"", "`usr/sbin/runc` must begin with `/`"),
        ("\"/usr/sbin/runc\" = \"runc\"", "\"/a\" = ''", "`/a` must name the component"),
        ("= \"usr/bin\"", "= ''", "`/bin` must have a target"),
        ("\"88 MiB\"", "\"87 MiB\"", "cannot hold two UKIs of 40 MiB and the boot loader"),
        ("\"88 MiB\"", "\"200 GiB\"", "the ESP of 204800 MiB is too large for FAT32"),
        ("\"40 MiB\"", "\"100 GiB\"", "no ESP can hold two UKIs of 102400 MiB"),
        ("uki = ", "state = \"15 MiB\"\nuki = ", "the `STATE` of 15 MiB is too small"),
        ("uki = ", "state = \"17000 GiB\"\nuki = ", "is too large for its file system"),
        ("uki = ", "root = \"17000 GiB\"\nuki = ", "`disk.root` of 17408000 MiB is too large"),
        ("\"/usr/bin/two\"", "\"/\"", "`/` is a directory, and always there"),
        ("at = \"/etc/file\"", "at = \"/\"", "`/` is a directory, and always there"),
        ("at = \"/etc/file\"", "at = \"/etc/passwd\"", "`/etc/passwd` is given twice, by `users`"),
        (
            "at = \"/\"\n[local.file]",
            "at = \"/bin\"\n[local.file]",
            "`/bin/file` lies behind the link",
        ),
        (
            "at = \"/etc/file\"",
            "at = \"/file/x\"",
            "`/file/x` cannot be: `local.overlay.path` puts a",
        ),
        ("at = \"/etc/file\"", "at = \"/e\"\nmodes = { x = \"0600\" }", "`x` fits nothing in"),
        (
            "at = \"/etc/file\"",
            "at = \"/file\"\nmodes = { '.' = \"0600\" }",
            "`/file` is given twice, by",
        ),
        (
            "[tree.symlinks]",
            "[tree.ca-bundle]\nfrom = \"/\"\nat = \"/file\"\n[tree.symlinks]",
            "`tree.ca-bundle.from` goes",
        ),
        (
            "[tree.symlinks]",
            "[tree.ca-bundle]\nfrom = \"/c\"\nat = \"/file\"\n[tree.symlinks]",
            "`/file` is given twice, by `local.overlay.path` too",
        ),
        ("\"88 MiB\"\nuki = \"40 MiB\"", "\"32 MiB\"\nuki = \"1 MiB\"", "too small for FAT32"),
        ("/usr/bin/two", "/usr/bin/one", "`/usr/bin/one` is given twice, by `go.one.programs."),
        ("/usr/bin/two", "/bin/two", "`/bin/two` lies behind the link `/bin` to `usr/bin`"),
        ("/usr/bin/two", "/usr/bin", "`/usr/bin` is given twice, by `tree.directories` too"),
        ("/usr/bin/two", "/usr/bin/one/two", "`/usr/bin/one/two` cannot be: `go.one.programs."),
        ("\"/etc/file\"", "\"/usr/bin/one\"", "`/usr/bin/one` is given twice"),
        ("\"apparmor\", ", "", "hint: add `apparmor` to `debian.tools`"),
        ("profile = \"overlay/file\"", "profile = \"none\"", "`none` is not there"),
        ("/usr/lib/five", "/usr/bin/one", "`/usr/bin/one` is given twice, by `go.one.programs"),
        ("programs = { four = \"/usr/bin/two\" }", "programs = {}", "`oci.four.cargo.four` has no"),
        (
            "path = \"overlay\"\nat = \"/\"\n[users",
            "path = \"x\"\nat = \"/\"\n[users",
            "`x` does not",
        ),
        ("FOUR =", "'F=' =", "`F=` is not a variable's name"),
        (
            "/usr/lib/four.tar",
            "/usr/bin/one",
            "`/usr/bin/one` is given twice, by `go.one.programs.",
        ),
        (
            "{ four = \"/usr/bin/two\" }",
            "{ four = \"/a\", five = \"/a\" }",
            "`/a` is given twice, by `oci.four.cargo.four.programs.five` too",
        ),
        (
            "[users.root]",
            "[oci.five]\nreference = \"mirror.example/four:1\"\nat = \"/five.tar\"\n[users.root]",
            "`four` and `five` are one image, `mirror.example/four:1`",
        ),
        (
            "[users.root]",
            "[oci.five]\nreference = \"mirror.example/five:1\"\nat = \"/five.tar\"\n[users.root]",
            "`oci.five` has no files",
        ),
    ] {
        let text = failure(from, to);
        assert!(text.contains(want), "{to}: {text}");
        assert!(text.contains("recipe.toml:"), "{to}: {text}");
    }
}

#[test]
fn a_path_listed_in_replace_may_be_given_twice() {
    let to = "directories = [\"/usr/bin/one\"]\nreplace = [\"/usr/bin/one\"]";
    assert_eq!(failure("directories = [\"/proc\", \"/usr/bin\"]", to), "");
}

#[test]
fn what_two_lines_give_alike_is_given_once() {
    // The file itself, and the link of an overlay beside that of the tree.
    assert_eq!(failure("at = \"/etc/file\"", "at = \"/file\""), "");
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("usr/bin", directory.path().join("bin")).unwrap();
    let overlay = |target: &str| {
        let path = directory.path().display();
        let to = format!(
            "[local.link]\npath = \"{path}\"\nat = \"/\"\n[tree.symlinks]\n\"/bin\" = \"{target}\""
        );
        failure("[tree.symlinks]\n\"/bin\" = \"usr/bin\"", &to)
    };
    assert_eq!(overlay("usr/bin"), "");
    assert!(overlay("/usr/bin").contains("`/bin` is given twice, by `tree.symlinks./bin` too"));
}

#[test]
fn an_overlay_of_many_files_behind_a_link_is_one_problem() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("bin/below")).unwrap();
    for name in ["bin/a", "bin/b", "bin/below/c"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let path = directory.path().display();
    let to = format!("[local.many]\npath = \"{path}\"\nat = \"/\"\n[users.root]");
    let text = failure("[users.root]", &to);
    assert!(text.starts_with("`/bin/a` (and 2 more) lies behind the link `/bin`"), "{text}");
    assert!(text.ends_with("hint: name the path without the link"), "{text}");
}

#[test]
fn an_overlay_that_no_slot_can_hold_is_told_before_anything_is_unpacked() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("large")).unwrap();
    file.set_len(769 << 20).unwrap();
    let path = directory.path().display();
    let to = format!("[local.large]\npath = \"{path}\"\nat = \"/\"\n[users.root]");
    let text = failure("[users.root]", &to);
    assert!(text.contains("` has 769 MiB of files, and a slot has 768 MiB"), "{text}");
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let text = failure("[disk]\nesp = \"88 MiB\"", "[users.a]\nid = 1000\n[disk]\nesp = \"9 MiB\"");
    expect_test::expect![[r#"
        3 problems in the recipe

          `node` and `a` have one id, 1000
            recipe.toml:58:6
             58 | id = 1000
                |      ^^^^

          the ESP of 9 MiB cannot hold two UKIs of 40 MiB and the boot loader
            recipe.toml:68:7
             68 | esp = "9 MiB"
                |       ^^^^^^^
            hint: it takes at least 88 MiB

          the ESP of 9 MiB is too small for FAT32
            recipe.toml:68:7
             68 | esp = "9 MiB"
                |       ^^^^^^^
            hint: it takes at least 34 MiB"#]]
    .assert_eq(&text);
}
