//! What a SCSI disk says of itself: page 0x83 of its vital product data, which the kernel keeps in
//! `vpd_pg83`, read as udev's `scsi_id` reads it, and for ATA disks as `ata_id` would name them
//! (SPC-4 section 7.8.6; libata puts model and serial number into the page).

use super::escape::{joined, replaced};

/// How a disk is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Identity {
    /// `scsi` or `ata`, the beginning of its name.
    pub(super) bus: &'static str,
    /// `ID_SERIAL`.
    pub(super) serial: String,
    /// `ID_SERIAL_SHORT`.
    pub(super) serial_short: String,
    /// `ID_WWN_WITH_EXTENSION`.
    pub(super) wwn: Option<String>,
}

/// One designator of the page.
struct Designator<'a> {
    code_set: u8,
    kind: u8,
    bytes: &'a [u8],
}

const VENDOR_SPECIFIC: u8 = 0;
const T10_VENDOR: u8 = 1;
const EUI_64: u8 = 2;
const NAA: u8 = 3;
const BINARY: u8 = 1;
const ASCII: u8 = 2;

/// What is preferred: the kind, and of NAA the sort.
const ORDER: &[(u8, Option<u8>)] = &[
    (NAA, Some(6)),
    (NAA, Some(5)),
    (NAA, None),
    (EUI_64, None),
    (T10_VENDOR, None),
    (VENDOR_SPECIFIC, None),
];

/// `vendor` and `model` as in sysfs, filled up with blanks there.
pub(super) fn identity(page_83: &[u8], vendor: &str, model: &str) -> Option<Identity> {
    let all = designators(page_83)?;
    if vendor.trim_end() == "ATA" {
        return ata(&all);
    }
    let find = |&(kind, sort): &(u8, Option<u8>)| {
        [BINARY, ASCII].into_iter().find_map(|code_set| {
            all.iter().find(|one| {
                let fits =
                    sort.is_none_or(|sort| one.bytes.first().is_some_and(|b| b >> 4 == sort));
                one.kind == kind && one.code_set == code_set && fits
            })
        })
    };
    let best = ORDER.iter().find_map(find)?;
    let short = best.text();
    let whole = match best.kind {
        // Not unique by itself.
        VENDOR_SPECIFIC => format!("0{vendor:8.8}{model:16.16}{short}"),
        kind => format!("{kind:x}{short}"),
    };
    let plain = |text: &str| replaced(&joined(text), "");
    let wwn = (best.kind == NAA).then(|| format!("0x{}", plain(&short)));
    let serial_short = plain(&short);
    (!serial_short.is_empty()).then(|| Identity {
        bus: "scsi",
        serial: plain(&whole),
        serial_short,
        wwn,
    })
}

impl Designator<'_> {
    fn text(&self) -> String {
        if self.code_set == ASCII {
            let text = String::from_utf8_lossy(self.bytes);
            // C strings end here.
            text.split('\0').next().unwrap_or_default().to_owned()
        } else {
            self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

/// libata's T10 designator: `ATA` in 8 letters, the model in 40, the serial number in 20.
fn ata(all: &[Designator<'_>]) -> Option<Identity> {
    let one = all.iter().find(|one| one.kind == T10_VENDOR && one.code_set == ASCII)?;
    let part = |from: usize, to: usize| {
        let bytes = one.bytes.get(from..to.min(one.bytes.len()))?;
        let text = replaced(&joined(&String::from_utf8_lossy(bytes)), "");
        (!text.is_empty()).then_some(text)
    };
    let (model, serial_short) = (part(8, 48)?, part(48, 68)?);
    let wwn = all.iter().find(|one| one.kind == NAA && one.code_set == BINARY);
    Some(Identity {
        bus: "ata",
        serial: format!("{model}_{serial_short}"),
        serial_short,
        wwn: wwn.map(|one| format!("0x{}", one.text())),
    })
}

/// Of the disk itself, not of its port or its target.
fn designators(page: &[u8]) -> Option<Vec<Designator<'_>>> {
    let (&[_, 0x83, high, low], rest) = page.split_first_chunk::<4>()? else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let mut rest = rest.get(..length).unwrap_or(rest);
    let mut all = Vec::new();
    while let Some((&[code, kind, _, length], after)) = rest.split_first_chunk::<4>() {
        let Some((bytes, after)) = after.split_at_checked(usize::from(length)) else { break };
        if kind & 0x30 == 0 {
            all.push(Designator { code_set: code & 0x0f, kind: kind & 0x0f, bytes });
        }
        rest = after;
    }
    Some(all)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A page of designators: code set, association and kind, bytes.
    pub(in crate::devices::links) fn page(parts: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (code_set, kind, bytes) in parts {
            body.extend([*code_set, *kind, 0, u8::try_from(bytes.len()).unwrap()]);
            body.extend(*bytes);
        }
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[0, 0x83][..], &length, &body].concat()
    }

    fn found(parts: &[(u8, u8, &[u8])], vendor: &str, model: &str) -> (String, String, String) {
        let one = identity(&page(parts), vendor, model).unwrap();
        (format!("{}-{}", one.bus, one.serial), one.serial_short, one.wwn.unwrap_or_default())
    }

    #[test]
    fn disks_of_hypervisors_and_of_shops_are_named_as_udev_names_them() {
        let naa = [0x50, 0x00, 0xc5, 0x00, 0xa1, 0xb2, 0xc3, 0xd4];
        let long = [0x60, 0x02, 0x24, 0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let (t, s) = (String::from, |text: &str| text.to_owned());
        assert_eq!(
            found(&[(2, 0, b"drive-scsi0")], "QEMU    ", "QEMU HARDDISK   "),
            (t("scsi-0QEMU_QEMU_HARDDISK_drive-scsi0"), s("drive-scsi0"), s(""))
        );
        assert_eq!(
            found(&[(2, 0, b"my-disk")], "Google", "PersistentDisk"),
            (t("scsi-0Google_PersistentDisk_my-disk"), s("my-disk"), s(""))
        );
        assert_eq!(
            found(&[(2, 0, b"x"), (1, 3, &naa)], "QEMU", "QEMU HARDDISK"),
            (t("scsi-35000c500a1b2c3d4"), s("5000c500a1b2c3d4"), s("0x5000c500a1b2c3d4"))
        );
        // The extended one before the short one, whatever their order.
        assert_eq!(
            found(&[(1, 3, &naa), (1, 3, &long)], "Msft", "Virtual Disk"),
            (
                t("scsi-3600224800102030405060708090a0b0c"),
                s("600224800102030405060708090a0b0c"),
                s("0x600224800102030405060708090a0b0c")
            )
        );
        // What is the port's is not the disk's.
        assert_eq!(
            found(&[(1, 0x13, &naa), (2, 1, b"LIO-ORG disk1:abc")], "LIO-ORG", "disk1").0,
            "scsi-1LIO-ORG_disk1:abc"
        );
        let ata = format!("ATA     {:40}{:>20}", "QEMU HARDDISK", "QM00001");
        assert_eq!(
            found(&[(2, 0, b"QM00001"), (2, 1, ata.as_bytes()), (1, 3, &naa)], "ATA     ", "QEMU"),
            (t("ata-QEMU_HARDDISK_QM00001"), s("QM00001"), s("0x5000c500a1b2c3d4"))
        );
    }

    #[test]
    fn a_page_that_names_nothing_is_none() {
        for bytes in
            [vec![], vec![0, 0x80, 0, 0], page(&[]), page(&[(2, 0, b"")]), page(&[(2, 0, b"  ")])]
        {
            assert_eq!(identity(&bytes, "QEMU", "QEMU HARDDISK"), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..80), ata in any::<bool>()) {
            let vendor = if ata { "ATA" } else { "é" };
            let _ = identity(&body, vendor, "model");
            let head = [0, 0x83, 0, 60];
            let _ = identity(&[&head[..], &body].concat(), vendor, "");
        }
    }
}
