//! Two initrds: the header of gzip, then entry by entry of the archive in them.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::bufread::GzDecoder;
use formats::cpio::{self, FIELDS, Read};

use super::content;
use super::fields;
use super::place::{Finding, Looks, Part};

/// An initrd is held in memory: one that unpacks to more is none of ours.
const MOST: u64 = 1 << 30;

/// Numbers that may follow from what else is in the archive, by their place in [`FIELDS`]: inode
/// number, links, size, the device that the archive came from, length of the name. They are told
/// where nothing else differs.
const FOLLOWS: [usize; 6] = [0, 4, 6, 7, 8, 11];
const MODE: usize = 1;
/// `S_IFMT` and `S_IFLNK` of `include/uapi/linux/stat.h`.
const TYPE: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const TIME: usize = 5;

/// All that differs; nothing, if one of them cannot be read and the place is not known.
pub(super) fn compare(one: &[u8], two: &[u8]) -> Vec<Finding> {
    let head = |bytes: &[u8]| bytes.get(..content::GZIP_HEADER).unwrap_or_default().to_vec();
    let mut found = fields::compare(&head(one), &head(two), &content::GZIP);
    let (Some((first, end)), Some((second, other_end))) = (unpacked(one), unpacked(two)) else {
        return found;
    };
    if first == second {
        if found.is_empty() {
            let at = content::same_bytes(one, two);
            // The kernel unpacks what is behind an archive, too.
            let (what, start) = if at >= end.min(other_end) {
                ("data behind the archive", end.min(other_end))
            } else {
                ("compressed data of the same archive", 0)
            };
            let number = (at - start) as u64;
            found.push(Finding::at([Part::field(what), Part::Byte { number }]));
        }
        return found;
    }
    match (cpio::entries(&first), cpio::entries(&second)) {
        (Ok(ones), Ok(twos)) => {
            let mut inner = archives(&ones, &twos, |index| !FOLLOWS.contains(&index));
            if inner.is_empty() {
                inner = archives(&ones, &twos, |_| true);
            }
            if inner.is_empty() {
                let at = content::same_bytes(&first, &second);
                let zero = |bytes: &[u8]| bytes.get(at).is_none_or(|byte| *byte == 0);
                let padding = (zero(&first) || zero(&second)).then_some(Part::Padding);
                let byte = Part::Byte { number: at as u64 };
                let parts = [Part::field("archive")].into_iter().chain(padding).chain([byte]);
                inner.push(Finding::at(parts));
            }
            found.extend(inner);
        }
        _ => found.push(content::compare(&first, &second)),
    }
    found
}

/// The archive, and where in the file what it is compressed to ends.
fn unpacked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut archive = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(MOST + 1);
    decoder.read_to_end(&mut archive).ok()?;
    let behind = decoder.into_inner().into_inner().len();
    (archive.len() as u64 <= MOST).then_some((archive, bytes.len() - behind))
}

/// `told` says which numbers count.
fn archives(one: &[Read<'_>], two: &[Read<'_>], told: impl Fn(usize) -> bool) -> Vec<Finding> {
    // A name may come again; the kernel takes the last one.
    let by_name = |entries: &[Read<'_>]| -> BTreeMap<(String, usize), usize> {
        let mut times = BTreeMap::new();
        let names = entries.iter().enumerate();
        names
            .map(|(index, entry)| {
                let name = path(entry);
                let time = times.entry(name.clone()).or_insert(0);
                *time += 1;
                ((name, *time), index)
            })
            .collect()
    };
    let (ones, twos) = (by_name(one), by_name(two));
    let mut found = Vec::new();
    for key in ones.keys().chain(twos.keys().filter(|key| !ones.contains_key(*key))) {
        let (name, _) = key;
        match (ones.get(key), twos.get(key)) {
            (Some(first), Some(second)) => {
                let inner = entries(&one[*first], &two[*second], &told);
                found.extend(inner.into_iter().map(|found| found.within([Part::path(name)])));
            }
            (first, _) => found.push(Finding::presence(Part::path(name), first.is_some())),
        }
    }
    let names = |entries: &[Read<'_>]| entries.iter().map(path).collect::<Vec<_>>();
    let (first, second) = (names(one), names(two));
    if ones.keys().eq(twos.keys()) && first != second {
        let at = first.iter().zip(&second).position(|(one, two)| one != two);
        let name = |names: &[String]| at.and_then(|at| names.get(at).cloned()).unwrap_or_default();
        let order = Finding::at([Part::field("entries"), Part::Order]);
        found.insert(0, order.values(name(&first), name(&second)));
    }
    found
}

fn path(entry: &Read<'_>) -> String {
    let name = if entry.name == "." { "" } else { entry.name };
    format!("/{}", name.strip_prefix("./").unwrap_or(name).trim_start_matches('/'))
}

fn entries(one: &Read<'_>, two: &Read<'_>, told: impl Fn(usize) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, name) in FIELDS.iter().enumerate() {
        let (first, second) = (one.numbers[index], two.numbers[index]);
        if first == second || !told(index) {
            continue;
        }
        let attribute = Finding::at([Part::attribute(*name)]);
        found.push(match index {
            MODE => attribute.values(format!("{first:06o}"), format!("{second:06o}")),
            _ => attribute.values(first, second),
        });
        if let Some(last) = found.last_mut() {
            last.looks = (index == TIME).then_some(Looks::Time);
        }
    }
    let is_link = |entry: &Read<'_>| entry.numbers[MODE] & TYPE == LINK;
    if one.body != two.body && is_link(one) && is_link(two) {
        let target = |entry: &Read<'_>| String::from_utf8_lossy(entry.body).into_owned();
        found.push(Finding::at([Part::attribute("target")]).values(target(one), target(two)));
    } else if one.body != two.body {
        found.push(content::compare(one.body, two.body).within([Part::Content]));
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};

    use super::*;

    /// An entry: name, mode, owner, time, content.
    pub(crate) type Entry<'a> = (&'a str, u32, u32, u32, &'a str);

    /// An initrd of these entries, compressed at `time`.
    pub(crate) fn packed(entries: &[Entry<'_>], time: u32) -> Vec<u8> {
        compressed(&archive(entries), time)
    }

    fn compressed(archive: &[u8], time: u32) -> Vec<u8> {
        let mut gzip = GzBuilder::new().mtime(time).write(Vec::new(), Compression::best());
        gzip.write_all(archive).unwrap();
        gzip.finish().unwrap()
    }

    fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (ino, (name, mode, owner, time, body)) in
            (0..).zip(entries.iter().chain([&("TRAILER!!!", 0, 0, 0, "")]))
        {
            archive.extend(b"070701");
            let (length, size) = (name.len() + 1, body.len());
            for number in [ino, *mode as usize, *owner as usize, 0, 1, *time as usize, size] {
                archive.extend(format!("{number:08x}").bytes());
            }
            for number in [0, 0, 0, 0, length, 0] {
                archive.extend(format!("{number:08x}").bytes());
            }
            archive.extend(name.bytes().chain([0]));
            archive.resize(archive.len().next_multiple_of(4), 0);
            archive.extend(body.bytes());
            archive.resize(archive.len().next_multiple_of(4), 0);
        }
        archive
    }

    const PLAIN: [Entry<'_>; 3] =
        [(".", 0o040_755, 0, 0, ""), ("etc", 0o040_755, 0, 0, ""), ("init", 0o100_755, 0, 0, "1")];

    fn places(one: &[u8], two: &[u8]) -> Vec<String> {
        compare(one, two).iter().map(|found| found.place.to_string()).collect()
    }

    #[test]
    fn every_kind_of_difference_of_an_entry_is_named() {
        let plain = packed(&PLAIN, 0);
        let [root, etc, init] = PLAIN;
        for (entries, want) in [
            ([root, etc, (init.0, 0o100_700, 0, 0, "1")], "/init, mode"),
            ([root, etc, (init.0, init.1, 7, 0, "1")], "/init, owner"),
            ([root, etc, (init.0, init.1, 0, 1_795_000_000, "1")], "/init, time"),
            ([root, etc, (init.0, init.1, 0, 0, "2")], "/init, content, line 1"),
            ([root, init, etc], "entries, order"),
        ] {
            let found = compare(&plain, &packed(&entries, 0));
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].place.to_string(), want);
            assert_eq!(found[0].looks, want.ends_with("time").then_some(Looks::Time));
        }
        let found = compare(&plain, &packed(&[root, etc], 0));
        assert_eq!(found[0].place.to_string(), "/init, is in one of them only");
        assert_eq!(found[0].two.as_deref(), Some("not there"));
    }

    /// What a hard link changes, and what only the archiver knows.
    #[test]
    fn numbers_that_follow_are_told_where_nothing_else_differs() {
        let plain = archive(&PLAIN);
        let init = plain.windows(5).position(|window| window == b"init\0").unwrap() - 110;
        for (number, want) in
            [(4, "/init, number of links"), (0, "/init, inode number"), (12, "/init, checksum")]
        {
            let mut two = plain.clone();
            two[init + 6 + 8 * number + 7] = b'9';
            assert_eq!(places(&compressed(&plain, 0), &compressed(&two, 0)), [want]);
        }
    }

    #[test]
    fn names_with_dots_links_and_names_that_come_again_are_told_apart() {
        let [root, _, init] = PLAIN;
        let link = |target| ("x", 0o120_777, 0, 0, target);
        let hidden = |name| (name, 0o100_644, 0, 0, "1");
        for (one, two, want) in [
            ([root, init, link("a")], [root, init, link("b")], "/x, target"),
            (
                [root, init, hidden(".x")],
                [root, init, hidden("./x")],
                "/.x, is in one of them only",
            ),
            ([root, init, init], [root, init, hidden("y")], "/init, is in one of them only"),
        ] {
            assert_eq!(places(&packed(&one, 0), &packed(&two, 0))[0], want);
        }
    }

    #[test]
    fn a_time_of_gzip_and_another_compression_are_no_entries() {
        let plain = packed(&PLAIN, 0);
        assert_eq!(places(&plain, &packed(&PLAIN, 1_795_000_000)), ["time of gzip"]);
        let (mut archive, _) = unpacked(&plain).unwrap();
        let stored = |archive: &[u8]| {
            let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::none());
            gzip.write_all(archive).unwrap();
            let mut bytes = gzip.finish().unwrap();
            bytes[8] = 2;
            bytes
        };
        let place = &places(&plain, &stored(&archive))[0];
        assert!(place.starts_with("compressed data of the same archive, byte 1"), "{place}");
        archive.push(1);
        let number = archive.len() - 1;
        assert_eq!(places(&plain, &stored(&archive)), [format!("archive, padding, byte {number}")]);
        // The kernel would unpack a second archive, which nobody has asked for.
        let two = [plain.clone(), packed(&[("evil", 0o100_755, 0, 0, "")], 0)].concat();
        assert_eq!(places(&plain, &two), ["data behind the archive, byte 0"]);
        assert_eq!(places(b"", b"x"), [""; 0], "what is no initrd has no place");
    }
}
