//! Where the parts of a volume lie, and the boot sectors that tell so.

use super::{
    FATS, FILE_ALIGNMENT, FIRST_CLUSTER, FatError, LEAST_SIZE, MOST_SIZE, Options, SECTOR,
};
use crate::le::put;

const SECTOR_BYTES: usize = 512;
/// The root directory stands first.
const ROOT_CLUSTER: u32 = 2;
/// Sectors in front of the allocation tables; more if that aligns the data area.
const RESERVED: u64 = 32;
const BACKUP_BOOT_SECTOR: u8 = 6;

/// Sizes in sectors, which are clusters too.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) reserved: u64,
    pub(super) fat_sectors: u64,
    pub(super) clusters: u64,
}

impl Geometry {
    pub(super) fn new(size: u64) -> Result<Self, FatError> {
        let sectors = size / SECTOR;
        if !size.is_multiple_of(SECTOR) || !(LEAST_SIZE..=MOST_SIZE).contains(&size) {
            return Err(FatError::Size(size));
        }
        // 128 entries a sector; two entries belong to no cluster.
        let fat_sectors = (sectors - RESERVED + FIRST_CLUSTER).div_ceil(128 + FATS);
        let reserved =
            (RESERVED + FATS * fat_sectors).next_multiple_of(FILE_ALIGNMENT) - FATS * fat_sectors;
        let clusters = sectors - reserved - FATS * fat_sectors;
        Ok(Self { reserved, fat_sectors, clusters })
    }

    pub(super) fn offset(&self, cluster: u32) -> u64 {
        let sector = self.reserved + FATS * self.fat_sectors + u64::from(cluster) - FIRST_CLUSTER;
        sector * SECTOR
    }

    /// The boot sector and the free-space sector, and their copies.
    pub(super) fn boot_sectors(
        &self,
        options: &Options,
        label: [u8; 11],
        used_clusters: u64,
    ) -> Vec<u8> {
        let mut boot = [0; SECTOR_BYTES];
        put(&mut boot, 0, [0xEB, 0x58, 0x90]);
        put(&mut boot, 3, *b"MSWIN4.1");
        put(&mut boot, 11, 512_u16.to_le_bytes());
        boot[13] = 1;
        put(&mut boot, 14, [self.reserved.to_le_bytes()[0], 0]);
        boot[16] = 2;
        boot[21] = 0xF8;
        put(&mut boot, 24, 63_u16.to_le_bytes());
        put(&mut boot, 26, 255_u16.to_le_bytes());
        put(&mut boot, 28, options.first_lba.to_le_bytes());
        put(&mut boot, 32, low_u32(options.size / SECTOR));
        put(&mut boot, 36, low_u32(self.fat_sectors));
        put(&mut boot, 44, ROOT_CLUSTER.to_le_bytes());
        put(&mut boot, 48, 1_u16.to_le_bytes());
        boot[50] = BACKUP_BOOT_SECTOR;
        boot[64] = 0x80;
        boot[66] = 0x29;
        put(&mut boot, 67, options.volume_id.to_le_bytes());
        put(&mut boot, 71, label);
        put(&mut boot, 82, *b"FAT32   ");
        // `hlt` for ever: who boots this by BIOS sees nothing instead of a crash.
        put(&mut boot, 90, [0xF4, 0xEB, 0xFD]);
        put(&mut boot, 510, 0xAA55_u16.to_le_bytes());

        let mut info = [0; SECTOR_BYTES];
        put(&mut info, 0, *b"RRaA");
        put(&mut info, 484, *b"rrAa");
        put(&mut info, 488, low_u32(self.clusters - used_clusters));
        put(&mut info, 492, ROOT_CLUSTER.to_le_bytes());
        put(&mut info, 508, 0xAA55_0000_u32.to_le_bytes());

        let backup = usize::from(BACKUP_BOOT_SECTOR) * SECTOR_BYTES;
        let mut sectors = vec![0; backup + 2 * SECTOR_BYTES];
        for at in [0, backup] {
            put(&mut sectors, at, boot);
            put(&mut sectors, at + SECTOR_BYTES, info);
        }
        sectors
    }
}

/// For values that [`Geometry::new`] has bounded.
fn low_u32(value: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = value.to_le_bytes();
    [a, b, c, d]
}
