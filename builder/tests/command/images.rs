//! Container images of others: from a directory beside the recipe and from a registry, into the root.

use std::collections::BTreeSet;
use std::fs;

use expect_test::expect;
use formats::architecture::Architecture;
use formats::oci::{Files, Image, Packed, Reference, pack};
use serde_json::Value;

use crate::mock_registry::{MockRegistry, Reply};
use crate::project::Project;

/// An image with one file.
fn packed(architecture: Architecture, content: &str) -> Packed {
    let image = Image::new(Reference::new("a.example/web:1").unwrap(), architecture, ["/web"]);
    let mut files = Files::new();
    files.file("/web", 0o755, content.into()).unwrap();
    pack(&image, &files).unwrap()
}

fn serve(packed: &Packed) -> MockRegistry {
    let mock = MockRegistry::start();
    for (digest, _, bytes) in packed.blobs() {
        mock.put_blob(bytes);
        mock.put_manifest(&format!("sha256:{digest}"), bytes);
    }
    mock.put_manifest("1", &packed.archive.manifest().bytes);
    mock
}

/// A project whose recipe has the image, with these lines about where it is.
fn project(lines: &str) -> Project {
    let project = Project::new();
    let table = format!(
        "[oci.web]\nreference = \"a.example/web:1\"\nat = \"/usr/lib/orlop/images/web.json\"\n\
         {lines}\n\n[local.init]"
    );
    project.change("[local.init]", &table);
    project
}

/// The paths of the root with what each is.
fn manifest_of(project: &Project) -> String {
    String::from_utf8(project.read("out/manifest.txt")).unwrap()
}

fn stored(project: &Project) -> BTreeSet<String> {
    let directories = fs::read_dir(project.store().join("blobs")).unwrap();
    let files = directories.flat_map(|it| fs::read_dir(it.unwrap().path()).unwrap());
    files.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn an_archive_beside_the_recipe_is_in_the_root_with_an_index_of_its_names() {
    let project = project("archive = \"web.tar\"");
    let packed = packed(Architecture::Amd64, "web");
    let mut archive = Vec::new();
    packed.write_to(&mut archive).unwrap();
    project.write("web.tar", archive);
    project.good(&["lock"]);
    project.good(&["build", "-o", "out"]);
    let paths = manifest_of(&project);
    for (digest, _, _) in packed.blobs() {
        let path = format!("/usr/lib/orlop/images/blobs/sha256/{digest}");
        assert!(paths.contains(&path), "{path}\n{paths}");
    }
    assert!(paths.contains("/usr/lib/orlop/images/web.json"), "{paths}");
    // A second build gives the same, and finds what it needs of the image in the store.
    let before = project.read("out/root.img");
    project.good(&["build", "-o", "out"]);
    assert!(project.read("out/root.img") == before);
    let contents = String::from_utf8(project.read("out/contents.json")).unwrap();
    assert!(contents.contains("oci/web") && contents.contains("a.example/web:1"), "{contents}");
    assert!(!String::from_utf8(project.read("out/build.json")).unwrap().contains("web.tar"));
}

#[test]
fn layers_that_shall_be_plain_are_unpacked_once_and_the_image_has_another_digest() {
    let project = project("archive = \"web\"\nlayers = \"plain\"");
    let packed = packed(Architecture::Amd64, "web");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &packed.layer).unwrap();
    let gzip = gzip.finish().unwrap();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = formats::digest::Sha256::of(bytes);
        project.write(&format!("web/blobs/sha256/{digest}"), bytes);
        serde_json::json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    };
    let config = put("application/vnd.oci.image.config.v1+json", &packed.archive.config().bytes);
    let layer = put("application/vnd.oci.image.layer.v1.tar+gzip", &gzip);
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let manifest =
        put("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    project.write("web/index.json", index.to_string());
    project.good(&["lock"]);
    let ended = project.good(&["build", "-o", "out", "--explain"]);
    let line = "oci web layer            done, for the first time\n";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
    let paths = manifest_of(&project);
    let blob = |digest: &dyn std::fmt::Display| format!("images/blobs/sha256/{digest}");
    assert!(paths.contains(&blob(&packed.archive.layer().sha256)), "{paths}");
    assert!(paths.contains(&blob(&packed.archive.config().blob.sha256)), "{paths}");
    for gone in [&layer, &manifest] {
        let digest = gone["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        assert!(!paths.contains(&digest), "{paths}");
    }
}

#[test]
fn a_registry_is_asked_by_lock_and_fetch_and_not_by_build() {
    let packed = packed(Architecture::Amd64, "web");
    let mock = serve(&packed);
    let project = project(&format!("registry = \"{}/team/web:1\"", mock.host()));
    project.good(&["lock"]);
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    let manifest_digest = packed.archive.manifest().blob.sha256;
    for part in [
        format!("image web {}/team/web:1", mock.host()),
        format!(
            "[[image.part]]\nrole = \"manifest\"\nmedia-type = \"application/vnd.oci.image.manifest.v1+json\"\nsha256 = \"{manifest_digest}\"\n"
        ),
    ] {
        assert!(lock.contains(&part), "{lock}");
    }
    let asked = mock.take_asked();
    assert!(asked.iter().all(|line| !line.contains(&packed.archive.layer().sha256.to_string())));
    project.good(&["fetch"]);
    assert_eq!(mock.take_asked().len(), 1, "the layer");
    // The tag moves: nothing changes before the next lock, which says so.
    let other = crate::images::packed(Architecture::Amd64, "newer");
    for (digest, _, bytes) in other.blobs() {
        mock.put_blob(bytes);
        mock.put_manifest(&format!("sha256:{digest}"), bytes);
    }
    mock.put_manifest("1", &other.archive.manifest().bytes);
    project.good(&["build", "-o", "out"]);
    assert_eq!(mock.take_asked(), [""; 0]);
    assert!(manifest_of(&project).contains(&manifest_digest.to_string()));
    let ended = project.good(&["lock"]);
    assert!(ended.stderr.contains("oci.web: sha256:SHA256 -> sha256:SHA256"), "{}", ended.stderr);
    assert!(mock.take_asked().len() >= 2);
    // What the lock names and nobody has fetched is missed before anything is built.
    let ended = project.run(&["build", "--offline", "-o", "out2"]);
    assert_eq!(ended.status, Some(7), "{}", ended.stderr);
    assert!(ended.stderr.contains("oci.web layer"), "{}", ended.stderr);
}

#[test]
fn a_password_is_taken_from_config_json_and_its_lack_is_told_with_the_cure() {
    let packed = packed(Architecture::Amd64, "web");
    let mock = serve(&packed);
    // `bob`, `s3cret`.
    mock.odd(|asked| {
        let known = asked.header("authorization") == Some("Basic Ym9iOnMzY3JldA==");
        let refusal = || {
            Reply::new(401, crate::mock_registry::errors("UNAUTHORIZED", "who are you"))
                .with("WWW-Authenticate", "Basic realm=\"team\"")
        };
        (!known).then(refusal)
    });
    let project = project(&format!("registry = \"{}/team/web:1\"", mock.host()));
    let ended = project.run(&["lock", "--progress", "none"]);
    assert_eq!(ended.status, Some(5));
    let said = ended.stderr.replace(&mock.host(), "REGISTRY");
    expect![[r#"
        error[E0514]: the registry of `REGISTRY/team/web:1` wants a name and a password
          hint: `oras login REGISTRY` or `docker login REGISTRY` writes a name and a password into `DIR/.docker/config.json`
    "#]]
    .assert_eq(&said);
    assert!(!project.path("orlop.lock").exists());
    let config = project.home().join(".docker/config.json");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let logins = format!(r#"{{"auths":{{"{}":{{"auth":"Ym9iOnMzY3JldA=="}}}}}}"#, mock.host());
    fs::write(config, logins).unwrap();
    project.good(&["lock"]);
    project.good(&["build", "-o", "out"]);
    assert!(!stored(&project).is_empty());
}

#[test]
fn an_image_for_another_platform_and_a_layer_that_lies_are_refused_and_not_stored() {
    let arm = packed(Architecture::Arm64, "web");
    let mock = serve(&arm);
    let project = project(&format!("registry = \"{}/team/web:1\"", mock.host()));
    let ended = project.run(&["lock", "--progress", "none"]);
    assert_eq!(ended.status, Some(5));
    let said = ended.stderr.replace(&mock.host(), "REGISTRY");
    expect![[r#"
        error[E0531]: `oci.web` at `REGISTRY/team/web:1` is not for linux/amd64, as the recipe is
          hint: it is for linux/arm64
    "#]]
    .assert_eq(&said);

    let packed = packed(Architecture::Amd64, "web");
    for (digest, _, bytes) in packed.blobs() {
        mock.put_blob(bytes);
        mock.put_manifest(&format!("sha256:{digest}"), bytes);
    }
    mock.put_manifest("1", &packed.archive.manifest().bytes);
    project.good(&["lock"]);
    let layer = packed.archive.layer().sha256.to_string();
    let mut bytes = packed.layer.clone();
    bytes[0] ^= 1;
    let target = layer.clone();
    mock.odd(move |asked| asked.target.ends_with(&target).then(|| Reply::new(200, &bytes)));
    let before = stored(&project);
    let ended = project.run(&["fetch", "--progress", "none"]);
    assert_eq!(ended.status, Some(8));
    let said = ended.stderr.replace(&mock.host(), "REGISTRY");
    expect![[r#"
        error[E0801]: the registry of `REGISTRY/team/web:1` gives `SHA256` for the part `SHA256` of the image
          hint: try again; if it happens again, something on the way or in the registry is damaged
    "#]]
    .assert_eq(&said);
    let after = stored(&project);
    assert!(!after.contains(&layer), "{:?}", after.difference(&before).collect::<Vec<_>>());
    let partial = fs::read_dir(project.store().join("partial")).unwrap();
    assert!(partial.map(|it| it.unwrap()).all(|it| it.metadata().unwrap().len() == 0));
}

#[test]
fn what_would_make_another_image_of_it_is_refused_by_check() {
    let project =
        project("archive = \"web.tar\"\nregistry = \"r.example/web:1\"\nentrypoint = [\"/x\"]");
    project.change("images/web.json", "images/web.tar");
    let ended = project.run(&["check", "--json"]);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status, Some(3), "{said}");
    for want in [
        "`oci.web` is of an archive and of a registry",
        "`oci.web` is somebody else's image, and has a `entrypoint`",
        "web.tar` does not exist",
        "`/usr/lib/orlop/images/web.tar` is not the place of an index",
    ] {
        assert!(said.contains(want), "{want}\n{said}");
    }
    assert!(serde_json::from_str::<Value>(&ended.stdout).is_ok() || ended.stdout.is_empty());
}
