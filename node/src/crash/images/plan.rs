//! What goes, of what was found: no file and no containerd in here.
//!
//! Layers and blobs are shared. So what was found is kept by snapshot and by blob, once, and each
//! image is judged by all that it is made of, whichever image led to it.

use std::collections::{BTreeMap, BTreeSet};

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// Those that containerd has a name for.
    pub(super) images: Vec<Image>,
    /// The snapshots that are there, each with what is wrong with it.
    pub(super) snapshots: BTreeMap<String, Option<String>>,
    /// Blobs that are not what their digest says.
    pub(super) bad_blobs: BTreeSet<String>,
}

/// A name, and what it is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    /// As containerd has it.
    pub(super) name: String,
    /// Damaged blobs that would say what it is made of.
    pub(super) unreadable: BTreeSet<String>,
    /// The layers of each manifest, the lowest first.
    pub(super) manifests: Vec<Vec<Layer>>,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// The name of what it becomes when it is unpacked. It says which layers lie below.
    pub(super) snapshot: String,
    /// The digest of what is unpacked.
    pub(super) blob: String,
}

/// What goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Snapshots, those that lie on others first, and what is wrong with them or below them.
    pub(super) snapshots: Vec<(String, String)>,
    /// Names of images, and the damaged blobs that each of them needs.
    pub(super) images: BTreeMap<String, BTreeSet<String>>,
    /// Damaged blobs that would be taken for good when their image comes again.
    pub(super) blobs: BTreeSet<String>,
}

impl Findings {
    /// What must go, and nothing else.
    pub(super) fn plan(&self) -> Plan {
        let gone = self.damaged_snapshots();
        let mut plan = Plan::default();
        let (mut going, mut staying) = (Vec::new(), BTreeSet::new());
        for image in &self.images {
            let needed = self.needed(image, &gone);
            if needed.is_empty() {
                staying.extend(image.layers().map(|layer| &layer.snapshot));
            } else {
                plan.images.insert(image.name.clone(), needed);
                going.push(image);
            }
        }
        plan.blobs.extend(plan.images.values().flatten().cloned());
        // A snapshot goes with the last image on it, and then its blob is needed as well. Where
        // another image stays on it, it stays, and the blob is left to that image.
        let of_going = going.iter().flat_map(|image| image.layers());
        let of_going = of_going.filter(|layer| !staying.contains(&layer.snapshot));
        let of_going = of_going.map(|layer| &layer.blob).filter(|b| self.bad_blobs.contains(*b));
        plan.blobs.extend(of_going.cloned());

        let mut snapshots: Vec<_> = gone.into_iter().collect();
        // What lies on another is deeper than that; containerd keeps what something lies on.
        snapshots.sort_by_key(|(_, (depth, _))| std::cmp::Reverse(*depth));
        let told = |(snapshot, (_, why)): (&str, (usize, &str))| (snapshot.into(), why.into());
        plan.snapshots = snapshots.into_iter().map(told).collect();
        plan
    }

    /// Each damaged snapshot and all that lie on it, of whichever image: how many lie below it, and
    /// what is wrong.
    fn damaged_snapshots(&self) -> BTreeMap<&str, (usize, &str)> {
        let mut gone = BTreeMap::new();
        for layers in self.images.iter().flat_map(|image| &image.manifests) {
            let mut why = None;
            for (depth, layer) in layers.iter().enumerate() {
                // Nothing lies on what is not there.
                let Some(damage) = self.snapshots.get(&layer.snapshot) else { break };
                why = why.or(damage.as_deref());
                if let Some(why) = why {
                    gone.insert(layer.snapshot.as_str(), (depth, why));
                }
            }
        }
        gone
    }

    /// The damaged blobs that an image cannot do without: what is unpacked needs its blob no more,
    /// and a registry may be far.
    fn needed(&self, image: &Image, gone: &BTreeMap<&str, (usize, &str)>) -> BTreeSet<String> {
        let is_needed = |layer: &&Layer| {
            let snapshot = layer.snapshot.as_str();
            let unpacked = self.snapshots.contains_key(snapshot) && !gone.contains_key(snapshot);
            !unpacked && self.bad_blobs.contains(&layer.blob)
        };
        let needed = image.layers().filter(is_needed).map(|layer| layer.blob.clone());
        needed.chain(image.unreadable.iter().cloned()).collect()
    }
}

/// These snapshots, each with what is wrong with it, and all that lie on them, of which the same is
/// wrong: those on others first. `all` are the name of each that there is and of the one it lies on.
pub(super) fn with_all_on_them(
    damaged: Vec<(String, String)>,
    all: &[(String, String)],
) -> Vec<(String, String)> {
    let mut on: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (snapshot, below) in all {
        on.entry(below).or_default().push(snapshot);
    }
    let mut ordered = Vec::new();
    let mut seen: BTreeSet<String> = damaged.iter().map(|(name, _)| name.clone()).collect();
    // Of these, what lies on others comes first already.
    for (snapshot, damage) in damaged {
        let (mut above, mut next) = (Vec::new(), vec![snapshot.clone()]);
        while let Some(name) = next.pop() {
            for other in on.get(name.as_str()).into_iter().flatten() {
                if seen.insert((*other).to_owned()) {
                    above.push(((*other).to_owned(), damage.clone()));
                    next.push((*other).to_owned());
                }
            }
        }
        // Each was found after the one that it lies on.
        ordered.extend(above.into_iter().rev());
        ordered.push((snapshot, damage));
    }
    ordered
}

impl Image {
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.manifests.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    /// An image of one manifest: `a/b` is the layer `b` on the layer `a`.
    fn image(name: &str, layers: &str) -> Image {
        let names: Vec<_> = layers.split('/').collect();
        let layer = |(at, blob): (usize, &&str)| Layer {
            snapshot: names[..=at].join("/"),
            blob: (*blob).to_owned(),
        };
        let layers = names.iter().enumerate().map(layer).collect();
        Image { name: name.to_owned(), manifests: vec![layers], ..Image::default() }
    }

    fn findings(images: &[(&str, &str)], unpacked: &[&str], damaged: &[&str]) -> Findings {
        let damage = |name: &&str| damaged.contains(name).then(|| format!("{name} is damaged"));
        Findings {
            images: images.iter().map(|(name, layers)| image(name, layers)).collect(),
            snapshots: unpacked.iter().map(|name| ((*name).to_owned(), damage(name))).collect(),
            bad_blobs: BTreeSet::new(),
        }
    }

    fn gone(plan: &Plan) -> Vec<&str> {
        plan.snapshots.iter().map(|(snapshot, _)| snapshot.as_str()).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn all_that_lies_on_a_damaged_snapshot_goes_once_and_before_it() {
        let unpacked = ["a", "a/b", "a/c", "a/c/d", "e"];
        let images = [("one", "a/b"), ("two", "a/c/d"), ("again", "a/c/d"), ("three", "e")];
        let found = findings(&images, &unpacked, &["a"]);
        let plan = found.plan();
        assert_eq!(gone(&plan), ["a/c/d", "a/b", "a/c", "a"]);
        assert!(plan.snapshots.iter().all(|(_, why)| why == "a is damaged"), "{plan:?}");
        assert_eq!((plan.images.len(), plan.blobs.len()), (0, 0));
        assert_eq!(gone(&findings(&images, &unpacked, &["a/c"]).plan()), ["a/c/d", "a/c"]);
    }

    #[test]
    fn a_damaged_blob_takes_each_image_that_needs_it_and_no_other() {
        // One is unpacked; the others are not, or not all of them.
        let images = [("whole", "a/b"), ("half", "a/c"), ("none", "d/b"), ("other", "d/e")];
        let mut found = findings(&images, &["a", "a/b"], &[]);
        found.bad_blobs = set(&["a", "b", "c"]);
        let plan = found.plan();
        let want = [("half", set(&["c"])), ("none", set(&["b"]))];
        assert_eq!(plan.images, BTreeMap::from(want.map(|(name, blobs)| (name.to_owned(), blobs))));
        // `a` is unpacked, and stays so: `whole` lies on it.
        assert_eq!(plan.blobs, set(&["b", "c"]));
        assert_eq!(plan.snapshots, []);
        // Without it nobody does.
        found.images.remove(0);
        assert_eq!(found.plan().blobs, set(&["a", "b", "c"]));
    }

    #[test]
    fn a_snapshot_that_goes_needs_its_blob_again() {
        let mut found = findings(&[("one", "a/b"), ("two", "a")], &["a", "a/b"], &["a/b"]);
        found.bad_blobs = set(&["a", "b"]);
        let plan = found.plan();
        assert_eq!(gone(&plan), ["a/b"]);
        assert_eq!(plan.images, BTreeMap::from([("one".to_owned(), set(&["b"]))]));
        assert_eq!(plan.blobs, set(&["b"]));
    }

    #[test]
    fn what_lies_on_a_damaged_snapshot_goes_before_it_whoever_made_it() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let all = pairs(&[
            ("container", "top"),
            ("base", ""),
            ("top", "base"),
            ("orphan", "base"),
            ("on-orphan", "orphan"),
            ("other", ""),
            ("of-other", "other"),
        ]);
        let damaged = pairs(&[("top", "why"), ("base", "why"), ("gone", "how")]);
        let order = with_all_on_them(damaged.clone(), &all);
        let names: Vec<_> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["container", "top", "on-orphan", "orphan", "base", "gone"]);
        assert!(order[..5].iter().all(|(_, why)| why == "why"), "{order:?}");
        // A list that is not there, and one that makes no sense.
        assert_eq!(with_all_on_them(damaged.clone(), &[]), damaged);
        let circle = pairs(&[("base", "top"), ("top", "base"), ("x", "x"), ("gone", "gone")]);
        assert_eq!(with_all_on_them(damaged.clone(), &circle), damaged);
    }

    /// Images of few layers, so that many are shared; some of them unpacked up to some layer, some
    /// damaged. Of one that cannot be read nothing else is known.
    fn any_findings() -> impl Strategy<Value = Findings> {
        let image = (vec(0..3_u8, 1..5), 0..5_usize, any::<bool>());
        let names = || btree_set(prop_oneof![Just("0"), Just("1"), Just("2")], 0..3);
        (vec(image, 0..6), vec(any::<bool>(), 16), names()).prop_map(|(made, damage, bad)| {
            let mut found = Findings { bad_blobs: set(&Vec::from_iter(bad)), ..Default::default() };
            let mut damage = damage.into_iter();
            for (number, (layers, unpacked, readable)) in made.into_iter().enumerate() {
                let layers: Vec<_> = layers.iter().map(u8::to_string).collect();
                let mut image = self::image(&number.to_string(), &layers.join("/"));
                if !readable {
                    image.manifests.clear();
                    image.unreadable = set(&["config"]);
                    found.images.push(image);
                    continue;
                }
                for layer in image.manifests[0].iter().take(unpacked) {
                    let bad = damage.next() == Some(true);
                    let why = bad.then(|| layer.snapshot.clone());
                    found.snapshots.entry(layer.snapshot.clone()).or_insert(why);
                }
                found.images.push(image);
            }
            found
        })
    }

    proptest! {
        #[test]
        fn what_stays_is_whole_and_what_goes_has_a_reason(found in any_findings()) {
            let plan = found.plan();
            let mut left: BTreeSet<_> = found.snapshots.keys().cloned().collect();
            let damaged = |name: &str| {
                let of = |(below, why): (&String, &Option<String>)| {
                    why.is_some() && (name == below || name.starts_with(&format!("{below}/")))
                };
                found.snapshots.iter().any(of)
            };
            for (snapshot, _) in &plan.snapshots {
                let on_it = format!("{snapshot}/");
                prop_assert!(left.remove(snapshot), "{} twice", snapshot);
                prop_assert!(!left.iter().any(|other| other.starts_with(&on_it)), "{}", snapshot);
                prop_assert!(damaged(snapshot), "{}", snapshot);
            }
            prop_assert!(!left.iter().any(|snapshot| damaged(snapshot)), "{:?}", left);
            for image in &found.images {
                let lacks = image.layers().any(|layer| {
                    !left.contains(&layer.snapshot) && found.bad_blobs.contains(&layer.blob)
                });
                let goes = plan.images.contains_key(&image.name);
                prop_assert_eq!(goes, lacks || !image.unreadable.is_empty(), "{:?}", image);
            }
            // What comes again finds none of its blobs damaged, unless it is unpacked.
            let kept: Vec<_> =
                found.images.iter().filter(|i| !plan.images.contains_key(&i.name)).collect();
            for image in found.images.iter().filter(|i| plan.images.contains_key(&i.name)) {
                for layer in image.layers() {
                    let stays = found.bad_blobs.contains(&layer.blob)
                        && !plan.blobs.contains(&layer.blob);
                    let mut kept = kept.iter().flat_map(|image| image.layers());
                    let keeps = kept.any(|other| other.snapshot == layer.snapshot);
                    let unpacked = left.contains(&layer.snapshot) && keeps;
                    prop_assert!(!stays || unpacked, "{:?}", layer);
                }
            }
        }

        #[test]
        fn the_order_of_images_decides_nothing(mut found in any_findings()) {
            let plan = found.plan();
            found.images.reverse();
            prop_assert_eq!(found.plan(), plan);
        }
    }
}
