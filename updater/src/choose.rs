//! Which release of a channel is for a node: the newest that there is for it, and the newest that its policy
//! may take, which may be one before. Purely, but for what a release says of itself, which is read on demand.

use formats::release::{Listed, number};

use crate::eligible::{Asked, Node, NotForUs, eligible};
use crate::trust::Verified;

/// No more releases are read in one look.
const MOST: usize = 64;

/// What a channel has for a node.
#[derive(Debug)]
pub struct Choice {
    /// The newest release of the node's image for its processors; if there is none, the newest of all.
    pub newest: Option<Verified>,
    /// What stands against that one when somebody asks for it.
    pub against: Option<NotForUs>,
    /// What stands against it by policy.
    pub against_by_policy: Option<NotForUs>,
    /// The newest that policy may take.
    pub by_policy: Option<Verified>,
}

/// Looks through a channel, from its newest release back to what runs. `read` gives what a release says of
/// itself.
///
/// # Errors
/// Those of `read`.
pub fn choose<E>(
    channel: &[Listed],
    node: &Node,
    now: i64,
    read: &mut dyn FnMut(&Listed) -> Result<Verified, E>,
) -> Result<Choice, E> {
    let runs = number(channel, &node.version);
    let mut chosen: Option<Choice> = None;
    let mut others: Option<Choice> = None;
    for listed in channel.iter().rev().take(MOST) {
        if chosen.is_some() && Some(listed.number) <= runs {
            break;
        }
        let verified = read(listed)?;
        let look = |asked| eligible(&verified, node, channel, asked, (now, now)).err();
        let by_policy = look(Asked::ByPolicy);
        let takes = by_policy.is_none();
        let is_other = by_policy.as_ref().is_some_and(NotForUs::is_of_others);
        let known = if is_other { &mut others } else { &mut chosen };
        let choice = known.get_or_insert_with(|| Choice {
            newest: Some(verified.clone()),
            against: look(Asked::ByName),
            against_by_policy: by_policy.clone(),
            by_policy: None,
        });
        if takes {
            choice.by_policy = Some(verified);
            break;
        }
        if by_policy == Some(NotForUs::Runs) {
            break;
        }
    }
    let none = Choice { newest: None, against: None, against_by_policy: None, by_policy: None };
    Ok(chosen.or(others).unwrap_or(none))
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;
    use formats::release::Release;

    use super::*;

    /// A channel of releases from 1 on, the oldest first, each with more members of its `release.json`.
    fn channel(releases: &[(&str, &str)]) -> (Vec<Listed>, Vec<Verified>) {
        let each = releases.iter().zip(1..).map(|((version, more), number)| {
            let salt = "00".repeat(16);
            let hash = Sha256::of(version);
            let text = format!(
                r#"{{"image": "node", "architecture": "here", "schema": 1, "version": "{version}",
                  "kernel": "6", "root": {{"hash": "{hash}", "salt": "{salt}", "data-size": 4096,
                  "size": 4096}}, "uki": {{"hash": "{hash}", "salt": "{salt}", "size": 4096}}}}"#
            );
            let mut release: serde_json::Value = serde_json::from_str(&text).unwrap();
            let more: serde_json::Value = serde_json::from_str(&format!("{{{more}}}")).unwrap();
            release.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let release = Release::parse(release.to_string().as_bytes()).unwrap();
            let published = Some(0);
            let version = (*version).to_owned();
            (Listed { number, version, published, epoch: 0 }, Verified { release, published })
        });
        each.unzip()
    }

    /// The newest for a node that runs `runs`, why it is not taken by policy, what policy takes, and how
    /// many releases were read.
    fn said(
        releases: &[(&str, &str)],
        runs: &str,
        failed: &[&str],
    ) -> (String, String, String, usize) {
        let (listed, verified) = channel(releases);
        let node = Node {
            image: "node".to_owned(),
            architecture: "here".to_owned(),
            version: runs.to_owned(),
            running: Sha256::of(runs),
            epoch: 0,
            failed: failed.iter().map(Sha256::of).collect(),
            machine_id: "0".repeat(32),
        };
        let mut count = 0;
        let mut read = |listed: &Listed| {
            count += 1;
            let at = usize::try_from(listed.number).unwrap() - 1;
            Ok::<_, ()>(verified[at].clone())
        };
        let choice = choose(&listed, &node, 0, &mut read).unwrap();
        let version = |it: Option<Verified>| it.map(|it| it.release.version).unwrap_or_default();
        let why = choice.against_by_policy.map(|why| why.to_string()).unwrap_or_default();
        (version(choice.newest), why, version(choice.by_policy), count)
    }

    const LATER: &str = r#""waves": [{"percent": 100, "after-hours": 72}]"#;
    const OTHER: &str = r#""architecture": "there""#;
    const STORAGE: &str = r#""image": "storage""#;

    #[test]
    fn policy_takes_the_newest_that_it_may_and_no_older_one_than_runs() {
        let after_2 = r#""min-from": "2""#;
        for (releases, runs, failed, newest, why, takes) in [
            (&[("1", ""), ("2", "")][..], "1", &[][..], "2", "", "2"),
            (&[("1", ""), ("2", "")], "2", &[], "2", "runs already", ""),
            (&[("1", ""), ("2", "")], "gone", &[], "2", "", "2"),
            // A stepping stone.
            (&[("1", ""), ("2", ""), ("3", after_2)], "1", &[], "3", "before 2 take that", "2"),
            (&[("1", ""), ("2", ""), ("3", after_2)], "2", &[], "3", "", "3"),
            // What comes to others first takes nothing away that was for all.
            (&[("1", ""), ("2", ""), ("3", LATER)], "1", &[], "3", "takes it at", "2"),
            (&[("1", ""), ("2", ""), ("3", LATER)], "2", &[], "3", "takes it at", ""),
            (&[("1", ""), ("2", ""), ("3", "")], "1", &["3"], "3", "has failed", "2"),
            (&[("1", ""), ("2", ""), ("3", "")], "1", &["3", "2"], "3", "has failed", ""),
            // What is for others hides nothing.
            (&[("1", ""), ("2", ""), ("3", OTHER), ("4", STORAGE)], "1", &[], "2", "", "2"),
            (&[("1", ""), ("2", OTHER)], "1", &[], "1", "runs already", ""),
            (&[("2", OTHER)], "1", &[], "2", "for there, and this node is here", ""),
            (&[], "1", &[], "", "", ""),
        ] {
            let (found, said, by_policy, _) = said(releases, runs, failed);
            assert_eq!((&*found, &*by_policy), (newest, takes), "{releases:?} {runs}");
            assert!(said.contains(why) && said.is_empty() == why.is_empty(), "{said}");
        }
    }

    #[test]
    fn no_more_is_read_than_is_needed() {
        let releases = [("1", ""), ("2", ""), ("3", LATER), ("4", LATER)];
        for (runs, want) in [("4", 1), ("3", 1), ("2", 2), ("1", 3)] {
            assert_eq!(said(&releases, runs, &[]).3, want, "{runs}");
        }
    }
}
