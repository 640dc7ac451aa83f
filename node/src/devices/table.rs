//! Who has which name: several disks may claim one, as copies of a volume do.

use std::collections::{BTreeMap, BTreeSet};

/// What is to be done below `/dev/disk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The name leads to this device from now on.
    Point { link: String, device: String },
    /// The name leads nowhere any more.
    Remove { link: String },
}

/// The names that devices claim, and where each leads.
#[derive(Debug, Default)]
pub(super) struct Table {
    claims: BTreeMap<String, BTreeSet<String>>,
    links: BTreeMap<String, String>,
}

impl Table {
    /// The devices that are known.
    pub(super) fn devices(&self) -> Vec<String> {
        self.claims.keys().cloned().collect()
    }

    /// The device claims these names and no others; or none at all: then it is gone.
    pub(super) fn claim(&mut self, device: &str, names: Option<BTreeSet<String>>) -> Vec<Change> {
        let before = match names.clone() {
            Some(names) => self.claims.insert(device.to_owned(), names),
            None => self.claims.remove(device),
        };
        let touched = names.into_iter().chain(before).flatten().collect::<BTreeSet<_>>();
        touched.into_iter().filter_map(|link| self.settle(link)).collect()
    }

    /// Who has a name keeps it for as long as he claims it.
    fn settle(&mut self, link: String) -> Option<Change> {
        let claims =
            |device: &String| self.claims.get(device).is_some_and(|all| all.contains(&link));
        let has = self.links.get(&link);
        if has.is_some_and(claims) {
            return None;
        }
        let next = self.claims.keys().find(|device| claims(device)).cloned();
        match next {
            Some(device) => {
                self.links.insert(link.clone(), device.clone());
                Some(Change::Point { link, device })
            }
            None => self.links.remove(&link).map(|_| Change::Remove { link }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Option<BTreeSet<String>> {
        Some(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn point(link: &str, device: &str) -> Change {
        Change::Point { link: link.to_owned(), device: device.to_owned() }
    }

    fn remove(link: &str) -> Change {
        Change::Remove { link: link.to_owned() }
    }

    #[test]
    fn who_has_a_name_keeps_it_until_he_goes_and_the_next_gets_it() {
        let mut table = Table::default();
        assert_eq!(table.claim("vdb", names(&["u", "b"])), [point("b", "vdb"), point("u", "vdb")]);
        assert_eq!(table.claim("vda", names(&["u"])), []);
        assert_eq!(table.claim("vdb", names(&["u"])), [remove("b")]);
        assert_eq!(table.claim("vdb", None), [point("u", "vda")]);
        assert_eq!(table.claim("vda", names(&[])), [remove("u")]);
        assert_eq!(table.claim("vdz", None), []);
        assert_eq!(table.devices(), ["vda"]);
    }
}
