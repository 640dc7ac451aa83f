//! Archives that are imported into a store in memory.

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
        let manifest: Document =
            serde_json::from_slice(&self.blobs[&target.digest].0).expect("a manifest");
        Ok(manifest.config.map(|config| config.digest))
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
    let imported = import_all(store, directory.path(), &mut out);
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
    // A lease, then three blobs of the first; the second shares its layer.
    for answered in 0..6 {
        let mut store = Memory { dies_after: Some(answered), ..Memory::default() };
        let error = import_all(&mut store, directory.path(), &mut Vec::new()).expect_err("dead");
        let file = if answered < 4 { "a.tar" } else { "b.tar" };
        assert!(error.ends_with(&format!("{file}: no answer")), "{answered}: {error}");
        // Another time all is imported.
        store.dies_after = None;
        let imported = import_all(&mut store, directory.path(), &mut Vec::new());
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
