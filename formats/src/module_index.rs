//! The binary indexes beside kernel modules, as `modprobe` of a container reads them: it asks
//! `modules.dep.bin`, `modules.alias.bin` and `modules.builtin.bin`, never the text files. The format
//! is that of kmod's `libkmod/libkmod-index.h`: a trie over ASCII keys, all numbers big-endian,
//! children before their parents, the root's offset in the head.
//!
//! ```text
//! magic u32, version u32, root u32
//! node: [prefix, 0] [first u8, last u8, u32 per child] [count u32, count x (priority u32, value, 0)]
//! ```
//!
//! Which of the three parts a node has, the upper bits of the reference to it say. Keys may be
//! patterns; the reader takes `*`, `?` and `[` as such.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// Keys with their values. Of several values of one key the one that was added first comes first.
#[derive(Debug, Clone, Default)]
pub struct ModuleIndex {
    // Invariant: keys are ASCII without NUL, values without NUL.
    values: BTreeMap<Vec<u8>, Vec<(u32, String)>>,
    added: u32,
}

/// A key and its values.
type Entry<'a> = (&'a [u8], &'a [(u32, String)]);

impl ModuleIndex {
    /// An index without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. One whose key is not ASCII, or that holds a NUL, can be in no index and nobody
    /// can ask for it: it is left out.
    pub fn add(&mut self, key: &str, value: &str) {
        if key.is_ascii() && !key.contains('\0') && !value.contains('\0') {
            let values = self.values.entry(key.as_bytes().to_vec()).or_default();
            values.push((self.added, value.to_owned()));
            self.added = self.added.saturating_add(1);
        }
    }

    /// The file's bytes. An index that would be larger than the 256 MiB to which its references
    /// reach is none of a kernel's modules.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [MAGIC, VERSION, 0] {
            out.extend(number.to_be_bytes());
        }
        let entries: Vec<_> =
            self.values.iter().map(|(key, values)| (key.as_slice(), values.as_slice())).collect();
        let root = node(&entries, 0, &mut out);
        out[8..12].copy_from_slice(&root.to_be_bytes());
        out
    }
}

/// Writes the node of these entries, whose keys agree in their first `depth` bytes, behind its
/// children; gives the reference to it. The root has the empty key and never a prefix.
fn node(entries: &[Entry<'_>], depth: usize, out: &mut Vec<u8>) -> u32 {
    let end = if depth == 0 { 0 } else { common(entries, depth) };
    let (own, below) = match entries.split_first() {
        // Sorted: a key that ends here comes first.
        Some(((key, values), below)) if key.len() == end => (*values, below),
        _ => (&[][..], entries),
    };
    let mut children = BTreeMap::new();
    let groups = below.chunk_by(|(one, _), (other, _)| one[end] == other[end]);
    for group in groups {
        children.insert(group[0].0[end], node(group, end + 1, out));
    }

    let mut reference = u32::try_from(out.len()).unwrap_or(u32::MAX) & 0x0fff_ffff;
    let prefix = entries.first().map_or(&[][..], |(key, _)| &key[depth..end]);
    if !prefix.is_empty() {
        reference |= HAS_PREFIX;
        out.extend(prefix);
        out.push(0);
    }
    if let (Some((&first, _)), Some((&last, _))) =
        (children.first_key_value(), children.last_key_value())
    {
        reference |= HAS_CHILDREN;
        out.extend([first, last]);
        for byte in first..=last {
            out.extend(children.get(&byte).copied().unwrap_or(0).to_be_bytes());
        }
    }
    if !own.is_empty() {
        reference |= HAS_VALUES;
        out.extend(u32::try_from(own.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (priority, value) in own {
            out.extend(priority.to_be_bytes());
            out.extend(value.as_bytes());
            out.push(0);
        }
    }
    reference
}

/// How many of their first bytes, at least `depth`, all keys share: by the first and the last, for
/// they are sorted.
fn common(entries: &[Entry<'_>], depth: usize) -> usize {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        return depth;
    };
    let shared = first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b);
    depth + shared.count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What kmod's reader does with a key that is no pattern (`index_search__node`).
    fn search(file: &[u8], key: &[u8]) -> Vec<String> {
        let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        let text = |at: usize| {
            let end = file[at..].iter().position(|byte| *byte == 0).unwrap();
            &file[at..at + end]
        };
        let mut reference = number(8);
        let mut key = key;
        loop {
            let mut at = (reference & 0x0fff_ffff) as usize;
            if reference & HAS_PREFIX != 0 {
                let prefix = text(at);
                at += prefix.len() + 1;
                let Some(rest) = key.strip_prefix(prefix) else { return Vec::new() };
                key = rest;
            }
            let mut child = 0;
            if reference & HAS_CHILDREN != 0 {
                let (first, last) = (file[at], file[at + 1]);
                if let Some(&byte) = key.first().filter(|byte| (first..=last).contains(byte)) {
                    child = number(at + 2 + 4 * usize::from(byte - first));
                }
                at += 2 + 4 * (usize::from(last - first) + 1);
            }
            if let Some((_, rest)) = key.split_first() {
                if child == 0 {
                    return Vec::new();
                }
                (reference, key) = (child, rest);
                continue;
            }
            let mut values = Vec::new();
            if reference & HAS_VALUES != 0 {
                let count = number(at);
                at += 4;
                for _ in 0..count {
                    let value = text(at + 4);
                    values.push(String::from_utf8(value.to_vec()).unwrap());
                    at += 4 + value.len() + 1;
                }
            }
            return values;
        }
    }

    #[test]
    fn an_index_is_written_as_depmod_writes_it() {
        let mut index = ModuleIndex::new();
        index.add("tun", "kernel/tun.ko:");
        index.add("tunnel4", "kernel/tunnel4.ko:");
        let bytes = index.encode();
        // The leaf, `tun` with its child, the root.
        let mut want: Vec<u8> = Vec::new();
        want.extend(b"\xb0\x07\xf4\x57\x00\x02\x00\x01\x20\x00\x00\x4b");
        want.extend(b"el4\0\x00\x00\x00\x01\x00\x00\x00\x01kernel/tunnel4.ko:\0");
        want.extend(b"un\0nn\xc0\x00\x00\x0c");
        want.extend(b"\x00\x00\x00\x01\x00\x00\x00\x00kernel/tun.ko:\0");
        want.extend(b"tt\xe0\x00\x00\x2b");
        assert_eq!(bytes, want, "{bytes:02x?}");
    }

    #[test]
    fn what_cannot_be_asked_for_is_left_out() {
        let mut index = ModuleIndex::new();
        for (key, value) in [("é", "a"), ("a\0", "a"), ("a", "a\0")] {
            index.add(key, value);
        }
        assert_eq!(index.encode(), ModuleIndex::new().encode());
        assert_eq!(search(&index.encode(), b"a"), [""; 0]);
    }

    proptest! {
        #[test]
        fn each_key_has_its_values_in_order_and_no_other_key_has_any(
            entries in prop::collection::vec(("[ab]{0,4}", "[a-z]{0,3}"), 0..20),
            other in "[abc]{0,5}",
        ) {
            let mut index = ModuleIndex::new();
            let mut want = BTreeMap::<&str, Vec<&str>>::new();
            for (key, value) in &entries {
                index.add(key, value);
                want.entry(key).or_default().push(value);
            }
            let bytes = index.encode();
            for (key, values) in &want {
                prop_assert_eq!(&search(&bytes, key.as_bytes()), values);
            }
            if !want.contains_key(other.as_str()) {
                prop_assert_eq!(search(&bytes, other.as_bytes()), Vec::<String>::new());
            }
        }
    }
}
