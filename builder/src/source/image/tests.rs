//! Images in directories, archives and registries: what is taken, and what is refused with nothing left in
//! the store.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use formats::architecture::Architecture;
use formats::oci::{CONFIG_TYPE, INDEX_TYPE, Location, MANIFEST_TYPE};
use serde_json::{Value, json};

use super::*;
use crate::environment::Environment;
use crate::mock_registry::{MockRegistry, Reply, errors};
use crate::progress::{Mode, Progress};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn entry(kind: &str, bytes: &[u8]) -> Value {
    let digest = format!("sha256:{}", Sha256::of(bytes));
    json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
}

fn digest(value: &Value) -> String {
    value["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned()
}

/// The files of a layout, by path.
type Files = BTreeMap<String, Vec<u8>>;

/// An image: its blobs by digest, and what is said of its manifest or index.
#[derive(Clone)]
struct Sample {
    blobs: BTreeMap<String, Vec<u8>>,
    top: Value,
}

impl Sample {
    fn new(architecture: &str, layers: &[&[u8]]) -> Self {
        let diff_ids: Vec<_> =
            layers.iter().map(|layer| format!("sha256:{}", Sha256::of(layer))).collect();
        Self::with(architecture, &json!(diff_ids), layers, GZIP)
    }

    fn with(architecture: &str, diff_ids: &Value, layers: &[&[u8]], kind: &str) -> Self {
        let mut sample = Self { blobs: BTreeMap::new(), top: Value::Null };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = sample.put(CONFIG_TYPE, config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| sample.put(kind, &gzip(layer))).collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        sample.top = sample.put(MANIFEST_TYPE, manifest.to_string().as_bytes());
        sample
    }

    /// For several platforms.
    fn index(images: &[(&str, Self)]) -> Self {
        let mut sample = Self { blobs: BTreeMap::new(), top: Value::Null };
        let mut entries = Vec::new();
        for (architecture, image) in images {
            sample.blobs.extend(image.blobs.clone());
            let mut entry = image.top.clone();
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entries.push(entry);
        }
        let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
        sample.top = sample.put(INDEX_TYPE, index.as_bytes());
        sample
    }

    fn put(&mut self, kind: &str, bytes: &[u8]) -> Value {
        let entry = entry(kind, bytes);
        self.blobs.insert(digest(&entry), bytes.to_vec());
        entry
    }

    fn layer(&self) -> String {
        let gzip = self.blobs.iter().filter(|(_, bytes)| bytes.starts_with(b"\x1f\x8b"));
        gzip.map(|(digest, _)| digest.clone()).next_back().unwrap()
    }

    fn named(&self, name: &str) -> Value {
        let mut top = self.top.clone();
        top["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        top
    }

    /// The files of a layout in which the image is called `name`.
    fn files(&self, entries: &[Value]) -> Files {
        let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
        let mut files: BTreeMap<_, _> = self
            .blobs
            .iter()
            .map(|(digest, bytes)| (format!("blobs/sha256/{digest}"), bytes.clone()))
            .collect();
        files.insert("index.json".to_owned(), index.into_bytes());
        files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        files
    }
}

struct World {
    directory: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        Self { directory, store }
    }

    fn write(&self, files: &Files) -> std::path::PathBuf {
        let place = self.directory.path().join("layout");
        drop(fs::remove_dir_all(&place));
        for (path, bytes) in files {
            let path = place.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        place
    }

    fn archive(&self, files: &Files, pack: fn(&[u8]) -> Vec<u8>) -> std::path::PathBuf {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
        }
        let place = self.directory.path().join("image.tar");
        fs::write(&place, pack(&builder.into_inner().unwrap())).unwrap();
        place
    }

    fn take(&self, place: &Path) -> Result<Vec<Part>> {
        let reference = Reference::new("a.example/web:1").unwrap();
        of_archive(&self.store, "web", place, &reference, Architecture::Amd64)
    }

    fn blobs(&self) -> usize {
        self.store.blobs().unwrap().len()
    }
}

fn roles(parts: &[Part]) -> Vec<&str> {
    parts.iter().map(|part| part.role.name()).collect()
}

fn both() -> Sample {
    let (amd64, arm64) = (Sample::new("amd64", &[b"a", b"b"]), Sample::new("arm64", &[b"c"]));
    Sample::index(&[("arm64", arm64), ("amd64", amd64)])
}

#[test]
fn of_a_layout_the_parts_for_the_architecture_are_taken_with_the_index() {
    let sample = both();
    let files = sample.files(&[sample.named("1")]);
    type Pack = fn(&[u8]) -> Vec<u8>;
    let packs: [Option<Pack>; 3] = [None, Some(<[u8]>::to_vec), Some(gzip)];
    for pack in packs {
        let world = World::new();
        let place = match pack {
            None => world.write(&files),
            Some(pack) => world.archive(&files, pack),
        };
        let parts = world.take(&place).unwrap();
        assert_eq!(roles(&parts), ["index", "manifest", "config", "layer", "layer"]);
        assert_eq!(parts[0].blob.sha256.to_string(), digest(&sample.top));
        assert!(parts.iter().all(|part| world.store.has(&part.blob)));
        assert_eq!(world.blobs(), 5, "nothing that is for other machines");
        check_layers(&world.store, "web", &parts, 2).unwrap();
        // A second time nothing of it is read but what names it.
        let layer = world.directory.path().join("layout/blobs/sha256").join(sample.layer());
        drop(fs::remove_file(layer));
        assert_eq!(world.take(&place).unwrap(), parts);
    }
}

#[test]
fn an_image_without_an_index_says_in_its_configuration_what_it_is_for() {
    let world = World::new();
    let sample = Sample::new("amd64", &[b"a"]);
    let place = world.write(&sample.files(std::slice::from_ref(&sample.top)));
    assert_eq!(roles(&world.take(&place).unwrap()), ["manifest", "config", "layer"]);
}

#[test]
fn an_index_names_an_image_by_its_name_and_by_its_digest() {
    let world = World::new();
    let sample = Sample::new("amd64", &[b"a"]);
    let parts = world.take(&world.write(&sample.files(&[sample.named("x")]))).unwrap();
    let oci: Oci = toml::from_str(
        "reference = 'a.example/web:1'\nat = '/usr/lib/orlop/images/web.json'\n\
         registry = 'b.example/web:2'\n",
    )
    .unwrap();
    let nodes = nodes(&world.store, &oci, &parts).unwrap();
    let paths: Vec<_> = nodes.iter().map(|(path, _)| path.as_str()).collect();
    let blob = |part: &Part| format!("usr/lib/orlop/images/blobs/sha256/{}", part.blob.sha256);
    assert_eq!(paths[0], "usr/lib/orlop/images/web.json");
    assert_eq!(paths[1..], parts.iter().map(blob).collect::<Vec<_>>());
    let formats::tree::Kind::File(index) = nodes[0].1.kind else { panic!("a file") };
    let index: Value = serde_json::from_slice(&world.store.read_blob(&index).unwrap()).unwrap();
    let names = index["manifests"].as_array().unwrap().iter().map(|it| &it["annotations"][NAME]);
    let by_digest = format!("a.example/web@sha256:{}", digest(&sample.top));
    assert_eq!(names.collect::<Vec<_>>(), ["a.example/web:1", by_digest.as_str()]);
    assert_eq!(index["manifests"][1]["digest"], sample.top["digest"]);
    assert_eq!(index["manifests"][0]["mediaType"], MANIFEST_TYPE);
}

/// What a layout is refused for, and a beginning of the message and of the hint.
#[test]
fn what_is_wrong_with_a_layout_is_told_and_nothing_of_it_is_in_the_store() {
    let good = both();
    let entries = [good.named("1")];
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = good.files(&entries);
        change(&mut files);
        files
    };
    let blob = |digest: &str| format!("blobs/sha256/{digest}");
    let damaged = with(&|files| files.get_mut(&blob(&good.layer())).unwrap()[20] ^= 1);
    let cut = with(&|files| {
        files.get_mut(&blob(&good.layer())).unwrap().pop().unwrap();
    });
    let lacking = with(&|files| drop(files.remove(&blob(&good.layer()))));
    let other_top = with(&|files| files.get_mut(&blob(&digest(&good.top))).unwrap().push(b' '));
    let none = with(&|files| drop(files.remove("index.json")));
    let empty = with(&|files| {
        files.insert("index.json".to_owned(), b"{\"manifests\":[]}".to_vec());
    });
    let arm = Sample::new("arm64", &[b"a"]);
    let arm_index = Sample::index(&[("arm64", arm.clone()), ("s390x", arm.clone())]);
    let named = [good.named("x"), good.named("y")];
    let chart = {
        let mut sample = Sample { blobs: BTreeMap::new(), top: Value::Null };
        let config = sample.put("application/vnd.cncf.helm.config.v1+json", b"{\"name\":\"a\"}");
        let layer = sample.put("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"x");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        sample.top = sample.put(MANIFEST_TYPE, manifest.to_string().as_bytes());
        sample
    };
    let short = Sample::with("amd64", &json!([]), &[b"a"], GZIP);
    for (files, id, message, hint) in [
        (damaged, Id::WrongDigest, "a part of `oci.web` in `PLACE` is damaged: sha256:", "get the"),
        (cut, Id::WrongDigest, "a part of `oci.web` in `PLACE` is damaged: sha256:", "get the"),
        (lacking, Id::ImageSource, "it lacks a part of it, sha256:", "is it for another"),
        (other_top, Id::WrongDigest, "a part of `oci.web` in `PLACE` is damaged", "get the"),
        (none, Id::ImageSource, "it has no `index.json`, so it is no OCI image", "`skopeo copy"),
        (empty, Id::ImageSource, "its `index.json` names no image", ""),
        (
            arm.files(&[arm.named("1")]),
            Id::ImagePlatform,
            "`oci.web` in `PLACE` is not for linux/amd64, as the recipe is",
            "it is for linux/arm64",
        ),
        (
            arm_index.files(&[arm_index.named("1")]),
            Id::ImagePlatform,
            "`oci.web` in `PLACE` is not for linux/amd64",
            "it is for linux/arm64, linux/s390x",
        ),
        (
            good.files(&named),
            Id::ImageSource,
            "it holds several images, none of which is called `a.example/web:1`",
            "it holds `x`, `y`",
        ),
        (
            chart.files(&[chart.named("1")]),
            Id::ImageSource,
            "its configuration does not say which platform it is for",
            "",
        ),
        (
            short.files(&[short.named("1")]),
            Id::ImageSource,
            "its configuration is for 0 layers, and it has 1",
            "",
        ),
    ] {
        for packed in [false, true] {
            let world = World::new();
            let place = if packed { world.archive(&files, gzip) } else { world.write(&files) };
            let error = world.take(&place).unwrap_err();
            let said = error.chain().replace(place.to_str().unwrap(), "PLACE");
            assert_eq!(error.id(), id, "{said}");
            assert!(said.contains(message), "{said}");
            let hinted = error.hints().first().map(String::as_str).unwrap_or_default();
            assert!(hinted.starts_with(hint), "{said}: {hinted}");
            assert_eq!(world.blobs(), 0, "{said}");
        }
    }
    let world = World::new();
    let place = world.directory.path().join("page.tar");
    fs::write(&place, "<html>log in").unwrap();
    assert_eq!(world.take(&place).unwrap_err().id(), Id::Archive);
    assert_eq!(world.take(&place.with_extension("no")).unwrap_err().id(), Id::Read);
}

#[test]
fn layers_become_what_the_configuration_says_or_the_image_is_refused() {
    let lies = json!([format!("sha256:{}", Sha256::of("b"))]);
    for (sample, want) in [
        (Sample::with("amd64", &lies, &[b"a"], GZIP), "and its configuration says"),
        (
            Sample::with("amd64", &lies, &[b"a"], "application/x-lz4"),
            "a layer is of the type `application/x-lz4`",
        ),
        (
            Sample::with("amd64", &lies, &[b"a"], "application/vnd.oci.image.layer.v1.tar+zstd"),
            "cannot unpack its layer sha256:",
        ),
    ] {
        let world = World::new();
        let parts = world.take(&world.write(&sample.files(&[sample.named("1")]))).unwrap();
        let error = check_layers(&world.store, "web", &parts, 1).unwrap_err();
        assert_eq!(error.id(), Id::ImageSource);
        assert!(error.chain().contains(want) && error.chain().contains("`oci.web`"), "{error:?}");
    }
}

fn serve(sample: &Sample) -> MockRegistry {
    let mock = MockRegistry::start();
    for (digest, bytes) in &sample.blobs {
        mock.put_blob(bytes);
        mock.put_manifest(&format!("sha256:{digest}"), bytes);
    }
    mock.put_manifest("1", &sample.blobs[&digest(&sample.top)]);
    mock
}

fn quiet() -> Progress {
    Progress::new(Mode::None)
}

fn locked(world: &World, mock: &MockRegistry, called: &str) -> Result<Image> {
    let location = Location::new(&format!("{}/team/web{called}", mock.host())).unwrap();
    let registry = registry::registry(&location, &Environment::default())?;
    registry::resolve(&registry, &world.store, "web", Architecture::Amd64)
}

#[test]
fn a_registry_is_asked_for_documents_by_lock_and_for_layers_by_fetch_and_then_no_more() {
    let sample = both();
    let mock = serve(&sample);
    let world = World::new();
    let image = locked(&world, &mock, ":1").unwrap();
    assert_eq!(roles(&image.parts), ["index", "manifest", "config", "layer", "layer"]);
    assert_eq!(world.blobs(), 3);
    mock.take_asked();
    registry::fetch(&image, &Environment::default(), &world.store, &quiet()).unwrap();
    let asked = mock.take_asked();
    assert!(asked.len() == 2 && asked.iter().all(|line| line.contains("/blobs/")), "{asked:?}");
    registry::fetch(&image, &Environment::default(), &world.store, &quiet()).unwrap();
    assert_eq!(mock.take_asked(), [""; 0]);
    // Another machine, with the lock alone, and the tag has moved meanwhile.
    mock.put_manifest("1", b"something else");
    let other = World::new();
    registry::fetch(&image, &Environment::default(), &other.store, &quiet()).unwrap();
    assert_eq!(other.blobs(), 5);
    let by_digest = format!("@sha256:{}", digest(&sample.top));
    assert_eq!(locked(&other, &mock, &by_digest).unwrap().parts, image.parts);
}

#[test]
fn a_registry_that_refuses_or_lies_is_named_and_leaves_nothing_in_the_store() {
    let sample = both();
    let layer = sample.layer();
    let refuse = |status: u16, code: &'static str| {
        let mock = serve(&sample);
        mock.odd(move |_| {
            let reply = Reply::new(status, errors(code, "no"));
            Some(if status == 401 {
                reply.with("WWW-Authenticate", "Basic realm=\"r\"")
            } else {
                reply
            })
        });
        mock
    };
    for (mock, id, want) in [
        (refuse(401, "UNAUTHORIZED"), Id::Unauthorized, "wants a name and a password"),
        (refuse(404, "MANIFEST_UNKNOWN"), Id::NotFound, "has no manifest for us"),
        (refuse(403, "DENIED"), Id::Unauthorized, "DENIED: no"),
    ] {
        let world = World::new();
        let error = locked(&world, &mock, ":1").unwrap_err();
        assert_eq!(error.id(), id, "{}", error.chain());
        assert!(error.chain().contains(want), "{}", error.chain());
        assert_eq!(world.blobs(), 0);
    }
    // A page for people, an image for others, and a manifest that names what is not there.
    let arm = Sample::index(&[("arm64", Sample::new("arm64", &[b"a"]))]);
    let world = World::new();
    assert_eq!(locked(&world, &serve(&arm), ":1").unwrap_err().id(), Id::ImagePlatform);
    let mock = serve(&sample);
    mock.put_manifest("1", b"<html>");
    assert_eq!(locked(&world, &mock, ":1").unwrap_err().id(), Id::ImageSource);
    assert_eq!(world.blobs(), 0);

    let mock = serve(&sample);
    let image = locked(&world, &mock, ":1").unwrap();
    type Odd = fn(&mut Vec<u8>);
    // Other bytes of the same length, then fewer, then none.
    let cases: [(Odd, Id); 3] = [
        (|bytes| bytes[20] ^= 1, Id::WrongDigest),
        (|bytes| bytes.truncate(9), Id::WrongDigest),
        (Vec::clear, Id::CutShort),
    ];
    for (odd, id) in cases {
        let mut bytes = sample.blobs[&layer].clone();
        odd(&mut bytes);
        let ending = format!("/blobs/sha256:{layer}");
        mock.odd(move |asked| asked.target.ends_with(&ending).then(|| Reply::new(200, &bytes)));
        let fetched = registry::fetch(&image, &Environment::default(), &world.store, &quiet());
        let error = fetched.unwrap_err();
        assert_eq!(error.id(), id, "{}", error.chain());
        assert!(!world.store.blobs().unwrap().iter().any(|(_, found)| found.to_string() == layer));
    }
    mock.even();
    registry::fetch(&image, &Environment::default(), &world.store, &quiet()).unwrap();
    check_layers(&world.store, "web", &image.parts, 1).unwrap();
}
