//! What a build says of itself: contents, SBOMs, provenance. Outside readers judge the forms with
//! whole images (`qemu-tests`); here is what is in them.

use std::fs;

use expect_test::expect;
use formats::digest::Sha256;
use serde_json::Value;

use crate::archive::Package;
use crate::project::Project;

const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
    Files: *\nCopyright: somebody\nLicense: GPL-2+ or odd\n\nLicense: odd\n Do as you like.\n";

/// A project whose package `tiny-licence` is built from `licences 1.0`, and says under what it is.
fn project() -> Project {
    let mut project = Project::new();
    let package = Package::new("tiny-licence", "1:1.0+b1")
        .field("Source", "licences (1:1.0)")
        .field("Built-Using", "golang-1.24 (= 1.24.4-1)")
        .file("usr/share/doc/tiny-licence/copyright", COPYRIGHT)
        .file("usr/share/licence/data", "data");
    project.archive.packages.push(package);
    project.server.serve(project.archive.publish());
    project.ask_for("tiny-licence");
    project.good(&["lock"]);
    project
}

fn json(project: &Project, words: &[&str]) -> Value {
    serde_json::from_str(&project.good(words).stdout).unwrap()
}

fn named<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let mut found = list.as_array().unwrap().iter().filter(|value| value[key] == name);
    let one = found.next().unwrap_or_else(|| panic!("{name} is not in {list}"));
    assert!(found.next().is_none(), "{name} stands twice");
    one
}

#[test]
fn a_package_is_told_with_its_source_its_licence_and_its_files() {
    let project = project();
    project.good(&["build"]);
    let contents: Value =
        serde_json::from_slice(&project.read("orlop-out/tiny/contents.json")).unwrap();
    let package = &contents["components"]["deb/tiny-licence"];
    assert_eq!(package["source"], "licences");
    assert_eq!(package["source-version"], "1:1.0");
    assert_eq!(package["built-using"][0]["name"], "golang-1.24");
    let licence = package["licence"].as_str().unwrap();
    let odd = licence.strip_prefix("GPL-2.0-or-later OR ").unwrap();
    assert!(odd.starts_with("LicenseRef-Debian-odd-"), "{licence}");
    assert_eq!(contents["licences"][odd], "Do as you like.");
    let file = named(&contents["files"], "path", "/usr/share/licence/data");
    assert_eq!((&file["component"], &file["mode"]), (&"deb/tiny-licence".into(), &"0644".into()));
    assert_eq!(file["sha1"], "a17c9aaa61e80a1bf71d0d850af4e5baa9800bbd");
    // Documentation is left out of the root, and the licence is known all the same.
    let paths = contents["files"].as_array().unwrap().iter();
    assert!(
        !paths.map(|file| &file["path"]).any(|path| path.as_str().unwrap().contains("copyright"))
    );

    let purl = "pkg:deb/debian/tiny-licence@1:1.0%2Bb1?arch=amd64&distro=debian-13\
                &upstream=licences%401:1.0";
    let spdx = json(&project, &["sbom", "orlop-out/tiny"]);
    let package = named(&spdx["packages"], "name", "tiny-licence");
    assert_eq!(package["externalRefs"][0]["referenceLocator"], purl);
    assert_eq!(package["licenseDeclared"], licence);
    let extracted = &spdx["hasExtractedLicensingInfos"][0];
    assert_eq!(
        (&extracted["licenseId"], &extracted["extractedText"]),
        (&odd.into(), &"Do as you like.".into())
    );
    let source = named(&spdx["packages"], "name", "licences");
    let reference = &source["externalRefs"][0]["referenceLocator"];
    assert_eq!(*reference, "pkg:deb/debian/licences@1:1.0?arch=source&distro=debian-13");
    assert_eq!(named(&spdx["packages"], "name", "debian")["versionInfo"], "13");
    let cyclonedx = json(&project, &["sbom", "orlop-out/tiny", "--format", "cyclonedx"]);
    let package = named(&cyclonedx["components"], "name", "tiny-licence");
    assert_eq!(package["purl"], purl);
    assert_eq!(package["components"][0]["name"], "/usr/share/licence/data");
    let distribution = named(&cyclonedx["components"], "type", "operating-system");
    assert_eq!((&distribution["name"], &distribution["version"]), (&"debian".into(), &"13".into()));
    // The kernel's package is a list of signatures, as in Debian, and advisories are of what they are
    // of.
    let kernel = named(&cyclonedx["components"], "name", "linux-image-6.0-cloud-amd64");
    let purl = kernel["purl"].as_str().unwrap();
    assert!(purl.ends_with("&upstream=linux"), "{purl}");
    assert_eq!(kernel["cpe"], "cpe:2.3:o:linux:linux_kernel:6.0:*:*:*:*:*:*:*");
}

#[test]
fn every_file_of_root_initrd_and_boot_has_somebody_who_answers_for_it() {
    let project = project();
    project.good(&["build"]);
    let contents: Value =
        serde_json::from_slice(&project.read("orlop-out/tiny/contents.json")).unwrap();
    let files = contents["files"].as_array().unwrap();
    for file in files.iter().filter(|file| file["type"] != "directory") {
        let component = file["component"].as_str().unwrap_or_else(|| panic!("{file}"));
        assert!(contents["components"][component].is_object(), "{file}");
    }
    let owners: Vec<_> = ["/init", "/vmlinuz", "/systemd-bootx64.efi", "/etc/os-release", "/bin"]
        .map(|path| named(&contents["files"], "path", path)["component"].as_str().unwrap())
        .into();
    let kernel = owners[1];
    assert!(kernel.starts_with("deb/linux-image-"), "{kernel}");
    assert_eq!(
        owners,
        ["local/init", kernel, "deb/systemd-boot-efi", "made/system", "made/recipe"]
    );
    let root = files.iter().filter(|file| file["place"] == "root").count();
    let manifest = String::from_utf8(project.read("orlop-out/tiny/manifest.txt")).unwrap();
    assert_eq!(root, manifest.lines().count());
}

#[test]
fn the_provenance_names_what_was_made_and_all_that_it_was_made_of() {
    let project = project();
    project.good(&["build"]);
    let shown = json(&project, &["provenance", "orlop-out/tiny"]);
    assert_eq!(shown["_type"], "https://in-toto.io/Statement/v1");
    let written = project.read("orlop-out/tiny/provenance.json");
    let statement: Value = serde_json::from_slice(&written).unwrap();
    let report: Value = serde_json::from_slice(&project.read("orlop-out/tiny/build.json")).unwrap();
    for subject in statement["subject"].as_array().unwrap() {
        let file = named(&report["artifacts"], "name", subject["name"].as_str().unwrap());
        assert_eq!(file["sha256"], subject["digest"]["sha256"]);
    }
    named(&statement["subject"], "name", "root.img");
    named(&statement["subject"], "name", "sbom.spdx.json");
    let definition = &statement["predicate"]["buildDefinition"];
    let materials = &definition["resolvedDependencies"];
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    for name in ["deb/tiny-licence", "deb/systemd-boot-efi", "suite/trixie"] {
        let digest = named(materials, "name", name)["digest"]["sha256"].as_str().unwrap();
        assert!(lock.contains(digest), "{name}");
    }
    named(materials, "name", "local/overlay");
    let digest = &named(materials, "name", "lock")["digest"]["sha256"];
    assert_eq!((digest, digest), (&report["lock"], &Sha256::of(&lock).to_string().into()));
    assert!(definition["externalParameters"]["profile"].is_null());
    let recipe = &definition["externalParameters"]["recipe"];
    assert_eq!((&recipe["name"], &recipe["os"]["version"]), (&"tiny".into(), &"1.0".into()));
    // Nothing of this host.
    let text = statement.to_string();
    let home = fs::canonicalize(project.home()).unwrap();
    assert!(!text.contains(home.to_str().unwrap()), "{text}");
}

#[test]
fn the_same_build_says_the_same_of_itself_wherever_it_is_made() {
    let (one, other) = (project(), project());
    one.good(&["build", "-o", "a", "--jobs", "1"]);
    other.good(&["build", "-o", "a different/place"]);
    for name in ["contents.json", "sbom.spdx.json", "sbom.cdx.json", "provenance.json"] {
        let files =
            [one.read(&format!("a/{name}")), other.read(&format!("a different/place/{name}"))];
        assert!(files[0] == files[1], "{name} differs");
    }
}

#[test]
fn what_is_no_build_or_not_as_it_was_written_is_refused() {
    let project = project();
    project.good(&["build"]);
    project.refused(&["sbom", "overlay"], expect![[r#"
        exit 8
        error[E0810]: `overlay` is not an image that orlop made: it is a directory without `build.json`
          hint: `orlop build` prints the directory of the image as the last line of its output
    "#]]);
    project.refused(&["provenance", "orlop-out/tiny/disk.raw"], expect![[r#"
        exit 8
        error[E0810]: `orlop-out/tiny/disk.raw` is not an image that orlop made: it is a file, and the directory of a build is wanted
          hint: `orlop build` prints the directory of the image as the last line of its output
    "#]]);
    project.refused(
        &["sbom", "none"],
        expect![[r#"
        exit 7
        error[E0701]: cannot read `none`: No such file or directory (os error 2)
          hint: `orlop explain E0701` says more
    "#]],
    );
    project.write("orlop-out/tiny/sbom.spdx.json", "{}");
    project.refused(
        &["sbom", "orlop-out/tiny"],
        expect![[r#"
        exit 8
        error[E0811]: `orlop-out/tiny/sbom.spdx.json` is not what `build.json` says of it
          hint: `orlop explain E0811` says more
    "#]],
    );
    let report = String::from_utf8(project.read("orlop-out/tiny/build.json")).unwrap();
    project.write("orlop-out/tiny/build.json", report.replace("\"provenance\"", "\"else\""));
    project.refused(&["provenance", "orlop-out/tiny"], expect![[r#"
        exit 8
        error[E0810]: the build in `orlop-out/tiny` is of an older `orlop`: it has no `provenance.json`
          hint: build it again
    "#]]);
    project.refused(&["sbom", "orlop-out/tiny", "--json"], expect![[r#"
        exit 2
        {"schema":1,"event":"error","id":"E0216","class":"usage","status":2,"message":"an SBOM is JSON of a form that others have laid down","hints":["leave out `--json`"]}
    "#]]);
}
