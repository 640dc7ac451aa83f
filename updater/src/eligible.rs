//! Whether a node may take a release: purely, from what the release says and what the node is.

use formats::digest::Sha256;
use formats::release::{Listed, Release, Wave, is_reached, number};

use crate::trust::Verified;

/// What a node is, as far as a release asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The recipe's name of the image that runs.
    pub image: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// The version that runs.
    pub version: String,
    /// The root hash of the image that runs.
    pub running: Sha256,
    /// The highest epoch that it ever was in.
    pub epoch: u64,
    /// Root hashes of images that have failed on it.
    pub failed: Vec<Sha256>,
    /// The machine's id.
    pub machine_id: String,
}

/// Who asks for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Somebody, by its name or for the newest: waves and earlier failures do not count.
    ByName,
    /// The node's policy.
    ByPolicy,
}

/// Why a node does not take a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotForUs {
    /// It runs.
    #[error("it runs already")]
    Runs,
    /// It is of another image.
    #[error("it is a release of the image `{}`, and this node has `{ours}`", .theirs.escape_debug())]
    Image {
        /// The release's.
        theirs: String,
        /// The node's.
        ours: String,
    },
    /// It is for other processors.
    #[error("it is for {}, and this node is {ours}", .theirs.escape_debug())]
    Architecture {
        /// The release's.
        theirs: String,
        /// The node's.
        ours: String,
    },
    /// It is of an epoch before.
    #[error(
        "its epoch is {theirs}, and this node was in {ours} already: it has a fault that must not come back"
    )]
    Epoch {
        /// The release's.
        theirs: u64,
        /// The node's.
        ours: u64,
    },
    /// Another one comes first.
    #[error("nodes of releases before {first} take that one first, and this node has {ours}")]
    MinFrom {
        /// What to take first.
        first: String,
        /// What runs.
        ours: String,
    },
    /// It came to the channel before what runs.
    #[error("it came before {0}, which this node has")]
    Older(String),
    /// It has failed here.
    #[error("it has failed on this node: it is taken again only when somebody names it")]
    Failed,
    /// Its time comes later.
    #[error("this node's share of the nodes takes it at {}", formats::moment::Moment::at(*.0))]
    Later(i64),
    /// No wave has this node.
    #[error("it is for {0} percent of the nodes, and this one is not among them")]
    NotInAWave(u8),
}

impl NotForUs {
    /// Whether it is a release of something else, which has no place among those for this node.
    pub fn is_of_others(&self) -> bool {
        matches!(self, Self::Image { .. } | Self::Architecture { .. })
    }
}

/// Whether a node may take a release at `now`, in seconds since 1970. `channel` is what there is, the
/// oldest first; `first_seen` stands for the time of publishing where the channel does not say it.
///
/// # Errors
/// [`NotForUs`] with the first reason against it.
pub fn eligible(
    verified: &Verified,
    node: &Node,
    channel: &[Listed],
    asked: Asked,
    (now, first_seen): (i64, i64),
) -> Result<(), NotForUs> {
    let Release { image, architecture, epoch, root, .. } = &verified.release;
    let release = &verified.release;
    if *image != node.image {
        return Err(NotForUs::Image { theirs: image.clone(), ours: node.image.clone() });
    }
    if *architecture != node.architecture {
        let (theirs, ours) = (architecture.clone(), node.architecture.clone());
        return Err(NotForUs::Architecture { theirs, ours });
    }
    let is = |hash: &Sha256| root.hash.parse().is_ok_and(|root: Sha256| root == *hash);
    if is(&node.running) {
        return Err(NotForUs::Runs);
    }
    if *epoch < node.epoch {
        return Err(NotForUs::Epoch { theirs: *epoch, ours: node.epoch });
    }
    let min_from = release.min_from.as_deref();
    if let Some(first) = min_from.filter(|_| !is_reached(channel, min_from, &node.version)) {
        return Err(NotForUs::MinFrom { first: first.to_owned(), ours: node.version.clone() });
    }
    if asked == Asked::ByName {
        return Ok(());
    }
    if number(channel, &release.version) < number(channel, &node.version) {
        return Err(NotForUs::Older(node.version.clone()));
    }
    if node.failed.iter().any(is) {
        return Err(NotForUs::Failed);
    }
    let published = verified.published.unwrap_or(first_seen);
    match opens(&release.waves, &node.machine_id, &root.hash) {
        Opens::After(hours) => {
            let at = published.saturating_add(i64::from(hours) * 3600);
            if now < at { Err(NotForUs::Later(at)) } else { Ok(()) }
        }
        Opens::Never(percent) => Err(NotForUs::NotInAWave(percent)),
    }
}

/// When a node's turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// So many hours after the release was published.
    After(u32),
    /// The waves end with so many percent, and it is not among them.
    Never(u8),
}

/// When the turn of a machine comes in these waves. Each release deals the machines out anew, so that
/// none is always the first.
pub fn opens(waves: &[Wave], machine_id: &str, release: &str) -> Opens {
    let Some(last) = waves.last() else { return Opens::After(0) };
    let share = share(machine_id, release);
    let mine = waves.iter().find(|wave| share < u64::from(wave.percent));
    mine.map_or(Opens::Never(last.percent), |wave| Opens::After(wave.after_hours))
}

/// A number from 0 to 99, for each machine and release another one.
fn share(machine_id: &str, release: &str) -> u64 {
    let hash = Sha256::of(format!("orlop wave\n{release}\n{machine_id}\n"));
    let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first) % 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn release(change: &str) -> Verified {
        let hash = Sha256::of("new");
        let text = format!(
            r#"{{"schema": 1, "image": "node", "version": "3", "architecture": "here",
              "kernel": "6", "root": {{"hash": "{hash}", "salt": "{salt}", "data-size": 4096,
              "size": 4096}}, "uki": {{"hash": "{hash}", "salt": "{salt}", "size": 4096}},
              "epoch": 3{change}}}"#,
            salt = "00".repeat(16)
        );
        let release = Release::parse(text.as_bytes()).expect("a release");
        Verified { release, published: Some(1000 * HOUR) }
    }

    fn node() -> Node {
        Node {
            image: "node".to_owned(),
            architecture: "here".to_owned(),
            version: "2".to_owned(),
            running: Sha256::of("old"),
            epoch: 3,
            failed: Vec::new(),
            machine_id: "0".repeat(32),
        }
    }

    #[test]
    fn a_release_is_taken_or_there_is_a_reason() {
        let listed = |number, version: &str| Listed {
            number,
            version: version.to_owned(),
            published: None,
            epoch: 0,
        };
        let channel = [listed(4, "1"), listed(5, "2"), listed(6, "3")];
        let said = |change: &str, asked, alter: fn(&mut Node)| {
            let mut node = node();
            alter(&mut node);
            let taken = eligible(&release(change), &node, &channel, asked, (1001 * HOUR, 0));
            taken.map_err(|reason| reason.to_string())
        };
        use Asked::{ByName, ByPolicy};
        let same = |_: &mut Node| ();
        assert_eq!(said("", ByPolicy, same), Ok(()));
        for (change, alter, words) in [
            ("", (|it| it.image = "x".to_owned()) as fn(&mut Node), "of the image `node`"),
            ("", |it| it.architecture = "there".to_owned(), "for here, and this node is there"),
            ("", |it| it.running = Sha256::of("new"), "it runs already"),
            ("", |it| it.epoch = 4, "its epoch is 3, and this node was in 4"),
            (r#", "min-from": "2""#, |it| it.version = "1".to_owned(), "releases before 2 take"),
            (r#", "min-from": "2""#, |it| it.version = "lost".to_owned(), "releases before 2"),
        ] {
            for asked in [ByName, ByPolicy] {
                let error = said(change, asked, alter).expect_err(words);
                assert!(error.contains(words), "{error}");
            }
        }
        assert_eq!(said(r#", "min-from": "2""#, ByPolicy, same), Ok(()));
        assert_eq!(said(r#", "min-from": "long-gone""#, ByPolicy, same), Ok(()));
        let later = [listed(6, "3"), listed(7, "2")];
        let older = |asked| eligible(&release(""), &node(), &later, asked, (1001 * HOUR, 0));
        assert_eq!(older(ByPolicy), Err(NotForUs::Older("2".to_owned())));
        assert_eq!(older(ByName), Ok(()), "somebody wants to go back");
        let failed = |it: &mut Node| it.failed = vec![Sha256::of("new")];
        assert!(
            said("", ByPolicy, failed).expect_err("failed").contains("has failed on this node")
        );
        assert_eq!(said("", ByName, failed), Ok(()));
        let wave = r#", "waves": [{"percent": 100, "after-hours": 2}]"#;
        let later = said(wave, ByPolicy, same).expect_err("later");
        assert!(later.ends_with("takes it at 1970-02-11 18:00:00 UTC"), "{later}");
        assert_eq!(said(wave, ByName, same), Ok(()));
    }

    #[test]
    fn waves_have_their_shares_of_the_machines_and_deal_them_out_anew() {
        let waves = [
            Wave { percent: 10, after_hours: 0 },
            Wave { percent: 50, after_hours: 24 },
            Wave { percent: 90, after_hours: 48 },
        ];
        let all = |release: &str| {
            let machines = (0..10_000).map(|machine| format!("{machine:032x}"));
            machines.map(|machine| opens(&waves, &machine, release)).collect::<Vec<_>>()
        };
        let (one, two) = (all("one"), all("two"));
        for (turn, share) in [
            (Opens::After(0), 1000),
            (Opens::After(24), 4000),
            (Opens::After(48), 4000),
            (Opens::Never(90), 1000),
        ] {
            let count = one.iter().filter(|it| **it == turn).count();
            assert!((share - 150..share + 150).contains(&count), "{turn:?}: {count}");
        }
        assert!(one != two && one == all("one"));
        assert_eq!(opens(&[], "any", "any"), Opens::After(0));
    }
}
