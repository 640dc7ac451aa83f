//! Headers and superblocks as tables of fields, so that a difference in one has a name.

use super::place::{Finding, Looks, Part};

/// A field of a binary format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// In bytes, from the start of the header.
    pub(super) at: usize,
    pub(super) size: usize,
    pub(super) shape: Shape,
}

/// How a field is read. Numbers have their least byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Number,
    /// Seconds since 1970.
    Time,
    /// In the order of its digits.
    Uuid,
    Text,
    /// Follows from all others: only told if none of them differs.
    Checksum,
}

impl Field {
    pub(super) const fn new(name: &'static str, at: usize, size: usize, shape: Shape) -> Self {
        Self { name, at, size, shape }
    }

    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let end = (self.at + self.size).min(bytes.len());
        bytes.get(self.at..end).unwrap_or_default()
    }

    fn show(&self, bytes: &[u8]) -> String {
        let bytes = self.of(bytes);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match (self.shape, <[u8; 16]>::try_from(bytes)) {
            (Shape::Uuid, Ok(bytes)) => uuid::Uuid::from_bytes(bytes).to_string(),
            (Shape::Text, _) => String::from_utf8_lossy(bytes).trim_end_matches(['\0', ' ']).into(),
            (Shape::Number | Shape::Time, _) if bytes.len() <= 8 => {
                bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)).to_string()
            }
            _ => hex(bytes),
        }
    }
}

/// The fields that differ, and then the first byte outside of all fields.
pub(super) fn compare(one: &[u8], two: &[u8], fields: &[Field]) -> Vec<Finding> {
    let differs = |field: &&Field| field.of(one) != field.of(two);
    let (checksums, named): (Vec<_>, Vec<_>) =
        fields.iter().filter(differs).partition(|field| field.shape == Shape::Checksum);
    let known =
        |at: usize| fields.iter().any(|field| (field.at..field.at + field.size).contains(&at));
    let length = one.len().max(two.len());
    let rest = (0..length).find(|at| one.get(*at) != two.get(*at) && !known(*at));
    let mut found: Vec<_> = named.into_iter().map(|field| finding(field, one, two)).collect();
    found.extend(rest.map(|at| Finding::at([Part::Byte { number: at as u64 }])));
    if found.is_empty() {
        found.extend(checksums.into_iter().map(|field| finding(field, one, two)));
    }
    found
}

fn finding(field: &Field, one: &[u8], two: &[u8]) -> Finding {
    let looks = match field.shape {
        Shape::Time => Some(Looks::Time),
        Shape::Uuid => Some(Looks::Uuid),
        _ => None,
    };
    let found = Finding::at([Part::field(field.name)]).values(field.show(one), field.show(two));
    Finding { looks, ..found }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [Field; 3] = [
        Field::new("checksum", 0, 4, Shape::Checksum),
        Field::new("time", 4, 4, Shape::Time),
        Field::new("name", 8, 4, Shape::Text),
    ];

    fn places(one: &[u8], two: &[u8]) -> Vec<String> {
        compare(one, two, &FIELDS).iter().map(|found| found.place.to_string()).collect()
    }

    #[test]
    fn a_field_has_its_name_and_a_checksum_counts_only_for_itself() {
        let one = b"ssssttttabcd..";
        assert_eq!(places(one, one), [""; 0]);
        assert_eq!(places(one, b"SSSSttttabcd.."), ["checksum"]);
        assert_eq!(places(one, b"SSSSTtttabcd.."), ["time"]);
        assert_eq!(places(one, b"SSSSttttabcD.!"), ["name", "byte 13"]);
        assert_eq!(places(one, b"ssssttttabcd."), ["byte 13"]);
        let found = compare(&[0; 12], &[0, 0, 0, 0, 1, 1, 0, 0, b'x', 0, 0, 0], &FIELDS);
        assert_eq!((found[0].two.as_deref(), found[0].looks), (Some("257"), Some(Looks::Time)));
        assert_eq!((found[1].one.as_deref(), found[1].two.as_deref()), (Some(""), Some("x")));
    }
}
