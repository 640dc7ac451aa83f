//! A project with keys and releases that `orlop publish` has made, and what whoever has some of its keys,
//! or only the server, can make of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use builder::keys::keyring::Hand;
use builder::keys::passphrase::Source;
use builder::keys::store;
use builder::process::Command;
use formats::tuf::publish::{edition, signed};
use formats::tuf::{Head, Json, Metadata, Object, Signed, Signer as _, Snapshot, Timestamp};

use crate::project::{Ended, Project, start};

/// Most that `orlop verify` may ask of the kernel for data of its own, in KiB: what it needs and little
/// more, so that nothing large fits.
const MEMORY: u32 = 48 * 1024;

/// A locked and built project with keys in `keys`: three of root, of which two sign.
pub(crate) fn project() -> Project {
    let project = Project::locked();
    project.good(&["build", "--no-commit"]);
    project.good(&["keys", "init", "keys", "--no-passphrase"]);
    project
}

/// The build of a version, which is made if there is none: an image says which version it is.
pub(crate) fn build(project: &Project, version: &str) -> String {
    if version == "1.0" {
        return "orlop-out/tiny".to_owned();
    }
    let directory = format!("orlop-out/{version}");
    if !project.path(&directory).exists() {
        let recipe = String::from_utf8(project.read("recipe.toml")).unwrap();
        let other = recipe.replace("version = \"1.0\"", &format!("version = \"{version}\""));
        assert_ne!(recipe, other);
        project.write("recipe.toml", other);
        project.good(&["build", "--no-commit", "-o", &directory]);
        project.write("recipe.toml", recipe);
    }
    directory
}

/// Publishes the build of a version.
pub(crate) fn publish(project: &Project, version: &str, to: &str) {
    let build = build(project, version);
    project.good(&["publish", &build, "--version", version, "--to", to, "--keys", "keys"]);
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// `orlop verify` with as much memory as it needs and little more.
pub(crate) fn verify(project: &Project, words: &[&str]) -> Ended {
    let script = format!("ulimit -d {MEMORY}; exec \"$0\" \"$@\"");
    let command = project
        .placed(Command::new("/bin/sh"), "http://127.0.0.1:9")
        .args(["-c", &script, env!("CARGO_BIN_EXE_orlop"), "--progress", "none", "verify"])
        .args(words);
    project.end(start(command))
}

/// The files of a published directory, by their paths below it.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Reads all that readers of a directory may ask for.
pub(crate) fn files(directory: &Path) -> Files {
    fn add(at: &Path, of: &Path, files: &mut Files) {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(of).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                add(&path, of, files);
            } else if !name.starts_with('.') {
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut all = Files::new();
    add(directory, directory, &mut all);
    all
}

/// Published files in the hands of somebody who has the private keys in a directory, all or some.
pub(crate) struct Forger<'a> {
    pub(crate) project: &'a Project,
    /// What is served.
    pub(crate) files: Files,
    /// Versions and ends of the next edition.
    pub(crate) snapshot: Head,
    pub(crate) timestamp: Head,
    /// What the role says.
    pub(crate) targets: Object,
    /// Who signs the next edition.
    pub(crate) by: [&'static str; 3],
}

impl<'a> Forger<'a> {
    /// Begins with what is published, and the versions that would come next.
    pub(crate) fn new(project: &'a Project, files: &Files) -> Self {
        let timestamp: Timestamp = said(&files["metadata/timestamp.json"]);
        let version = timestamp.snapshot.version;
        let snapshot: Snapshot = said(&files[&format!("metadata/{version}.snapshot.json")]);
        let version = snapshot.meta["targets.json"].version;
        let targets = signed_part(&files[&format!("metadata/{version}.targets.json")]);
        let mut forger = Self {
            project,
            files: files.clone(),
            snapshot: snapshot.head,
            timestamp: timestamp.head,
            targets,
            by: ["targets", "snapshot", "timestamp"],
        };
        forger.snapshot.version += 1;
        forger.timestamp.version += 1;
        forger.set_targets("version", version + 1);
        forger
    }

    pub(crate) fn set_targets(&mut self, member: &str, value: u64) {
        let value = Json::Integer(i64::try_from(value).unwrap());
        self.targets.insert(member.to_owned(), value);
    }

    /// A private key of the project.
    pub(crate) fn hand(&self, name: &str) -> Hand {
        let path = self.project.path("keys").join(format!("{name}.pem"));
        Hand::new(Rc::new(store::open(&path, &Source::Terminal).unwrap()))
    }

    /// A file of metadata that these keys have signed.
    pub(crate) fn signed(&self, metadata: &impl Metadata, by: &[&str]) -> Vec<u8> {
        let hands: Vec<_> = by.iter().map(|name| self.hand(name)).collect();
        signed(metadata, &hands.iter().collect::<Vec<_>>()).unwrap()
    }

    /// A file of anything that these keys have signed; a key may sign twice.
    pub(crate) fn signed_object(&self, object: Object, by: &[&str]) -> Vec<u8> {
        let object = Json::Object(object);
        let message = object.to_canonical();
        let signature = |name: &&str| {
            let hand = self.hand(name);
            let digits = hand.sign(&message).unwrap();
            let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
            let members = [("keyid", hand.key().id()), ("sig", digits)];
            Json::Object(members.map(|(name, text)| (name.to_owned(), Json::Text(text))).into())
        };
        let signatures = Json::List(by.iter().map(signature).collect());
        let file = [("signatures".to_owned(), signatures), ("signed".to_owned(), object)];
        Json::Object(file.into()).to_file()
    }

    /// Serves the next edition, whole.
    pub(crate) fn publish(&mut self) {
        let root = said(&self.files["metadata/1.root.json"]);
        let targets = self.signed_object(self.targets.clone(), &[self.by[0]]);
        let [snapshot, timestamp] = [self.by[1], self.by[2]].map(|name| self.hand(name));
        let made = edition(
            &root,
            &targets,
            &BTreeMap::new(),
            (self.snapshot.clone(), &[&snapshot]),
            (self.timestamp.clone(), &[&timestamp]),
        );
        for file in made.unwrap() {
            self.files.insert(format!("metadata/{}", file.name().unwrap()), file.bytes);
        }
    }

    /// As [`Self::publish`], with metadata of targets that `edition` would not take.
    pub(crate) fn publish_anything(&mut self, targets: &[u8], version: u64) {
        let file = |version, bytes: &[u8]| formats::tuf::MetaFile::of(version, bytes);
        let meta = [("targets.json".to_owned(), file(version, targets))].into();
        let snapshot = Snapshot { head: self.snapshot.clone(), meta };
        let bytes = self.signed(&snapshot, &["snapshot"]);
        let timestamp = Timestamp::of(self.timestamp.clone(), &snapshot, &bytes);
        let lead = self.signed(&timestamp, &["timestamp"]);
        let snapshot = self.snapshot.version;
        for (name, bytes) in [
            (format!("{version}.targets.json"), targets.to_vec()),
            (format!("{snapshot}.snapshot.json"), bytes),
            ("timestamp.json".to_owned(), lead),
        ] {
            self.files.insert(format!("metadata/{name}"), bytes);
        }
    }

    /// What `targets` says of a file.
    pub(crate) fn target(&mut self, name: &str) -> &mut Object {
        let Some(Json::Object(targets)) = self.targets.get_mut("targets") else { panic!("none") };
        let Some(Json::Object(target)) = targets.get_mut(name) else { panic!("no {name}") };
        target
    }

    /// The path of a file of a release, such as `root.zst`.
    pub(crate) fn path(&self, version: &str, name: &str) -> String {
        let below = format!("targets/{version}/");
        let is = |path: &&String| {
            let file = path.strip_prefix(&below).and_then(|file| file.split_once('.'));
            file.is_some_and(|(_, file)| file == name)
        };
        self.files.keys().find(is).unwrap().clone()
    }

    /// Signs another file in place of one of a release.
    pub(crate) fn replace_target(&mut self, version: &str, name: &str, bytes: &[u8]) {
        let digest = formats::digest::Sha256::of(bytes);
        let target = self.target(&format!("{version}/{name}"));
        target.insert("length".to_owned(), Json::Integer(i64::try_from(bytes.len()).unwrap()));
        let hashes = [("sha256".to_owned(), Json::Text(digest.to_string()))];
        target.insert("hashes".to_owned(), Json::Object(hashes.into()));
        self.files.insert(format!("targets/{version}/{digest}.{name}"), bytes.to_vec());
    }
}

/// What a file of metadata says, whoever has signed it.
pub(crate) fn said<M: Metadata>(bytes: &[u8]) -> M {
    Signed::parse(bytes).unwrap().metadata().unwrap()
}

/// The same as members.
pub(crate) fn signed_part(bytes: &[u8]) -> Object {
    let Json::Object(mut file) = Json::parse(bytes).unwrap() else { panic!("an object") };
    let Some(Json::Object(signed)) = file.remove("signed") else { panic!("an object") };
    signed
}
