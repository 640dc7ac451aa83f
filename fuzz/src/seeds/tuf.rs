//! A repository of TUF with two editions, and a client that has seen the first.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use formats::digest::Sha256;
use formats::tuf::publish::{edition, signed};
use formats::tuf::{
    Delegation, Delegations, Ed25519, Head, Key, Keys, Memory, Metadata, Object, PublicKey,
    RoleKeys, RoleName, Root, Scope, Signer as _, TargetFile, Targets, TopLevel,
};

/// When the client looks.
pub(crate) const TUF_NOW: i64 = 1_893_456_000;
/// A target that a role has which `targets` names.
pub(crate) const TUF_TARGET: &str = "a/x";
/// Between the answers that a client gets.
pub(crate) const NEXT: u8 = 0;

fn signer(number: u8) -> Ed25519 {
    Ed25519::from_seed(&[number; 32]).expect("32 bytes")
}

fn file(metadata: &impl Metadata, signers: &[u8]) -> Vec<u8> {
    let signers: Vec<_> = signers.iter().map(|number| signer(*number)).collect();
    let Ok(bytes) = signed(metadata, &signers.iter().collect::<Vec<_>>());
    bytes
}

fn head(version: u64) -> Head {
    Head::new(version, TUF_NOW + 86_400)
}

fn root(version: u64) -> Root {
    let others = [PublicKey::P256(vec![4; 65]), PublicKey::Rsa(vec![7; 270])];
    Root::new(head(version), |role| match role {
        TopLevel::Root => (vec![signer(1).key(), signer(2).key()], 2),
        // Keys of all kinds.
        _ => ([signer(3).key()].into_iter().chain(others.iter().map(Key::new)).collect(), 1),
    })
}

fn targets(version: u64) -> Targets {
    Targets { head: head(version), targets: BTreeMap::new(), delegations: None }
}

/// Both editions: what the client keeps, and what is served.
pub(crate) fn repository() -> &'static Memory {
    static REPOSITORY: LazyLock<Memory> = LazyLock::new(make);
    &REPOSITORY
}

fn make() -> Memory {
    let first = root(1).file(file(&root(1), &[1, 2]));
    let mut memory = Memory::new(&first.bytes);
    for version in [1, 2] {
        let root = root(version);
        let delegation = Delegation {
            name: "a".parse().expect("a name"),
            keys: RoleKeys::of([&signer(4).key()], 1),
            scope: Scope::Paths(vec!["a/*".to_owned()]),
            terminating: true,
            more: Object::new(),
        };
        let keys = Keys::of([signer(4).key()]);
        let roles = vec![delegation];
        let mut top = targets(version);
        top.delegations = Some(Delegations { keys, roles, more: Object::new() });
        let mut role = targets(version);
        let mut target = TargetFile::new(1, Sha256::of("x"));
        target.custom = Some([("epoch".to_owned(), "1".into())].into());
        role.targets.insert(TUF_TARGET.parse().expect("a name"), target);
        let role_name: RoleName = "a".parse().expect("a name");
        let delegated = [(role_name, file(&role, &[4]))].into();
        let online = signer(3);
        let signers = [&online];
        let top = file(&top, &[3]);
        let both = ((head(version), &signers[..]), (head(version), &signers[..]));
        let files = edition(&root, &top, &delegated, both.0, both.1).expect("an edition");
        let root = root.file(file(&root, &[1, 2]));
        for file in files.into_iter().chain([root]) {
            if version == 1
                && let Some(name) = file.address().strip_prefix("1.").or(Some("timestamp.json"))
            {
                memory.kept.insert(name.to_owned(), file.bytes.clone());
            }
            memory.served.insert(file.address(), file.bytes);
        }
    }
    memory
}

/// Each file, and what else is read of metadata.
pub(crate) fn tuf() -> Vec<Vec<u8>> {
    let files = repository().served.values().cloned();
    files.chain(super::texts(&["a/b\n2026-11-29T15:00:00Z", "..\n2026-02-30T15:00:00Z"])).collect()
}

/// Answers to a client, in order: `=` for the honest one, nothing for a file that is not there.
pub(crate) fn tuf_client() -> Vec<Vec<u8>> {
    let Memory { kept, served } = repository();
    let join = |answers: &[&[u8]]| answers.join(&NEXT);
    let honest: &[u8] = b"=";
    let mut seeds = vec![
        join(&[honest; 12]),
        join(&[honest, &served["2.root.json"], honest, honest, &served["timestamp.json"]]),
        join(&[&kept["root.json"], b"", honest, &kept["timestamp.json"]]),
        join(&[honest, honest, b"", b"", b"", honest, b"", honest, b"", honest, b"", honest]),
    ];
    for file in served.values() {
        seeds.push(join(&[honest, honest, honest, b"", file, b"", file, b"", file]));
    }
    seeds
}
