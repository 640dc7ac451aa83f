//! The eviction of the pods of a node.

use std::time::Duration;

use super::{Answer, Member, PodName};
use crate::pods::{Fate, Losses, Pod};

/// A pod that was accepted for eviction and shows no sign of going is asked for again after this time.
const AGAIN: Duration = Duration::from_secs(30);

/// Where the eviction of a pod is.
#[derive(Debug)]
pub(super) enum Eviction {
    /// It is asked for.
    Asked,
    /// It may be asked for again then.
    After(Duration, Option<String>),
    /// It is refused.
    Refused(String),
}

impl Eviction {
    /// Whether an answer is still to come.
    pub(super) fn is_on_its_way(&self) -> bool {
        matches!(self, Self::Asked)
    }
}

/// Where a node is with its pods.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// None is left that should leave.
    Yes,
    /// Some are; these may be asked for now.
    NotYet(Vec<PodName>),
    /// One will not leave.
    Never(String),
}

/// Why a pod is not evicted, and what would change that.
pub(crate) fn refusal(pod: &Pod, fate: Fate) -> Option<String> {
    let id = pod.id();
    match fate {
        Fate::Data => Some(format!("pod {id} has data in an emptyDir volume")),
        Fate::Unmanaged => Some(format!("pod {id} has no controller that would make it anew")),
        Fate::Evicted | Fate::Leaving | Fate::Stays => None,
    }
}

impl Member {
    pub(super) fn evicted(&mut self, uid: &str, answer: Answer, now: Duration) {
        let Some(eviction) = self.evictions.get_mut(uid) else { return };
        *eviction = match answer {
            Answer::Goes => Eviction::After(now + AGAIN, None),
            Answer::Later(after, why) => Eviction::After(now + after, Some(why)),
            Answer::Never(why) => Eviction::Refused(why),
        };
    }

    /// What to do with the pods now.
    pub(super) fn drain(&self, may: Losses, now: Duration) -> Drained {
        let Some(pods) = &self.pods else { return Drained::NotYet(Vec::new()) };
        let mut left = 0;
        let mut next = Vec::new();
        for pod in pods {
            let fate = pod.fate(may);
            if let Some(why) = refusal(pod, fate) {
                return Drained::Never(why);
            }
            left += usize::from(fate != Fate::Stays);
            if fate != Fate::Evicted {
                continue;
            }
            match self.evictions.get(&pod.uid) {
                Some(Eviction::Refused(why)) => {
                    return Drained::Never(format!("pod {}: {why}", pod.id()));
                }
                Some(Eviction::Asked) => continue,
                Some(Eviction::After(time, _)) if *time > now => continue,
                Some(Eviction::After(..)) | None => {}
            }
            let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
            next.push(PodName { namespace, name, uid: pod.uid.clone() });
        }
        if left == 0 { Drained::Yes } else { Drained::NotYet(next) }
    }

    /// How many pods are waited for, and why one of them may not go yet.
    pub(super) fn remaining(&self, may: Losses) -> (usize, Option<String>) {
        let pods = self.pods.iter().flatten();
        let leaving = pods.filter(|pod| pod.fate(may) != Fate::Stays);
        let why = |pod: &Pod| match self.evictions.get(&pod.uid)? {
            Eviction::After(_, Some(why)) => Some(format!("pod {}: {why}", pod.id())),
            _ => None,
        };
        (leaving.clone().count(), leaving.clone().find_map(why))
    }

    /// When an eviction may be tried again.
    pub(super) fn next_eviction(&self, now: Duration) -> Option<Duration> {
        let times = self.evictions.values().filter_map(|eviction| match eviction {
            Eviction::After(time, _) if *time > now => Some(*time),
            _ => None,
        });
        times.min()
    }
}
