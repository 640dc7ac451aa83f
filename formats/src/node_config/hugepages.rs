//! `[hugepages]`: pages of memory that are set aside for pods which ask for them by
//! `hugepages-2Mi` and the like.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::section::Section;

/// The size of a huge page: a power of two, in whole KiB. Which of them there are is the
/// processor's affair; the kernel says it where the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    // Invariant: a power of two, more than the 4 KiB of a common page.
    kib: u64,
}

/// Every larger unit with its size in KiB, the largest first.
const UNITS: [(&str, u64); 3] = [("Gi", 1 << 20), ("Mi", 1 << 10), ("Ki", 1)];

/// The largest that any processor has is 16 GiB.
const LARGEST: u64 = 16 << 20;

impl PageSize {
    /// In KiB, as the kernel counts it.
    pub fn kib(self) -> u64 {
        self.kib
    }
}

impl FromStr for PageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (number, unit) =
                UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
            let digits = !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
            let kib = number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(*unit)?;
            (kib.is_power_of_two() && kib > 4 && kib <= LARGEST).then_some(Self { kib })
        };
        read().ok_or_else(|| {
            format!("`{text}` is not the size of a huge page, such as `2Mi` or `1Gi`")
        })
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = UNITS.iter().find(|(_, unit)| self.kib.is_multiple_of(*unit));
        fits.map_or(Ok(()), |(name, unit)| write!(f, "{}{name}", self.kib / unit))
    }
}

/// How many pages of each size are set aside. A size that is not named is left as the kernel's
/// command line has it.
pub(super) fn read(section: &mut Section<'_, '_>) -> BTreeMap<PageSize, u32> {
    let mut pages = BTreeMap::new();
    for (name, count) in section.numbers("hugepages") {
        let Some(size) = section.understood(name.value.parse::<PageSize>(), name.span.clone())
        else {
            continue;
        };
        if pages.insert(size.value, count).is_some() {
            let message = format!("pages of {} are counted twice", size.value);
            section.notes.note(name.span, message);
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_in_each_unit_and_written_in_the_largest() {
        for (text, kib, want) in [
            ("2Mi", 2048, "2Mi"),
            ("2048Ki", 2048, "2Mi"),
            ("64Ki", 64, "64Ki"),
            ("1Gi", 1 << 20, "1Gi"),
            ("1024Mi", 1 << 20, "1Gi"),
            ("16Gi", 16 << 20, "16Gi"),
        ] {
            let size: PageSize = text.parse().unwrap();
            assert_eq!((size.kib(), size.to_string().as_str()), (kib, want));
        }
    }

    #[test]
    fn what_no_page_is_as_large_as_is_refused() {
        for bad in [
            "",
            "Mi",
            "2",
            "2M",
            "2MB",
            "2mi",
            "3Mi",
            "4Ki",
            "0Mi",
            "02Mi",
            "+2Mi",
            "-2Mi",
            "2 Mi",
            "1.5Gi",
            "32Gi",
            "18446744073709551615Gi",
            "2Mi ",
        ] {
            let message = format!("`{bad}` is not the size of a huge page, such as `2Mi` or `1Gi`");
            assert_eq!(bad.parse::<PageSize>(), Err(message));
        }
    }
}
