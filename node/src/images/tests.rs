//! Archives that are imported into a store in memory.

use std::fs;
use std::path::PathBuf;

use formats::digest::Sha256;
use serde_json::json;

use super::archive::tests::tar;
use super::*;

/// Names and values.
type Labels = Vec<(String, String)>;

/// A containerd in memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) images: BTreeMap<String, Descriptor>,
    blobs: BTreeMap<String, (Vec<u8>, Labels)>,
    held: bool,
    holds: usize,
    /// Questions of the CRI that are answered as if it had not heard yet.
    late: usize,
    /// Refuses the blob whose digest is this.
    refuses: String,
    /// So many calls that hold or write are answered, if any number is.
    pub(super) dies_after: Option<usize>,
    /// Has no room for another lease.
    full: bool,
    /// Where its blobs are files, if it takes such.
    content: Option<PathBuf>,
    adopted: Vec<String>,
    forgotten: Vec<String>,
}

impl Memory {
    fn work(&mut self) -> Result<(), Trouble> {
        match &mut self.dies_after {
            Some(0) => Err(Trouble::Store("no answer".to_owned())),
            Some(more) => {
                *more -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Store for Memory {
    fn target(&mut self, name: &str) -> Result<Option<Descriptor>, Trouble> {
        Ok(self.images.get(name).cloned())
    }

    fn hold(&mut self) -> Result<(), Trouble> {
        self.work()?;
        if self.full {
            return Err(Trouble::Archive("no space".to_owned()));
        }
        self.holds += 1;
        self.held = true;
        Ok(())
    }

    fn release(&mut self) {
        self.held = false;
    }

    fn write(
        &mut self,
        blob: &Descriptor,
        labels: &[(String, String)],
        bytes: &mut dyn Read,
    ) -> Result<Made, Trouble> {
        assert!(self.held, "{} might be collected", blob.digest);
        self.work()?;
        if self.blobs.contains_key(&blob.digest) {
            return Ok(Made::Existed);
        }
        let mut content = Vec::new();
        bytes.read_to_end(&mut content).expect("readable");
        if blob.digest == self.refuses || digest(&content) != blob.digest {
            return Err(Trouble::Archive(format!("refused {}", blob.digest)));
        }
        // A manifest must not keep what does not exist.
        assert!(labels.iter().all(|(_, digest)| self.blobs.contains_key(digest)), "{labels:?}");
        self.blobs.insert(blob.digest.clone(), (content, labels.to_vec()));
        Ok(Made::New)
    }

    fn adopt(
        &mut self,
        blob: &Descriptor,
        labels: &[(String, String)],
    ) -> Result<Option<Made>, Trouble> {
        assert!(self.held, "{} might be collected", blob.digest);
        self.work()?;
        let Some(content) = &self.content else { return Ok(None) };
        if self.blobs.contains_key(&blob.digest) {
            return Ok(Some(Made::Existed));
        }
        // As containerd does: what has the name and the size is the blob.
        let path = content.join(blob_path(&blob.digest).expect("a digest"));
        let Ok(bytes) = fs::read(path) else { return Ok(None) };
        if bytes.len() as u64 != blob.size {
            return Ok(None);
        }
        assert!(labels.iter().all(|(_, digest)| self.blobs.contains_key(digest)), "{labels:?}");
        self.blobs.insert(blob.digest.clone(), (bytes, labels.to_vec()));
        self.adopted.push(blob.digest.clone());
        Ok(Some(Made::New))
    }

    fn forget(&mut self, digest: &str) -> Result<(), Trouble> {
        self.work()?;
        self.blobs.remove(digest);
        self.forgotten.push(digest.to_owned());
        Ok(())
    }

    fn put(&mut self, name: &str, target: &Descriptor) -> Result<(), Trouble> {
        assert!(self.held && self.blobs.contains_key(&target.digest));
        self.images.insert(name.to_owned(), target.clone());
        Ok(())
    }

    fn id_for_pods(&mut self, name: &str) -> Result<Option<String>, Trouble> {
        if self.late > 0 {
            self.late -= 1;
            return Ok(None);
        }
        let Some(target) = self.images.get(name) else { return Ok(None) };
        let document = |digest: &str| -> Document {
            serde_json::from_slice(&self.blobs[digest].0).expect("a manifest")
        };
        let mut found = document(&target.digest);
        while let Some(next) =
            found.manifests.iter().find(|entry| self.blobs.contains_key(&entry.digest))
        {
            found = document(&next.digest);
        }
        Ok(found.config.map(|config| config.digest))
    }

    fn names(&mut self) -> Result<Vec<(String, Descriptor)>, Trouble> {
        Ok(self.images.clone().into_iter().collect())
    }

    fn remove(&mut self, name: &str) -> Result<(), Trouble> {
        self.work()?;
        self.images.remove(name);
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

fn entry(kind: &str, bytes: &[u8]) -> serde_json::Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

fn path_of(bytes: &[u8]) -> String {
    blob_path(&digest(bytes)).expect("a digest")
}

/// The archive of an image with this layer; `damage` changes its files at the end.
fn archive(name: &str, layer: &[u8], damage: fn(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
    let config = json!({ "architecture": "amd64", "for": name }).to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "config": entry("config", &config),
        "layers": [entry("layer", layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut named = entry("manifest", &manifest);
    named["annotations"] = json!({ NAME: name });
    let index = json!({ "schemaVersion": 2, "manifests": [named] }).to_string().into_bytes();
    let mut files: Vec<_> = [&config, &manifest, &layer.to_vec()]
        .into_iter()
        .map(|bytes| (path_of(bytes), bytes.clone()))
        .collect();
    files.push(("index.json".to_owned(), index));
    damage(&mut files);
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    tar(&files)
}

/// Imports a directory with these files; the lines that are told.
fn import_files(store: &mut Memory, files: &[(&str, Vec<u8>)]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).expect("written");
    }
    let mut out = Vec::new();
    let imported = import_all(store, &Root::new(directory.path()), directory.path(), &mut out);
    let lacking = imported.expect("the directory is readable").lacking;
    let text = String::from_utf8(out).expect("text");
    // What the node lacks then is told to people as well.
    let failed = text.lines().filter_map(|line| line.strip_prefix("orlop-node: "));
    let failed: Vec<_> = failed.filter(|line| line.starts_with("cannot import ")).collect();
    assert_eq!(lacking, failed);
    text.replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn images_are_imported_once_and_what_they_share_is_written_once() {
    let mut store = Memory { late: 3, ..Memory::default() };
    let files = [
        ("b.tar", archive("example.test/b:1", b"layer", |_| ())),
        ("a.tar", archive("example.test/a:1", b"layer", |_| ())),
        ("README", b"no archive".to_vec()),
    ];
    let text = import_files(&mut store, &files);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("orlop-node: example.test/a:1 is imported, "), "{text}");
    assert!(lines[1].starts_with("orlop-node: example.test/b:1 is imported, "), "{text}");
    assert_eq!((lines.len(), store.images.len(), store.blobs.len()), (2, 2, 5), "{text}");
    assert_eq!((store.holds, store.held), (1, false));

    let text = import_files(&mut store, &files);
    let want = "orlop-node: example.test/a:1 is there\norlop-node: example.test/b:1 is there\n";
    assert_eq!(text, want);
    assert_eq!(store.holds, 1);
}

/// The files of an image for several platforms, of which one is here, as an index with blobs beside it;
/// the digest of each blob that is there.
fn beside(directory: &Path, name: &str, layer: &[u8]) -> Vec<String> {
    let config = json!({ "architecture": "amd64", "for": name }).to_string().into_bytes();
    let manifest = json!({ "config": entry("config", &config), "layers": [entry("layer", layer)] });
    let manifest = manifest.to_string().into_bytes();
    let other = entry("manifest", b"for another machine");
    let index = json!({ "manifests": [other, entry("manifest", &manifest)] });
    let index = index.to_string().into_bytes();
    let mut named = entry("index", &index);
    named["annotations"] = json!({ NAME: name });
    let top = json!({ "manifests": [named] }).to_string();
    fs::write(directory.join(format!("{}.json", digest(name.as_bytes()))), top).expect("written");
    fs::create_dir_all(directory.join("blobs/sha256")).expect("made");
    let blobs = [layer.to_vec(), config, manifest, index];
    for blob in &blobs {
        fs::write(directory.join(path_of(blob)), blob).expect("written");
    }
    blobs.iter().map(|blob| digest(blob)).collect()
}

#[test]
fn blobs_that_are_files_are_linked_and_not_written() {
    let place = tempfile::tempdir().expect("a directory");
    let (node, images) = (place.path().join("node"), place.path().join("images"));
    fs::create_dir_all(&images).expect("made");
    let root = Root::new(&node);
    let content = root.path(CONTENT);
    let blobs = beside(&images, "a.example/a:1", b"layer");
    beside(&images, "a.example/b:1", b"layer");
    let mut store = Memory { content: Some(content.clone()), ..Memory::default() };
    let import = |store: &mut Memory| {
        let mut out = Vec::new();
        let imported = import_all(store, &root, &images, &mut out).expect("readable");
        assert_eq!(imported.lacking, [""; 0]);
        String::from_utf8(out).expect("text")
    };
    let text = import(&mut store);
    assert!(text.contains("a.example/a:1 is imported, 0 bytes written"), "{text}");
    assert_eq!(store.images["a.example/a:1"].digest, blobs[3]);
    assert_eq!(store.adopted.len(), 4 + 3, "one layer for both");
    for blob in &blobs {
        let path = content.join(blob_path(blob).expect("a digest"));
        let file = images.join(blob_path(blob).expect("a digest"));
        assert_eq!(fs::read_link(&path).expect("a link"), file);
    }
    let labels = &store.blobs[&blobs[3]].1;
    let want = ("containerd.io/gc.ref.content.m.0".to_owned(), blobs[2].clone());
    assert_eq!(labels[..], [want], "of another machine nothing is here");
    assert_eq!(import(&mut store).matches("is there").count(), 2);

    // A power cut takes a link, and containerd knows its blob all the same.
    fs::remove_file(content.join(blob_path(&blobs[1]).expect("a digest"))).expect("removed");
    let text = import(&mut store);
    assert!(text.contains("a:1 is imported") && text.contains("b:1 is there"), "{text}");
    assert_eq!(import(&mut store).matches("is there").count(), 2);

    // Another release has none of the first image.
    for blob in [&blobs[1], &blobs[2], &blobs[3]] {
        fs::remove_file(images.join(blob_path(blob).expect("a digest"))).expect("removed");
    }
    assert_eq!(links::sweep(&mut store, &root), Ok(3));
    assert_eq!(store.forgotten.len(), 3);
    assert!(store.blobs.contains_key(&blobs[0]), "the other image has this layer");
    assert_eq!(links::sweep(&mut store, &root), Ok(0));
}

#[test]
fn what_a_store_does_not_take_as_it_is_is_written() {
    let place = tempfile::tempdir().expect("a directory");
    let (node, images) = (place.path().join("node"), place.path().join("images"));
    fs::create_dir_all(&images).expect("made");
    let blobs = beside(&images, "a.example/a:1", b"layer");
    let mut store = Memory::default();
    let root = Root::new(&node);
    let mut out = Vec::new();
    let run = |store: &mut Memory, out: &mut Vec<u8>| import_all(store, &root, &images, out);
    run(&mut store, &mut out).expect("readable");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("a:1 is imported, ") && !text.contains(" 0 bytes"), "{text}");
    assert_eq!((store.blobs.len(), store.adopted.len()), (4, 0));

    // A file of the wrong size is told as in an archive, and linked by nobody.
    fs::write(images.join(blob_path(&blobs[0]).expect("a digest")), b"longer layer")
        .expect("written");
    let mut store = Memory { content: Some(root.path(CONTENT)), ..Memory::default() };
    fs::remove_dir_all(&node).expect("removed");
    let imported = run(&mut store, &mut Vec::new()).expect("readable");
    assert!(
        imported.lacking[0].ends_with("has not the size that its manifest says"),
        "{imported:?}"
    );
    assert!(store.images.is_empty());
}

#[test]
fn a_manifest_keeps_what_it_names() {
    let mut store = Memory::default();
    import_files(&mut store, &[("a.tar", archive("a:1", b"layer", |_| ()))]);
    let labels = &store.blobs[&store.images["a:1"].digest].1;
    let names: Vec<_> = labels.iter().map(|(name, _)| name.as_str()).collect();
    let prefix = "containerd.io/gc.ref.content";
    assert_eq!(names, [format!("{prefix}.config"), format!("{prefix}.l.0")]);
    assert_eq!(labels[1].1, digest(b"layer"));
}

#[test]
fn a_name_moves_to_a_new_image() {
    let mut store = Memory::default();
    import_files(&mut store, &[("a.tar", archive("a:1", b"old", |_| ()))]);
    let old = store.images["a:1"].clone();
    let text = import_files(&mut store, &[("a.tar", archive("a:1", b"new", |_| ()))]);
    assert!(text.contains("a:1 is imported"), "{text}");
    assert_ne!(store.images["a:1"], old);
}

#[test]
fn a_bad_archive_is_told_and_does_not_keep_others_from_being_imported() {
    type Damage = fn(&mut Vec<(String, Vec<u8>)>);
    let cases: [(Damage, &str); 6] = [
        (|files| files[1].1.push(b' '), "has other bytes than its name says"),
        (|files| files[2].1.push(b' '), "has not the size that its manifest says"),
        (|files| files[2].1[0] ^= 1, "refused sha256:"),
        (|files| drop(files.remove(2)), "it has no `blobs/sha256/"),
        (|files| files[3].1 = b"{}".to_vec(), "its index names no image"),
        (|files| files[3].1 = b"[".to_vec(), "its index.json: EOF"),
    ];
    for (damage, want) in cases {
        let mut store = Memory::default();
        let files = [
            ("a.tar", archive("a:1", b"layer", damage)),
            ("b.tar", archive("b:1", b"other", |_| ())),
        ];
        let text = import_files(&mut store, &files);
        assert!(text.starts_with("orlop-node: cannot import a.tar: "), "{text}");
        assert!(text.contains(want), "{want}: {text}");
        assert!(text.contains("b:1 is imported"), "{text}");
        assert_eq!((store.images.len(), store.held), (1, false));
    }
}

#[test]
fn a_blob_that_the_store_refuses_leaves_the_name_alone() {
    let mut store = Memory { refuses: digest(b"layer"), ..Memory::default() };
    let text = import_files(&mut store, &[("a.tar", archive("a:1", b"layer", |_| ()))]);
    assert!(text.contains("cannot import a.tar: refused sha256:"), "{text}");
    assert!(store.images.is_empty());
}

#[test]
fn a_store_that_does_not_answer_is_no_fault_of_the_archive() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["a", "b"] {
        let bytes = archive(&format!("{name}:1"), b"layer", |_| ());
        fs::write(directory.path().join(format!("{name}.tar")), bytes).expect("written");
    }
    let root = Root::new(directory.path());
    // A lease, then three blobs of the first; the second shares its layer.
    for answered in 0..6 {
        let mut store = Memory { dies_after: Some(answered), ..Memory::default() };
        let error =
            import_all(&mut store, &root, directory.path(), &mut Vec::new()).expect_err("dead");
        let file = if answered < 4 { "a.tar" } else { "b.tar" };
        assert!(error.ends_with(&format!("{file}: no answer")), "{answered}: {error}");
        // Another time all is imported.
        store.dies_after = None;
        let imported = import_all(&mut store, &root, directory.path(), &mut Vec::new());
        let lacking = imported.expect("alive").lacking;
        assert_eq!((lacking.len(), store.images.len()), (0, 2), "{answered}");
    }
}

#[test]
fn nothing_is_written_that_is_not_held() {
    let mut store = Memory { full: true, ..Memory::default() };
    let archives = ["a", "b"].map(|name| archive(&format!("{name}:1"), b"layer", |_| ()));
    let [a, b] = archives;
    let text = import_files(&mut store, &[("a.tar", a), ("b.tar", b)]);
    let want = "orlop-node: cannot import a.tar: no space\n\
                orlop-node: cannot import b.tar: no space\n";
    assert_eq!(text, want);
}

#[test]
fn an_archive_that_cannot_be_read_is_told_from_a_connection_that_broke() {
    struct Broken(io::ErrorKind);
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
    }
    for (kind, failed) in [(io::ErrorKind::InvalidData, true), (io::ErrorKind::Interrupted, false)]
    {
        let mut broken = Broken(kind);
        let mut bytes = Watched { bytes: &mut broken, failed: false };
        bytes.read(&mut [0; 8]).expect_err("it is broken");
        assert_eq!(bytes.failed, failed, "{kind}");
    }
    let error = cri::Error::Io(io::ErrorKind::UnexpectedEof.into());
    assert!(matches!(Trouble::of("x", &error), Trouble::Store(_)));
    let refused = cri::Status { code: 9, message: "unexpected commit digest".to_owned() };
    let refused = Trouble::of("cannot write x", &cri::Error::Status(refused));
    let want = "cannot write x: unexpected commit digest (gRPC status 9)";
    assert_eq!(refused, Trouble::Archive(want.to_owned()));
}

#[test]
fn only_a_digest_becomes_a_path() {
    let hex = "0123456789abcdef".repeat(4);
    assert_eq!(blob_path(&format!("sha256:{hex}")), Ok(format!("blobs/sha256/{hex}")));
    for digest in
        ["sha256:../../index.json", "sha512:00", "", &format!("sha256:{}", "G".repeat(64))]
    {
        assert_eq!(blob_path(digest), Err(format!("`{digest}` is no sha256 digest")));
    }
}
