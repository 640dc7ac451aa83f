//! Where everything goes on the disk.

use std::fmt;

use formats::architecture::Architecture;
use formats::fat::{self, Content, FatError};
use formats::gpt::{self, Guid, Table};
use uuid::Uuid;

use crate::error::{Context as _, Error, Id, Result};
use crate::image::state;
use crate::recipe::model::{Disk, Mib};

/// Partitions begin and end on this boundary; so do the slots' blocks and flash pages.
const ALIGNMENT: Mib = Mib(1);
/// Two records of one block each, and room.
const META: Mib = Mib(1);
/// The boot loader and the directories on the ESP, when only sizes are known.
const LOADER_ROOM: u64 = 1 << 20;
/// FAT32 with clusters of one sector has 2^28 of them.
pub(crate) const ESP_MOST: Mib = Mib(1 << 17);
/// How many of the heaviest parts an error names.
const HEAVIEST: usize = 5;

/// One of the two places of a root image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The one that a new disk boots.
    A,
    /// The other one.
    B,
}

impl Slot {
    /// The one that this is not.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The EFI system partition: boot loader and UKIs.
    Esp,
    /// The updater's records.
    Meta,
    /// A root image.
    Root(Slot),
    /// `/var`.
    State,
}

impl Role {
    /// All of them, in disk order.
    pub const ALL: [Self; 5] =
        [Self::Esp, Self::Meta, Self::Root(Slot::A), Self::Root(Slot::B), Self::State];

    /// The partition's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Esp => "ESP",
            Self::Meta => "META",
            Self::Root(Slot::A) => "ROOT-A",
            Self::Root(Slot::B) => "ROOT-B",
            Self::State => "STATE",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Esp => 0,
            Self::Meta => 1,
            Self::Root(Slot::A) => 2,
            Self::Root(Slot::B) => 3,
            Self::State => 4,
        }
    }

    const fn type_guid(self, architecture: Architecture) -> Guid {
        match self {
            Self::Esp => gpt::types::ESP,
            Self::Meta => gpt::types::ORLOP_META,
            Self::Root(_) => architecture.root_type(),
            Self::State => gpt::types::LINUX_DATA,
        }
    }

    const fn attributes(self) -> u64 {
        match self {
            Self::Root(_) => gpt::attributes::READ_ONLY,
            Self::State => gpt::attributes::GROW_FILE_SYSTEM,
            Self::Esp | Self::Meta => 0,
        }
    }
}

/// Where a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub role: Role,
    /// How large it is.
    pub size: Mib,
    /// Its identity: `PARTUUID`.
    pub guid: Guid,
    start: u64,
}

impl Partition {
    /// Where it begins, in bytes.
    pub fn start(&self) -> u64 {
        self.start
    }
}

/// Where everything goes on the disk. Made only by [`Layout::plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    // Invariant: one of each role, in the order of `Role::ALL`, one behind the other, each on a
    // boundary of `ALIGNMENT`.
    partitions: [Partition; 5],
    uki: Mib,
    seed: Uuid,
    architecture: Architecture,
}

impl Layout {
    /// What the disk is for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Plans the disk without touching it: same arguments, same layout.
    ///
    /// `root_bytes` is the size of the root image with its dm-verity tree. All UUIDs follow from
    /// `seed`, which must be the same for all versions of an image: UKIs of later releases name
    /// the partitions that the first one made. `weights` are the parts of the root with their
    /// bytes, for the error.
    ///
    /// # Errors
    /// [`Id::RootTooLarge`], [`Id::EspTooSmall`], [`Id::StateTooSmall`].
    pub fn plan(
        architecture: Architecture,
        disk: &Disk,
        root_bytes: u64,
        seed: Uuid,
        weights: &[(String, u64)],
    ) -> Result<Self> {
        let mut end = ALIGNMENT.bytes();
        let partitions = Role::ALL.map(|role| {
            let size = match role {
                Role::Esp => disk.esp,
                Role::Meta => META,
                Role::Root(_) => disk.root,
                Role::State => disk.state,
            };
            let guid = Uuid::new_v5(&seed, format!("partition {}", role.name()).as_bytes());
            let guid = Guid::from_uuid_bytes(guid.into_bytes());
            let start = end;
            end += size.bytes();
            Partition { role, size, guid, start }
        });
        let layout = Self { partitions, uki: disk.uki, seed, architecture };
        layout.check_root(root_bytes, weights)?;
        if disk.state.bytes() < state::LEAST_SIZE {
            return Err(Error::new(
                Id::StateTooSmall,
                format!("`STATE` has {} and needs {}", disk.state, mib(state::LEAST_SIZE)),
            )
            .hint(format!(
                "raise `state` in `[disk]`, for example to \"{}\"",
                Disk::default().state
            )));
        }
        let file = |id: usize, size: u64| fat::File {
            path: id.to_string(),
            alias: None,
            content: Content::External { id, size },
        };
        let files = [LOADER_ROOM, disk.uki.bytes(), disk.uki.bytes()];
        layout.esp_plan(
            files.into_iter().enumerate().map(|(id, size)| file(id, size)).collect(),
            0,
        )?;
        Ok(layout)
    }

    /// The partition of this role.
    pub fn partition(&self, role: Role) -> &Partition {
        &self.partitions[role.index()]
    }

    /// The `PARTUUID` that the command line of a slot's UKI names.
    pub fn root_partition(&self, slot: Slot) -> Guid {
        self.partition(Role::Root(slot)).guid
    }

    /// The size of each UKI file.
    pub fn uki(&self) -> Mib {
        self.uki
    }

    /// The size of the whole disk in bytes: the partitions, and the backup table behind them.
    pub fn disk_size(&self) -> u64 {
        let state = self.partition(Role::State);
        state.start + state.size.bytes() + ALIGNMENT.bytes()
    }

    /// The partition table.
    ///
    /// # Errors
    /// [`Id::Bug`].
    pub fn table(&self) -> Result<Table> {
        let partitions = self.partitions.iter().map(|partition| gpt::Partition {
            type_guid: partition.role.type_guid(self.architecture),
            guid: partition.guid,
            name: partition.role.name().to_owned(),
            first_lba: partition.start / gpt::SECTOR,
            last_lba: (partition.start + partition.size.bytes()) / gpt::SECTOR - 1,
            attributes: partition.role.attributes(),
        });
        Table::new(self.disk_guid(), self.disk_size() / gpt::SECTOR, partitions.collect())
            .or_fail(Id::Bug, || "the planned partitions make no table")
    }

    /// A UUID of this image for `purpose`.
    pub(super) fn uuid(&self, purpose: &str) -> Uuid {
        Uuid::new_v5(&self.seed, purpose.as_bytes())
    }

    /// Whether a root image of `bytes` fits its slot.
    pub(super) fn check_root(&self, bytes: u64, weights: &[(String, u64)]) -> Result<()> {
        let slot = self.partition(Role::Root(Slot::A)).size;
        if bytes <= slot.bytes() {
            return Ok(());
        }
        let message = format!("the root image has {} and a slot has {slot}", mib(bytes));
        let mut error = Error::new(Id::RootTooLarge, message);
        if !weights.is_empty() {
            let mut heaviest: Vec<_> = weights.iter().collect();
            heaviest.sort_by(|(name, bytes), (other, others)| {
                others.cmp(bytes).then_with(|| name.cmp(other))
            });
            heaviest.truncate(HEAVIEST);
            let list: Vec<_> =
                heaviest.iter().map(|(name, bytes)| format!("`{name}` {}", mib(*bytes))).collect();
            error = error.hint(format!("the heaviest parts are {}", list.join(", ")));
        }
        Err(error.hint(format!("raise `root` in `[disk]`, for example to \"{}\"", roomy(bytes))))
    }

    /// Plans the file system of the ESP.
    pub(super) fn esp_plan(&self, files: Vec<fat::File>, epoch: u64) -> Result<fat::Plan> {
        let esp = self.partition(Role::Esp);
        let [a, b, c, d, ..] = self.uuid("volume ESP").into_bytes();
        let options = fat::Options {
            size: esp.size.bytes(),
            first_lba: u32::try_from(esp.start / gpt::SECTOR).unwrap_or(0),
            volume_id: u32::from_be_bytes([a, b, c, d]),
            label: Role::Esp.name().to_owned(),
            epoch,
        };
        fat::Plan::new(&options, files).map_err(|error| {
            // Two UKIs, the loader, and the allocation tables, which take 1.6 %.
            let needed = (2 * self.uki.bytes() + 2 * LOADER_ROOM) / 63 * 64;
            if matches!(error, FatError::Size(_)) && esp.size > ESP_MOST {
                let message = format!("the ESP has {} and can have {ESP_MOST}", esp.size);
                return Error::new(Id::EspTooLarge, message).hint(format!(
                    "lower `esp` in `[disk]`, for example to \"{}\"",
                    roomy(needed)
                ));
            }
            let needed = match error {
                FatError::Full { needed: files, available } => {
                    needed.max(esp.size.bytes() + files.saturating_sub(available))
                }
                FatError::Size(_) => needed.max(Mib(33).bytes()),
                _ => return Error::new(Id::Bug, "cannot lay out the ESP").caused_by(error),
            };
            let message = format!(
                "the ESP has {} and cannot hold two UKIs of {} and the boot loader",
                esp.size, self.uki
            );
            Error::new(Id::EspTooSmall, message)
                .hint(format!("raise `esp` in `[disk]`, for example to \"{}\"", roomy(needed)))
        })
    }

    fn disk_guid(&self) -> Guid {
        Guid::from_uuid_bytes(self.uuid("disk").into_bytes())
    }
}

impl fmt::Display for Layout {
    /// A table for people: `build --dry-run`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk_size() / ALIGNMENT.bytes();
        writeln!(f, "disk    {:>8}  {disk:>8} MiB  {}", "", self.disk_guid())?;
        for Partition { role, size, guid, start } in &self.partitions {
            let start = start / ALIGNMENT.bytes();
            writeln!(
                f,
                "{:<7} {start:>8}  {size:>12}  {guid}",
                role.name(),
                size = size.to_string()
            )?;
        }
        Ok(())
    }
}

/// Bytes as mebibytes, with a digit behind the point if there is a rest.
pub(in crate::image) fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1 << 20);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} MiB"),
        (whole, rest) => format!("{whole}.{rest} MiB"),
    }
}

/// A size to propose for what has `bytes`: the next multiple of 8 MiB, and a tenth to spare above
/// 64 MiB.
pub(in crate::image) fn roomy(bytes: u64) -> Mib {
    let whole = bytes.div_ceil(1 << 20);
    let spare = if whole > 64 { whole / 10 } else { 0 };
    Mib(u32::try_from((whole + spare).next_multiple_of(8)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const AMD64: Architecture = Architecture::Amd64;
    const SEED: Uuid = Uuid::from_u128(0x6f72_6c6f_702d_7465_7374_0000_0000_0001);

    #[test]
    fn the_plan_is_a_table() {
        let layout = Layout::plan(AMD64, &Disk::default(), 0, SEED, &[]).unwrap();
        expect![[r#"
            disk                  1731 MiB  d29468ce-7f94-5194-b3e8-5ae85f91054e
            ESP            1       128 MiB  fa20d121-220a-5872-b935-113ba2e0b986
            META         129         1 MiB  a894e3ef-f7d4-5d19-b3c0-ba77e8ac66f7
            ROOT-A       130       768 MiB  e0697f80-9f52-5060-9570-e50fac8ba27c
            ROOT-B       898       768 MiB  e39606e1-6d75-52b5-8506-c0050bd3d6e1
            STATE       1666        64 MiB  d5d20ab1-0ac1-506f-949a-a8eb7abaf47d
        "#]]
        .assert_eq(&layout.to_string());
    }

    #[test]
    fn uuids_follow_from_the_seed_alone() {
        let plan = |disk: &Disk, bytes, seed| Layout::plan(AMD64, disk, bytes, seed, &[]).unwrap();
        let other = Disk { root: Mib(900), ..Disk::default() };
        let (one, two) = (plan(&Disk::default(), 1, SEED), plan(&other, 2, SEED));
        assert_eq!(one.root_partition(Slot::A), two.root_partition(Slot::A));
        assert_ne!(one.root_partition(Slot::A), one.root_partition(Slot::B));
        let another = plan(&Disk::default(), 1, Uuid::nil());
        assert_ne!(one.root_partition(Slot::A), another.root_partition(Slot::A));
    }

    #[test]
    fn a_root_beyond_its_slot_names_what_is_heavy_and_the_key_to_raise() {
        let weights = [("a", 1), ("kubelet", 80), ("containerd", 40), ("b", 2), ("c", 2), ("d", 3)]
            .map(|(name, mib)| (name.to_owned(), mib << 20));
        let bytes = Mib(768).bytes() + 1;
        let error = Layout::plan(AMD64, &Disk::default(), bytes, SEED, &weights).unwrap_err();
        assert_eq!(error.id(), Id::RootTooLarge);
        assert_eq!(error.to_string(), "the root image has 768.1 MiB and a slot has 768 MiB");
        assert_eq!(
            error.hints(),
            [
                "the heaviest parts are `kubelet` 80 MiB, `containerd` 40 MiB, `d` 3 MiB, \
                 `b` 2 MiB, `c` 2 MiB",
                "raise `root` in `[disk]`, for example to \"848 MiB\"",
            ]
        );
        assert!(Layout::plan(AMD64, &Disk::default(), bytes - 1, SEED, &weights).is_ok());
    }

    #[test]
    fn an_esp_without_room_for_two_ukis_proposes_one_that_has_it() {
        for (esp, uki) in [(80, 40), (33, 40), (32, 1), (1, 1), (128, 64), (2000, 1000)] {
            let disk = Disk { esp: Mib(esp), uki: Mib(uki), ..Disk::default() };
            let error = Layout::plan(AMD64, &disk, 0, SEED, &[]).unwrap_err();
            assert_eq!(error.id(), Id::EspTooSmall);
            let hint = error.hints()[0].split('"').nth(1).unwrap().to_owned();
            let esp = Mib::try_from(hint).unwrap();
            assert!(
                Layout::plan(AMD64, &Disk { esp, ..disk }, 0, SEED, &[]).is_ok(),
                "{esp} for {uki}"
            );
        }
    }

    #[test]
    fn an_esp_beyond_what_fat32_can_hold_is_told_to_be_too_large() {
        let plan = |esp| Layout::plan(AMD64, &Disk { esp, ..Disk::default() }, 0, SEED, &[]);
        assert!(plan(ESP_MOST).is_ok());
        let error = plan(Mib(200 * 1024)).unwrap_err();
        assert_eq!(error.id(), Id::EspTooLarge);
        assert_eq!(error.to_string(), "the ESP has 204800 MiB and can have 131072 MiB");
        assert_eq!(error.hints(), ["lower `esp` in `[disk]`, for example to \"96 MiB\""]);
    }

    #[test]
    fn a_state_without_room_for_a_journal_is_refused() {
        let disk = Disk { state: Mib(15), ..Disk::default() };
        let error = Layout::plan(AMD64, &disk, 0, SEED, &[]).unwrap_err();
        assert_eq!(error.id(), Id::StateTooSmall);
        assert_eq!(error.to_string(), "`STATE` has 15 MiB and needs 16 MiB");
        let least = Disk { state: Mib(16), ..Disk::default() };
        assert!(Layout::plan(AMD64, &least, 0, SEED, &[]).is_ok());
    }

    #[test]
    fn sizes_are_told_with_one_digit_and_never_too_small() {
        for (bytes, text) in
            [(0, "0 MiB"), (1, "0.1 MiB"), (1 << 20, "1 MiB"), ((1 << 20) + 1, "1.1 MiB")]
        {
            assert_eq!(mib(bytes), text);
        }
    }
}
