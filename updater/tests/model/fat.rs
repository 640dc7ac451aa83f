//! The clusters of the directory of entries, which firmware makes longer when it is full.

use std::collections::BTreeMap;

use crate::disk::{Image, SECTOR};

/// Where a volume with clusters of one sector has its tables and its clusters, in bytes of the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clusters {
    tables: [u64; 2],
    /// Bytes of a table.
    length: u64,
    data: u64,
}

const ENTRY: u64 = 4;
/// From here on a number ends a chain.
const END: u32 = 0x0FFF_FFF8;
const LAST: u32 = 0x0FFF_FFFF;

impl Clusters {
    /// Of the volume that begins at `start`.
    pub(crate) fn of(image: &Image, start: u64) -> Self {
        let boot = image.sector(start / SECTOR as u64);
        let sector = SECTOR as u64;
        let reserved = u64::from(u16::from_le_bytes([boot[14], boot[15]])) * sector;
        let length = u32::from_le_bytes([boot[36], boot[37], boot[38], boot[39]]);
        let length = u64::from(length) * sector;
        assert!(boot[13] == 1 && boot[16] == 2, "one sector in a cluster, and two tables");
        let first = start + reserved;
        Self { tables: [first, first + length], length, data: first + 2 * length }
    }

    /// Where a cluster stands.
    pub(crate) fn place(self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - 2) * SECTOR as u64
    }

    /// The cluster that stands there.
    fn cluster(self, place: u64) -> u32 {
        u32::try_from((place - self.data) / SECTOR as u64 + 2).unwrap()
    }

    fn get(self, image: &Image, cluster: u32) -> u32 {
        let at = self.tables[0] + u64::from(cluster) * ENTRY;
        let sector = image.sector(at / SECTOR as u64);
        let at = usize::try_from(at).unwrap() % SECTOR;
        u32::from_le_bytes(sector[at..at + 4].try_into().unwrap()) & LAST
    }

    /// The places of a chain, from that of its first cluster on.
    pub(crate) fn chain(self, image: &Image, first: u64) -> Vec<u64> {
        let mut places = vec![first];
        loop {
            let next = self.get(image, self.cluster(places[places.len() - 1]));
            if next >= END {
                return places;
            }
            places.push(self.place(next));
        }
    }

    /// What is written to make a chain that ends at `last` longer, and where the new cluster stands.
    pub(crate) fn lengthen(self, image: &Image, last: u64) -> (BTreeMap<u64, [u8; SECTOR]>, u64) {
        let last = self.cluster(last);
        let most = u32::try_from(self.length / ENTRY).unwrap();
        let free = (2..most).find(|cluster| self.get(image, *cluster) == 0).unwrap();
        let mut writes = BTreeMap::new();
        for table in self.tables {
            for (cluster, value) in [(last, free), (free, LAST)] {
                let at = table + u64::from(cluster) * ENTRY;
                let within = usize::try_from(at).unwrap() % SECTOR;
                let (offset, number) = (at - within as u64, at / SECTOR as u64);
                let sector = writes.entry(offset).or_insert_with(|| image.sector(number));
                sector[within..within + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        (writes, self.place(free))
    }
}
