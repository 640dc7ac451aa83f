//! Labels and taints of a node, by the rules of Kubernetes (`apimachinery/pkg/util/validation`,
//! `kubelet/pkg/apis/well_known_labels.go`).

use std::fmt;
use std::str::FromStr;

use super::name::is_subdomain;
use crate::near::near;

/// The key of a label or taint: a name, or a DNS subdomain, `/` and a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey(String);

/// The value of a label or taint: empty, or a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelValue(String);

/// What keeps pods off a node: `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Taint {
    /// What it is called.
    pub key: LabelKey,
    /// Its value, often empty.
    pub value: LabelValue,
    /// What it does to pods that do not tolerate it.
    pub effect: Effect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// None is scheduled here.
    NoSchedule,
    /// None is scheduled here if there is another node.
    PreferNoSchedule,
    /// None is scheduled here, and those that run are evicted.
    NoExecute,
}

impl LabelKey {
    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Why kubelet may not put a label of this key on its node, if it may not: with one that the
    /// API server's `NodeRestriction` would refuse, kubelet does not start.
    pub(super) fn forbidden(&self) -> Option<&'static str> {
        const OWN: [&str; 5] = [
            "kubernetes.io/hostname",
            "kubernetes.io/os",
            "kubernetes.io/arch",
            "beta.kubernetes.io/os",
            "beta.kubernetes.io/arch",
        ];
        const ALLOWED: [&str; 6] = [
            "topology.kubernetes.io/region",
            "topology.kubernetes.io/zone",
            "failure-domain.beta.kubernetes.io/region",
            "failure-domain.beta.kubernetes.io/zone",
            "node.kubernetes.io/instance-type",
            "beta.kubernetes.io/instance-type",
        ];
        let (namespace, _) = self.0.split_once('/')?;
        let within = |domain: &str| {
            let rest = namespace.strip_suffix(domain);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if OWN.contains(&self.as_str()) {
            Some("kubelet sets it itself")
        } else if ALLOWED.contains(&self.as_str())
            || within("node.kubernetes.io")
            || within("kubelet.kubernetes.io")
            || !(within("kubernetes.io") || within("k8s.io"))
        {
            None
        } else {
            Some("a node may not give itself labels of Kubernetes; set it through the API")
        }
    }
}

impl LabelValue {
    /// The value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Effect {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::NoSchedule, Self::PreferNoSchedule, Self::NoExecute];

    /// Its name in Kubernetes.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

impl FromStr for LabelKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (prefix, name) = match text.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, text),
        };
        if !is_name(name) || prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
            return Err(format!(
                "`{text}` is not a key of Kubernetes: use at most 63 letters, digits, `-`, `_` and \
                 `.`, a letter or digit at both ends; a domain and `/` may stand before it"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for LabelValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !is_name(text) {
            return Err(format!(
                "`{text}` is not a value of Kubernetes: use at most 63 letters, digits, `-`, `_` \
                 and `.`, a letter or digit at both ends"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Effect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|effect| effect.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let hint = match near(text, names) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "use `NoSchedule`, `PreferNoSchedule` or `NoExecute`".to_owned(),
            };
            format!("`{text}` is not the effect of a taint: {hint}")
        })
    }
}

impl FromStr for Taint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((rest, effect)) = text.rsplit_once(':') else {
            return Err(format!(
                "`{text}` is not a taint, such as `dedicated=gpu:NoSchedule` or `broken:NoExecute`"
            ));
        };
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        Ok(Self { key: key.parse()?, value: value.parse()?, effect: effect.parse()? })
    }
}

impl fmt::Display for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As it is written in a configuration, and as kubelet's `--register-with-taints` takes it.
impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, effect } = self;
        if value.as_str().is_empty() {
            return write!(f, "{key}:{effect}");
        }
        write!(f, "{key}={value}:{effect}")
    }
}

/// Kubernetes' "qualified name" without its prefix.
fn is_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_follow_the_rules_of_kubernetes() {
        let long = "a".repeat(63);
        for good in ["zone", "a.b_c-D", "example.com/zone", &long] {
            assert!(good.parse::<LabelKey>().is_ok(), "{good}");
        }
        let longer = "a".repeat(64);
        for bad in
            ["", "-a", "a-", "a b", "/a", "a/", "a/b/c", "Example.com/a", "ex_ample/a", &longer]
        {
            assert!(bad.parse::<LabelKey>().is_err(), "{bad}");
        }
        for good in ["", "a", "A_b.c-1", &long] {
            assert!(good.parse::<LabelValue>().is_ok(), "{good}");
        }
        for bad in ["-", "a/b", "a:b", "ä", &longer] {
            assert!(bad.parse::<LabelValue>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_may_not_give_itself_the_labels_of_kubernetes() {
        for (key, forbidden) in [
            ("zone", false),
            ("example.com/role", false),
            ("notkubernetes.io/x", false),
            ("topology.kubernetes.io/zone", false),
            ("node.kubernetes.io/anything", false),
            ("sub.node.kubernetes.io/anything", false),
            ("node-role.kubernetes.io/worker", true),
            ("node-restriction.kubernetes.io/x", true),
            ("kubernetes.io/hostname", true),
            ("x.k8s.io/y", true),
        ] {
            let key: LabelKey = key.parse().unwrap();
            assert_eq!(key.forbidden().is_some(), forbidden, "{key}");
        }
    }

    #[test]
    fn a_taint_is_written_as_it_is_read() {
        for text in ["dedicated=gpu:NoSchedule", "broken:NoExecute", "a/b=c:PreferNoSchedule"] {
            assert_eq!(text.parse::<Taint>().unwrap().to_string(), text);
        }
        for (text, want) in [
            ("dedicated=gpu", "is not a taint"),
            ("dedicated=gpu:NoSchedul", "did you mean `NoSchedule`?"),
            ("dedicated=gpu:Never", "use `NoSchedule`, `PreferNoSchedule` or `NoExecute`"),
            ("=gpu:NoSchedule", "is not a key of Kubernetes"),
            ("a=b=c:NoSchedule", "is not a value of Kubernetes"),
        ] {
            let error = text.parse::<Taint>().unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
