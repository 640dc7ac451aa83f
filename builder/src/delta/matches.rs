//! Where the bytes of a new image stand in an old one. The way is that of bsdiff (Colin Percival,
//! "Naive differences of executable code", 2003): from the longest equal pieces, which the suffix
//! array of the old image gives, copies are grown in both directions over single bytes that
//! differ, for code that was moved differs from what it was in addresses only.

use formats::delta::Instruction;

/// A suffix array, and where in it each pair of bytes begins, so that few steps are left to find
/// a piece.
pub(super) struct Suffixes<'a> {
    text: &'a [u8],
    // Invariant: where the suffixes of `text` begin, in the order of what they say.
    sorted: &'a [i32],
    // Bytes of a prefix whose place is known.
    prefix: usize,
    // Invariant: how many suffixes say less than this prefix.
    starts: Vec<u32>,
}

/// A text of more bytes has a table of prefixes of three bytes, 64 MiB; others one of two.
const SMALL: usize = 1 << 20;

/// An equal piece is better than going on with the copy if it has so many equal bytes more.
const BETTER: usize = 8;

/// An equal piece of this length is gone on with without a search for a longer one.
const GOOD: usize = 32;

impl<'a> Suffixes<'a> {
    /// Over a text and its suffix array.
    pub(super) fn new(text: &'a [u8], sorted: &'a [i32]) -> Self {
        let prefix = if text.len() > SMALL { 3 } else { 2 };
        let mut starts = vec![0_u32; (1 << (8 * prefix)) + 1];
        // A suffix shorter than a prefix stands in front of all that begin with it: it is counted
        // as if zeros followed.
        for start in 0..text.len() {
            starts[number(&text[start..], prefix) + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Self { text, sorted, prefix, starts }
    }

    /// Where the longest piece with which `wanted` begins stands, and its length; 0 if it is
    /// shorter than a prefix.
    fn longest(&self, wanted: &[u8]) -> (usize, usize) {
        if wanted.len() < self.prefix {
            return (0, 0);
        }
        let slot = number(wanted, self.prefix);
        let (mut low, mut high) = (self.starts[slot] as usize, self.starts[slot + 1] as usize);
        if low == high {
            return (0, 0);
        }
        // The neighbours of where `wanted` would stand are the most alike.
        let (first, last) = (low, high - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.suffix(middle);
            let length = equal(&self.text[at..], wanted);
            let less = match (self.text.get(at + length), wanted.get(length)) {
                (_, None) => return (at, length),
                (None, Some(_)) => true,
                (Some(here), Some(there)) => here < there,
            };
            if less {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let candidates = [low.saturating_sub(1).max(first), low.min(last)];
        let measured = candidates.map(|index| {
            let at = self.suffix(index);
            (at, equal(&self.text[at..], wanted))
        });
        if measured[0].1 >= measured[1].1 { measured[0] } else { measured[1] }
    }

    fn suffix(&self, index: usize) -> usize {
        usize::try_from(self.sorted[index]).unwrap_or(0)
    }
}

/// The first bytes as a number, with zeros for those that are missing.
fn number(bytes: &[u8], prefix: usize) -> usize {
    let byte = |index| bytes.get(index).copied().map_or(0, usize::from);
    (0..prefix).fold(0, |number, index| number << 8 | byte(index))
}

/// How many bytes two pieces have in common at their beginning.
fn equal(one: &[u8], other: &[u8]) -> usize {
    const WORD: usize = 8;
    let most = one.len().min(other.len());
    let (one, other) = (&one[..most], &other[..most]);
    let words = one.as_chunks::<WORD>().0.iter().zip(other.as_chunks::<WORD>().0);
    let whole = words.take_while(|(one, other)| one == other).count() * WORD;
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// A copy that is being grown: `new` corresponds to `old`, and both are counted on from there.
#[derive(Clone, Copy)]
struct Anchor {
    old: usize,
    new: usize,
}

/// How `new` is made of the text of `suffixes`, in order and to its end.
pub(super) fn instructions(suffixes: &Suffixes<'_>, new: &[u8], mut sink: impl FnMut(Instruction)) {
    let old = suffixes.text;
    let mut last = Anchor { old: 0, new: 0 };
    let mut scan = 0;
    while scan < new.len() {
        let found = next_anchor(suffixes, new, last, &mut scan);
        let forward = grow_forward(old, new, last, scan);
        let backward = found.map_or(0, |found| grow_backward(old, new, found, last.new));
        let (forward, backward) = match found {
            Some(found) => share(old, new, last, forward, found, backward),
            None => (forward, 0),
        };
        let literal = scan - backward - (last.new + forward);
        sink(Instruction { from: last.old, copied: forward, literal });
        if let Some(found) = found {
            last = Anchor { old: found.old - backward, new: found.new - backward };
        }
    }
}

/// From `scan` on, the next place where another piece of the old image is better than going on
/// as `last` does; `scan` is then there, or at the end.
fn next_anchor(
    suffixes: &Suffixes<'_>,
    new: &[u8],
    last: Anchor,
    scan: &mut usize,
) -> Option<Anchor> {
    let old = suffixes.text;
    // Whether going on as `last` does gives the right byte.
    let goes_on = |at: usize| old.get(at - last.new + last.old) == Some(&new[at]);
    // How many bytes of the piece that was found are right if one goes on: counted up to `counted`.
    let (mut right, mut counted) = (0, *scan);
    while *scan < new.len() {
        let ahead =
            old.get(*scan - last.new + last.old..).map_or(0, |old| equal(old, &new[*scan..]));
        if ahead >= GOOD {
            *scan += ahead;
            (right, counted) = (0, *scan);
            continue;
        }
        let (at, length) = suffixes.longest(&new[*scan..]);
        counted = counted.max(*scan);
        while counted < *scan + length {
            right += usize::from(goes_on(counted));
            counted += 1;
        }
        if length > right + BETTER {
            return Some(Anchor { old: at, new: *scan });
        }
        if length == right && length > 0 {
            *scan += length;
            (right, counted) = (0, *scan);
            continue;
        }
        if counted > *scan {
            right -= usize::from(goes_on(*scan));
        }
        *scan += 1;
    }
    None
}

/// How far the copy goes on from `last`, up to `end`: where twice the right bytes less all bytes
/// are the most.
fn grow_forward(old: &[u8], new: &[u8], last: Anchor, end: usize) -> usize {
    let (mut score, mut best, mut length) = (0_i64, 0, 0);
    let pairs = old[last.old..].iter().zip(&new[last.new..end]);
    for (index, (old, new)) in (1..).zip(pairs) {
        score += if old == new { 1 } else { -1 };
        if score > best {
            (best, length) = (score, index);
        }
    }
    length
}

/// How far the copy can begin before `found`, down to `start` in the new image.
fn grow_backward(old: &[u8], new: &[u8], found: Anchor, start: usize) -> usize {
    let (mut score, mut best, mut length) = (0_i64, 0, 0);
    let pairs = old[..found.old].iter().rev().zip(new[start..found.new].iter().rev());
    for (index, (old, new)) in (1..).zip(pairs) {
        score += if old == new { 1 } else { -1 };
        if score > best {
            (best, length) = (score, index);
        }
    }
    length
}

/// Where both want the same bytes, the first takes those before the place at which the sum of
/// what each has right is the most.
fn share(
    old: &[u8],
    new: &[u8],
    last: Anchor,
    forward: usize,
    found: Anchor,
    backward: usize,
) -> (usize, usize) {
    let overlap = (last.new + forward + backward).saturating_sub(found.new);
    if overlap == 0 {
        return (forward, backward);
    }
    let first = last.old + forward - overlap;
    let second = found.old - backward;
    let start = last.new + forward - overlap;
    let (mut score, mut best, mut taken) = (0_i64, 0, 0);
    for index in 0..overlap {
        score += i64::from(new[start + index] == old[first + index]);
        score -= i64::from(new[start + index] == old[second + index]);
        if score > best {
            (best, taken) = (score, index + 1);
        }
    }
    (forward - overlap + taken, backward - taken)
}
