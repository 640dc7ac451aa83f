//! Boot entries and META of a node.

use formats::boot_entries::Slot;
use formats::digest::Sha256;
use formats::fat::{Alias, Attributes, Record, Timestamp, encode};
use formats::meta::{Fallback, Meta, Method, Phase, Release, Staged, Trial};

pub(crate) fn boot_entries() -> Vec<Vec<u8>> {
    let record = |name: &str, alias: &str, first_cluster| Record {
        name: name.to_owned(),
        alias: Alias::new(alias).expect("a short name"),
        attributes: Attributes::File,
        first_cluster,
        size: 1 << 20,
        time: Timestamp::from_epoch(0),
    };
    let records = [record("2a+2-1.efi", "SLOTA", 900), record("1b.efi", "SLOTB", 9000)];
    let mut sector = encode(7, 3, Timestamp::from_epoch(0), &records);
    sector.resize(512, 0);
    vec![sector, b"999b+2-1.efi".to_vec()]
}

pub(crate) fn meta() -> Vec<Vec<u8>> {
    let release = |number: u8| Release {
        version: format!("1.{number}"),
        root_hash: Sha256::of([number]),
        uki: Sha256::of([number, 1]),
        epoch: 3,
    };
    let mut meta = Meta {
        epoch: 3,
        good: [Some(release(1)), Some(release(2))],
        staged: Some(Staged { slot: Slot::B, release: release(2), attempts: 1 }),
        trial: Some(Trial {
            slot: Slot::B,
            release: release(2),
            since: 9,
            attempts: 1,
            method: Method::Counted,
            phase: Phase::Unhealthy("no answer".to_owned()),
        }),
        fallback: Some(Fallback {
            version: "1.3".to_owned(),
            root_hash: Sha256::of("3"),
            time: 5,
            reason: "no word".to_owned(),
        }),
        ..Meta::default()
    };
    meta.add_failed(&release(4), 7, "panic");
    [meta, Meta::default()].iter().filter_map(|meta| meta.record(4).ok()).collect()
}
