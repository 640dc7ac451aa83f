//! Records are written and read back, torn and damaged.

use proptest::prelude::*;

use super::*;
use crate::crc32::crc32;

fn release(number: u8) -> Release {
    Release {
        version: format!("1.{number}"),
        root_hash: Sha256::of([number]),
        uki: Sha256::of([number, 1]),
        epoch: u64::from(number),
    }
}

fn full() -> Meta {
    let mut meta = Meta {
        epoch: 7,
        good: [Some(release(1)), None],
        staged: Some(Staged { slot: Slot::B, release: release(2), attempts: 1 }),
        trial: Some(Trial {
            slot: Slot::B,
            release: release(2),
            since: 1_790_000_000,
            attempts: 2,
            method: Method::OneShot,
            phase: Phase::Unhealthy("containerd does not answer".to_owned()),
        }),
        fallback: Some(Fallback {
            version: "1.3".to_owned(),
            root_hash: Sha256::of("3"),
            time: 5,
            reason: "no word".to_owned(),
        }),
        ..Meta::default()
    };
    for number in 0..20 {
        meta.add_failed(&release(number), 100 + u64::from(number), "panic");
    }
    meta
}

/// Fields of a later updater, put into a record.
fn with_field(record: &[u8], tag: u16, value: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    let length = u32::from_le_bytes(record[12..16].try_into().unwrap());
    let at = 32 + usize::try_from(length).unwrap();
    let size = u16::try_from(value.len()).unwrap();
    let field: Vec<u8> = [&tag.to_le_bytes()[..], &size.to_le_bytes(), value]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    record[at..at + field.len()].copy_from_slice(&field);
    let length = length + u32::try_from(field.len()).unwrap();
    record[12..16].copy_from_slice(&length.to_le_bytes());
    vouched(record)
}

fn vouched(mut record: Vec<u8>) -> Vec<u8> {
    record[24..28].fill(0);
    let checksum = crc32(&record);
    record[24..28].copy_from_slice(&checksum.to_le_bytes());
    record
}

fn read(record: &[u8]) -> Result<Meta, MetaError> {
    choose([record, &[0; RECORD]]).map(|found| found.meta)
}

#[test]
fn all_that_is_remembered_is_read_back() {
    let record = full().record(9).unwrap();
    assert_eq!(record.len(), RECORD);
    let found = choose([&record, &record]).unwrap();
    assert_eq!(found, Found { meta: full(), sequence: 9, newest: 0, mirrored: true });
    for method in [Method::OneShot, Method::Counted, Method::Kexec, Method::Chosen] {
        for phase in [Phase::Arming, Phase::Armed, Phase::Begun, Phase::Interrupted, Phase::Healthy]
        {
            let mut meta = full();
            meta.trial = meta.trial.map(|trial| Trial { method, phase, ..trial });
            assert_eq!(read(&meta.record(1).unwrap()), Ok(meta));
        }
    }
}

#[test]
fn the_layout_is_the_one_on_disks_that_exist() {
    let record = full().record(9).unwrap();
    assert_eq!(&record[..16], b"ORLOPMET\x01\0\0\0\xce\x04\0\0");
    assert_eq!(
        Sha256::of(&record).to_string(),
        "8d485778c8e5099555cf9995f915939ce9816df9d23347a383d87fb8ada8dd7c"
    );
}

#[test]
fn an_empty_partition_is_a_new_disk_and_so_is_a_first_write_that_was_torn() {
    let zeros = vec![0; RECORD];
    let new = choose([&zeros, &zeros]).unwrap();
    assert!(new.is_new() && new.meta == Meta::default());
    let mut torn = full().record(1).unwrap();
    torn[512..].fill(0);
    for records in [[&torn, &zeros], [&zeros, &torn]] {
        assert_eq!(choose(records.map(Vec::as_slice)), Ok(new.clone()));
    }
}

#[test]
fn the_higher_number_counts_and_a_damaged_record_does_not() {
    let (old, new) = (Meta::default().record(4).unwrap(), full().record(5).unwrap());
    let found = |records: [&Vec<u8>; 2]| choose(records.map(Vec::as_slice));
    for (records, newest) in [([&old, &new], 1), ([&new, &old], 0)] {
        let want = Found { meta: full(), sequence: 5, newest, mirrored: false };
        assert_eq!(found(records), Ok(want));
    }
    for at in [0, 8, 16, 24, 40, RECORD - 1] {
        let mut torn = new.clone();
        torn[at] ^= 1;
        assert_eq!(found([&old, &torn]).map(|found| found.sequence), Ok(4), "{at}");
        assert_eq!(found([&torn, &torn]), Err(MetaError::BothDamaged));
    }
    // A record that only has the number of none was never written by us.
    let none = Meta::default().record(0).unwrap();
    assert_eq!(found([&none, &none]), Err(MetaError::BothDamaged));
    assert_eq!(choose([&[], &[1]]).map(|found| found.is_new()), Ok(true), "nothing is empty");
}

#[test]
fn what_a_later_updater_wrote_is_kept_or_refused_but_never_lost() {
    let record = with_field(&full().record(5).unwrap(), 77, b"later");
    let record = with_field(&record, 78, &[]);
    let meta = read(&record).unwrap();
    assert_eq!(meta.unknown.len(), 2);
    let mut changed = meta.clone();
    changed.epoch = 8;
    let again = read(&changed.record(6).unwrap()).unwrap();
    assert_eq!((again.unknown, again.epoch), (meta.unknown, 8));

    let old = Meta::default().record(4).unwrap();
    let must = with_field(&full().record(5).unwrap(), 77 | 1 << 15, b"later");
    assert_eq!(choose([&old, &must]), Err(MetaError::Field(77)));
    let mut form = full().record(5).unwrap();
    form[8] = 2;
    let form = vouched(form);
    let error = choose([&form, &old]).unwrap_err();
    assert_eq!(error.to_string(), "META has form 2, which a later updater wrote; 1 is known here");
    let much = with_field(&Meta::default().record(1).unwrap(), 77, &[1; 8000]);
    let mut much = read(&much).unwrap();
    much.add_failed(&release(1), 1, &"x".repeat(MOST_REASON));
    assert!(matches!(much.record(2), Err(MetaError::TooLarge(_))));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut meta = full();
    assert_eq!(meta.failed.len(), MOST_FAILED);
    assert_eq!(meta.failed[0].version, "1.4");
    meta.add_failed(&release(6), 999, "two\nlines");
    assert_eq!(meta.failed.len(), MOST_FAILED, "the same release again");
    assert_eq!(meta.failure(&release(6).root_hash).unwrap().reason, "two lines");
    assert_eq!(meta.failure(&release(3).root_hash), None);

    // The most that can be: it fits.
    let long = Release { version: "v".repeat(MOST_VERSION), ..release(1) };
    let reason = "ä".repeat(MOST_REASON);
    let mut most = Meta { good: [Some(long.clone()), Some(long.clone())], ..Meta::default() };
    for number in 0..16 {
        let failed = Release { root_hash: Sha256::of([number]), ..long.clone() };
        most.add_failed(&failed, u64::MAX, &reason);
    }
    most.staged = Some(Staged { slot: Slot::A, release: long.clone(), attempts: u32::MAX });
    most.trial = Some(Trial {
        slot: Slot::A,
        release: long.clone(),
        since: u64::MAX,
        attempts: u32::MAX,
        method: Method::Kexec,
        phase: Phase::Unhealthy(shortened(&reason)),
    });
    most.fallback = Some(Fallback {
        version: long.version,
        root_hash: long.root_hash,
        time: 1,
        reason: shortened(&reason),
    });
    assert_eq!(most.failed[0].reason.len(), MOST_REASON);
    let record = most.record(u64::MAX).unwrap();
    assert_eq!(read(&record), Ok(most));
    let used = record.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(used < RECORD - 1024, "{used}: room for what comes later");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever sectors of a write came: the old record, or the new one.
    #[test]
    fn a_torn_write_leaves_the_old_or_the_new(sectors in 0_u32..1 << 16, which in 0_usize..2) {
        let old = [full().record(4).unwrap(), full().record(4).unwrap()];
        let meta = Meta { epoch: 8, ..full() };
        let new = meta.record(5).unwrap();
        let mut records = old;
        for sector in 0..16 {
            if sectors >> sector & 1 == 1 {
                let range = sector * 512..(sector + 1) * 512;
                records[which][range.clone()].copy_from_slice(&new[range]);
            }
        }
        let [one, two] = &records;
        let found = choose([one, two]).unwrap();
        prop_assert!(found.meta == full() || found.meta == meta);
    }

    #[test]
    fn no_fields_make_the_reader_panic(
        changes in prop::collection::vec((8_usize..2000, any::<u8>()), 1..8),
    ) {
        let mut record = full().record(1).unwrap();
        for (at, value) in changes {
            record[at] = value;
        }
        if let Ok(meta) = read(&vouched(record)) {
            let again = meta.record(1).unwrap();
            prop_assert_eq!(read(&again), Ok(meta));
        }
    }
}
