//! Metadata of TUF, and a client whose every answer is somebody else's.

use std::slice::Split;

use formats::moment::Moment;
use formats::tuf::{
    Json, Keys, Limits, Metadata, Reason, Refresh, Refused, Request, RoleName, Root, Search,
    Signed, Snapshot, TargetPath, Targets, Timestamp, TopLevel, Workflow,
};

use super::text;
use crate::seeds;

/// Whatever is read is written and read again.
pub(crate) fn tuf(bytes: &[u8]) {
    if let Ok(json) = Json::parse(bytes) {
        assert_eq!(Json::parse(&json.to_file()), Ok(json));
    }
    if let Ok(signed) = Signed::parse(bytes) {
        assert_eq!(Signed::parse(&signed.to_file()).as_ref(), Ok(&signed));
        again::<Timestamp>(&signed);
        again::<Snapshot>(&signed);
        if let Some(root) = again::<Root>(&signed) {
            for role in TopLevel::ALL {
                signed.signers(&root.keys, root.role(role));
            }
            verifies(&root.keys);
        }
        for delegations in again::<Targets>(&signed).iter().flat_map(|all| &all.delegations) {
            delegations.of(&seeds::TUF_TARGET.parse().expect("a name"));
            verifies(&delegations.keys);
        }
    }
    text(bytes, |text| {
        let (one, other) = text.split_once('\n').unwrap_or((text, ""));
        if let Ok(role) = one.parse::<RoleName>() {
            assert!(!role.file().contains('/'));
        }
        if let Ok(path) = one.parse::<TargetPath>() {
            assert!(path.as_str().split('/').all(|name| !matches!(name, "" | "." | "..")));
        }
        if let Some(seconds) = Moment::seconds_of(other) {
            assert_eq!(Moment::at(seconds).rfc3339(), other);
        }
    });
}

fn again<M: Metadata + PartialEq + std::fmt::Debug>(signed: &Signed) -> Option<M> {
    let metadata: M = signed.metadata().ok()?;
    assert_eq!(M::read(metadata.to_json()).as_ref(), Ok(&metadata));
    Some(metadata)
}

fn verifies(keys: &Keys) {
    for (id, _) in keys.iter() {
        if let Some(key) = keys.get(id) {
            assert!(!key.verifies(b"message", b"signature"));
        }
    }
}

/// A client that gets these answers, in order, and honest ones after them: it trusts nothing that its
/// owner did not sign, and comes to an end.
pub(crate) fn tuf_client(bytes: &[u8]) {
    let honest = seeds::repository();
    let mut answers = bytes.split(is_next as fn(&u8) -> bool);
    let mut refresh = Refresh::new(seeds::TUF_NOW, Limits::DEFAULT);
    if drive(&mut refresh, honest, &mut answers).is_err() {
        return;
    }
    let trusted = refresh.into_trusted().expect("the refresh has come to a good end");
    let owners = |version: u64| {
        let name = format!("{version}.targets.json");
        Signed::parse(&honest.served[&name]).and_then(|file| file.metadata::<Targets>())
    };
    assert!([1, 2].iter().any(|version| owners(*version).ok().as_ref() == trusted.targets()));
    let target: TargetPath = seeds::TUF_TARGET.parse().expect("a name");
    let Ok(mut search) = Search::new(&trusted, target, Limits::DEFAULT) else { return };
    if drive(&mut search, honest, &mut answers).is_ok() {
        let found = search.found().expect("the owner has this target");
        assert_eq!((found.file.length, found.check().is_ok()), (1, true));
    }
}

fn is_next(byte: &u8) -> bool {
    *byte == seeds::NEXT
}

fn drive(
    workflow: &mut impl Workflow,
    honest: &formats::tuf::Memory,
    answers: &mut Split<'_, u8, fn(&u8) -> bool>,
) -> Result<(), Refused> {
    for _ in 0..100 {
        let Some(request) = workflow.request() else { return Ok(()) };
        let proper = match request {
            Request::Load { file, .. } => honest.kept.get(file),
            Request::Fetch { path, .. } => honest.served.get(path),
            Request::Store { .. } | Request::Remove { .. } => {
                workflow.answer(None)?;
                continue;
            }
        };
        let answer = match answers.next() {
            None | Some(b"=") => proper.cloned(),
            Some(b"") => None,
            Some(bytes) => Some(bytes.to_vec()),
        };
        if let Err(refused) = workflow.answer(answer) {
            assert!(workflow.request().is_none() && refused.reason != Reason::LastVersion);
            return Err(refused);
        }
    }
    panic!("the workflow does not end");
}
