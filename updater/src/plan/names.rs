//! Names of entries for what shall start next. Each is a pair that is written at once.

use formats::boot_entries::{MOST_GENERATION, Name, Slot, TRIES};

/// Whether a slot's entry stands above the other one, whatever their counts.
pub(super) fn is_top(names: [Name; 2], slot: Slot) -> bool {
    let id = |slot: Slot| (names[slot.index()].generation(), slot);
    id(slot) > id(slot.other())
}

/// A slot's entry above the other one, neither of them counted. When the generations are used up both
/// begin anew.
pub(super) fn above(names: [Name; 2], slot: Slot) -> [Name; 2] {
    let [own, other] = [slot, slot.other()].map(|slot| names[slot.index()].uncounted());
    let (own, other) = if is_top(names, slot) {
        (own, other)
    } else if other.generation() < MOST_GENERATION {
        (Name::new(other.generation() + 1, slot), other)
    } else {
        (Name::new(2, slot), Name::new(1, slot.other()))
    };
    match slot {
        Slot::A => [own, other],
        Slot::B => [other, own],
    }
}

/// A slot on top, that falls to the other one if it is not healthy in some boots.
pub(super) fn armed(names: [Name; 2], slot: Slot) -> [Name; 2] {
    counted(above(names, slot), slot, TRIES)
}

/// A slot on top for one boot.
pub(super) fn once(names: [Name; 2], slot: Slot) -> [Name; 2] {
    counted(above(names, slot), slot, 1)
}

fn counted(mut names: [Name; 2], slot: Slot, left: u32) -> [Name; 2] {
    let name = &mut names[slot.index()];
    *name = name.counted(left, 0);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_on_top_by_one_pair_of_names() {
        for (before, slot, after) in [
            (["2a.efi", "1b.efi"], Slot::A, ["2a.efi", "1b.efi"]),
            (["2a.efi", "1b.efi"], Slot::B, ["2a.efi", "3b.efi"]),
            (["2a+2-1.efi", "1b+0-3.efi"], Slot::A, ["2a.efi", "1b.efi"]),
            (["1a.efi", "1b.efi"], Slot::A, ["2a.efi", "1b.efi"]),
            (["1a.efi", "1b.efi"], Slot::B, ["1a.efi", "1b.efi"]),
            (["998a.efi", "999b.efi"], Slot::A, ["2a.efi", "1b.efi"]),
            (["999a.efi", "998b.efi"], Slot::B, ["1a.efi", "2b.efi"]),
            (["999a.efi", "998b.efi"], Slot::A, ["999a.efi", "998b.efi"]),
        ] {
            let names = before.map(|name| name.parse().expect("a name"));
            assert_eq!(above(names, slot).map(|name| name.to_string()), after);
            assert!(is_top(above(names, slot), slot));
            let of = |names: [Name; 2]| names[slot.index()].count().map(|count| count.left);
            assert_eq!((of(armed(names, slot)), of(once(names, slot))), (Some(3), Some(1)));
        }
    }
}
