//! From what was found to what is done: which config the node gets, what is kept of it, what
//! people are told. Nothing here touches the node.

use formats::node_config::{self, NodeConfig};

use crate::source::last_good::{self, LastGood};
use crate::source::places::Answers;
use crate::source::{Candidate, Found, Origin};

/// What a node with kubelet is told if it has no config.
const LACKING: &str = "no node config, so kubelet does not run: give one by fw_cfg, by its address \
    in SMBIOS or `orlop.config=URL`, or as `node.toml` on a volume labelled ORLOP";

/// The source of a node that has no config.
const NO_SOURCE: &str = "none";

/// What is done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// What the node becomes; the defaults if there is nothing to go by.
    pub(super) config: NodeConfig,
    /// Where that came from.
    pub(super) source: String,
    /// What is still to be done for a config.
    pub(super) pending: Option<Pending>,
    /// The copy to keep, if the config is new and good.
    pub(super) keep: Option<LastGood>,
    /// How it came to this, for the log.
    pub(super) notes: Vec<String>,
    /// What is wrong or lacking, for log and screen.
    pub(super) problems: Vec<String>,
}

/// What is still to be done for a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pending {
    /// It is to be fetched from there.
    Fetch(Origin),
    /// A disk has not answered: the places are to be asked again.
    Ask,
}

impl Plan {
    /// Makes the plan of a plain run. `last_good` is what [`LastGood::load`] gave. An image without
    /// kubelet does all that it is for by the defaults too.
    pub(super) fn new(
        answers: Answers,
        last_good: Result<Option<LastGood>, String>,
        has_kubelet: bool,
    ) -> Self {
        let Answers { decision, problems, is_open } = answers;
        let mut plan = match decision.chosen {
            None if !has_kubelet && matches!(last_good, Ok(None)) => Self::empty(problems),
            None => Self::from_copy(last_good, problems, LACKING),
            Some(Candidate { found: Found::Address(address), .. }) => {
                Self::awaiting(Origin::new(address), last_good)
            }
            Some(candidate) => Self::of_candidate(candidate, last_good, problems),
        };
        if is_open {
            plan.pending = Some(Pending::Ask);
        }
        plan.noted(decision.reason)
    }

    fn of_candidate(
        candidate: Candidate,
        last_good: Result<Option<LastGood>, String>,
        mut problems: Vec<String>,
    ) -> Self {
        match Self::of(candidate) {
            Ok(mut plan) => {
                problems.append(&mut plan.problems);
                Self { problems, ..plan }
            }
            Err(mistakes) => {
                problems.extend(mistakes);
                let lacking = "there is no last good copy of a node config to use instead: \
                    containerd runs, kubelet does not";
                Self::from_copy(last_good, problems, lacking)
            }
        }
    }

    /// The plan for a config that was found or fetched.
    ///
    /// # Errors
    /// All that is wrong with it, with the place, the line and the column.
    pub(super) fn of(candidate: Candidate) -> Result<Self, Vec<String>> {
        let Candidate { origin, device, found } = candidate;
        let text = match found {
            Found::Text(text) => text,
            Found::Unusable(why) => return Err(vec![format!("{origin}: {why}")]),
            Found::Nothing(lacks) => return Err(vec![format!("{origin}: {lacks}")]),
            Found::Address(_) => return Err(vec![format!("{origin}: an address, no config")]),
        };
        let config = parse(&origin.to_string(), &text)?;
        let problems = ignored(&origin.to_string(), &text, &config);
        Ok(Self {
            config,
            source: origin.to_string(),
            pending: None,
            keep: Some(LastGood::of(origin, device, &text)),
            notes: Vec::new(),
            problems,
        })
    }

    /// The config is to be fetched. Until then the copy is used if it came from the same address:
    /// a copy from elsewhere may be that of another cluster.
    fn awaiting(address: Origin, last_good: Result<Option<LastGood>, String>) -> Self {
        let (usable, other) = match last_good {
            Ok(Some(copy)) if copy.origin != address => (Ok(None), Some(copy.origin)),
            other => (other, None),
        };
        let without = matches!(usable, Ok(None));
        let mut plan = if without {
            Self::empty(Vec::new())
        } else {
            let lacking = "until the node config is fetched, containerd runs and kubelet does not";
            Self::from_copy(usable, Vec::new(), lacking)
        };
        if let Some(other) = other {
            plan.notes.push(format!("the last good copy is of {other}, so it is not used"));
        }
        if without {
            let note = "until it is fetched, containerd runs and kubelet does not";
            plan.notes.push(note.to_owned());
        }
        plan.pending = Some(Pending::Fetch(address));
        plan
    }

    /// The last good copy; without one that can be used, the defaults and the problem `lacking`.
    fn from_copy(
        last_good: Result<Option<LastGood>, String>,
        mut problems: Vec<String>,
        lacking: &str,
    ) -> Self {
        let copy = match last_good {
            Ok(copy) => copy,
            Err(error) => {
                problems.push(format!("the last good copy, `{}`: {error}", last_good::PATH));
                None
            }
        };
        let Some(copy) = copy else {
            problems.push(lacking.to_owned());
            return Self::empty(problems);
        };
        match parse(last_good::PATH, &copy.text) {
            Ok(config) => {
                let bad = !problems.is_empty();
                problems.extend(ignored(last_good::PATH, &copy.text, &config));
                let source = format!("the last good copy, of {}", copy.origin);
                let used = format!("used is {source}");
                let mut plan = Self { config, source, ..Self::empty(problems) };
                let place = if bad { &mut plan.problems } else { &mut plan.notes };
                place.push(used);
                plan
            }
            Err(mistakes) => {
                problems.extend(mistakes);
                problems.push(lacking.to_owned());
                Self::empty(problems)
            }
        }
    }

    /// kubelet does not run, and nothing is kept.
    pub(super) fn stay_alone(&mut self) {
        self.config.kubernetes = None;
        self.keep = None;
    }

    fn empty(problems: Vec<String>) -> Self {
        Self {
            config: NodeConfig::default(),
            source: NO_SOURCE.to_owned(),
            pending: None,
            keep: None,
            notes: Vec::new(),
            problems,
        }
    }

    fn noted(mut self, reason: String) -> Self {
        self.notes.insert(0, reason);
        self
    }
}

/// Parses a config; each mistake is told as `PLACE:LINE:COLUMN: what`.
fn parse(place: &str, text: &str) -> Result<NodeConfig, Vec<String>> {
    node_config::parse(text)
        .map_err(|problems| problems.iter().map(|problem| format!("{place}:{problem}")).collect())
}

/// What kubelet will not run of a config that is good: each as of [`parse`]. The rest runs.
fn ignored(place: &str, text: &str, config: &NodeConfig) -> Vec<String> {
    let problems = node_config::static_pod_problems(text, config);
    problems.iter().map(|problem| format!("{place}:{problem}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Decision;
    use crate::source::pin::Device;

    const GOOD: &str = "schema = 1\nhostname = \"new\"\n";
    /// Of two static pods one is none that kubelet runs.
    const PODS: &str = "schema = 1\n[kubernetes]\nstandalone = true\n[kubernetes.static-pods]\n\
        good = \"{ apiVersion: v1, kind: Pod, metadata: { name: a }, spec: { containers: [{ name: a, image: b }] } }\"\n\
        bad = \"kind: Deployment\"\n";
    const BAD: &str = "schema = 1\nhostnam = \"x\"\n\n[network]\ndnss = []\n";

    fn answers(chosen: Option<Candidate>) -> Answers {
        let decision = Decision { chosen, reason: "because".to_owned() };
        Answers { decision, problems: Vec::new(), is_open: false }
    }

    fn decision(found: Found) -> Answers {
        answers(Some(Candidate { origin: Origin::new("fw_cfg x"), device: None, found }))
    }

    fn copy(origin: &str) -> Result<Option<LastGood>, String> {
        Ok(Some(LastGood::of(Origin::new(origin), None, "schema = 1\nhostname = \"old\"\n")))
    }

    fn hostname(plan: &Plan) -> Option<String> {
        plan.config.hostname.as_ref().map(ToString::to_string)
    }

    #[test]
    fn a_good_config_is_used_and_kept() {
        let plan = Plan::new(decision(Found::Text(GOOD.to_owned())), copy("volume y"), true);
        assert_eq!(hostname(&plan).as_deref(), Some("new"));
        assert_eq!(plan.keep, Some(LastGood::of(Origin::new("fw_cfg x"), None, GOOD)));
        assert_eq!((plan.source.as_str(), plan.pending), ("fw_cfg x", None));
        assert_eq!((plan.notes, plan.problems), (vec!["because".to_owned()], vec![]));
    }

    #[test]
    fn of_a_bad_config_all_mistakes_are_told_and_the_copy_is_used_and_stays() {
        let plan = Plan::new(decision(Found::Text(BAD.to_owned())), copy("volume y"), true);
        assert_eq!(hostname(&plan).as_deref(), Some("old"));
        assert_eq!((plan.keep, plan.source.as_str()), (None, "the last good copy, of volume y"));
        let [first, second, used] = &plan.problems[..] else { panic!("{:?}", plan.problems) };
        assert!(first.starts_with("fw_cfg x:2:1: "), "{first}");
        assert!(second.starts_with("fw_cfg x:5:1: "), "{second}");
        assert_eq!(used, "used is the last good copy, of volume y");
    }

    #[test]
    fn without_a_copy_a_bad_config_leaves_the_defaults() {
        for (found, told) in [
            (Found::Text("= 1".to_owned()), "fw_cfg x:1:1: "),
            (Found::Unusable("it is torn".to_owned()), "fw_cfg x: it is torn"),
        ] {
            let plan = Plan::new(decision(found), Ok(None), true);
            assert_eq!((&plan.config, plan.source.as_str()), (&NodeConfig::default(), "none"));
            assert!(plan.problems[0].starts_with(told), "{:?}", plan.problems);
            let last = plan.problems.last().unwrap();
            assert!(last.starts_with("there is no last good copy"), "{last}");
        }
    }

    #[test]
    fn a_node_that_no_place_has_a_config_for_uses_the_copy_or_says_what_it_lacks() {
        let nothing = || answers(None);
        let plan = Plan::new(nothing(), copy("volume y"), true);
        assert_eq!(hostname(&plan).as_deref(), Some("old"));
        assert_eq!(plan.notes, ["because", "used is the last good copy, of volume y"]);
        assert_eq!((plan.problems, plan.keep), (vec![], None));

        let plan = Plan::new(nothing(), Ok(None), true);
        assert_eq!((plan.problems, plan.source.as_str()), (vec![LACKING.to_owned()], "none"));

        let plan = Plan::new(nothing(), Ok(None), false);
        assert_eq!((plan.notes, plan.problems), (vec!["because".to_owned()], vec![]));
    }

    #[test]
    fn a_copy_that_is_no_longer_good_is_told_with_its_own_lines() {
        let bad = LastGood::of(Origin::new("volume y"), None, BAD);
        let nothing = || answers(None);
        let plan = Plan::new(nothing(), Ok(Some(bad)), true);
        // The first line says where it came from.
        assert!(plan.problems[0].starts_with("/var/lib/orlop/node.toml:3:1: "));
        assert_eq!(plan.problems.last().unwrap(), LACKING);

        let plan = Plan::new(nothing(), Err("Input/output error".to_owned()), true);
        let told = "the last good copy, `/var/lib/orlop/node.toml`: Input/output error";
        assert_eq!(plan.problems, [told, LACKING]);
    }

    #[test]
    fn while_a_config_is_awaited_only_a_copy_from_the_same_address_is_used() {
        let address = "https://u:p@h.example/n";
        let awaiting = |copy| Plan::new(decision(Found::Address(address.to_owned())), copy, true);
        let plan = awaiting(copy(address));
        assert_eq!(hostname(&plan).as_deref(), Some("old"));
        assert_eq!(plan.source, "the last good copy, of https://h.example/n");
        assert_eq!((plan.pending, plan.keep), (Some(Pending::Fetch(Origin::new(address))), None));

        for copy in [copy("https://h.example/n"), Ok(None)] {
            let plan = awaiting(copy);
            assert_eq!((&plan.config, plan.source.as_str()), (&NodeConfig::default(), "none"));
            assert_eq!(plan.pending, Some(Pending::Fetch(Origin::new(address))));
            assert_eq!(plan.problems, Vec::<String>::new());
            let last = plan.notes.last().unwrap();
            assert_eq!(last, "until it is fetched, containerd runs and kubelet does not");
        }
    }

    #[test]
    fn a_manifest_that_kubelet_does_not_take_is_told_and_stops_nothing() {
        let plan = Plan::new(decision(Found::Text(PODS.to_owned())), Ok(None), true);
        let told = "static pod `bad`: kubelet takes `kind: Pod` of `apiVersion: v1` only";
        assert_eq!(plan.problems.len(), 1, "{:?}", plan.problems);
        assert!(plan.problems[0].starts_with("fw_cfg x:6:7: "), "{:?}", plan.problems);
        assert!(plan.problems[0].contains(told), "{:?}", plan.problems);
        assert_eq!(plan.config.kubernetes.unwrap().static_pods.len(), 2);
        assert!(plan.keep.is_some(), "it is a good config");
        let copy = Ok(Some(LastGood::of(Origin::new("x"), None, PODS)));
        let plan = Plan::new(answers(None), copy, true);
        assert!(plan.problems[0].contains(told), "{:?}", plan.problems);
    }

    #[test]
    fn while_a_disk_does_not_answer_the_copy_is_used_and_the_places_are_asked_again() {
        let told = "the disk vdb does not answer".to_owned();
        let silent = || Answers { problems: vec![told.clone()], is_open: true, ..answers(None) };
        let plan = Plan::new(silent(), copy("volume y"), true);
        assert_eq!((hostname(&plan).as_deref(), &plan.pending), (Some("old"), &Some(Pending::Ask)));
        assert_eq!(plan.problems, [&told, "used is the last good copy, of volume y"]);
        for (has_kubelet, lacking) in [(true, Some(LACKING)), (false, None)] {
            let plan = Plan::new(silent(), Ok(None), has_kubelet);
            assert_eq!(plan.pending, Some(Pending::Ask));
            let want: Vec<_> = [told.as_str()].into_iter().chain(lacking).collect();
            assert_eq!(plan.problems, want);
        }
    }

    #[test]
    fn what_is_told_of_other_disks_is_told_beside_a_good_config_which_is_kept_with_its_device() {
        let device = Device { id: None, path: "pci-x".to_owned(), partition: None };
        let origin = Origin::new("volume y");
        let found = Found::Text(GOOD.to_owned());
        let candidate = Candidate { origin: origin.clone(), device: Some(device.clone()), found };
        let problems = vec!["volume z is not heard".to_owned()];
        let answers = Answers { problems: problems.clone(), ..answers(Some(candidate)) };
        let plan = Plan::new(answers, Ok(None), true);
        assert_eq!(plan.keep, Some(LastGood::of(origin, Some(device), GOOD)));
        assert_eq!((plan.problems, plan.pending), (problems, None));
    }
}
