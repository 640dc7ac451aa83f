//! What is decided, as tables.

use formats::incoming::Root;
use formats::meta::{Method, Phase, Trial};

use super::*;

fn hash(text: &str) -> Sha256 {
    Sha256::of(text)
}

fn release(version: &str, epoch: u64) -> Release {
    let (root_hash, uki) = (hash(version), hash(&format!("uki {version}")));
    Release { version: version.to_owned(), root_hash, uki, epoch }
}

fn content(version: &str) -> Option<Content> {
    let release = release(version, 0);
    Some(Content { digest: release.uki, root_hash: Some(release.root_hash) })
}

fn names(texts: [&str; 2]) -> [Name; 2] {
    texts.map(|text| text.parse().expect("a name"))
}

/// Slot A runs 2.0, slot B holds 1.0; both are good.
fn state() -> State {
    State {
        running: Running {
            slot: Slot::A,
            image: "node".to_owned(),
            architecture: "any".to_owned(),
            version: "2.0".to_owned(),
            root_hash: hash("2.0"),
            epoch: 5,
        },
        meta: Meta {
            epoch: 5,
            good: [Some(release("2.0", 5)), Some(release("1.0", 5))],
            ..Meta::default()
        },
        new: false,
        names: names(["4a+3.efi", "3b.efi"]),
        one_shot: None,
        listed: [true, true],
        contents: [content("2.0"), content("1.0")],
    }
}

fn offer() -> Offer {
    Offer {
        image: "node".to_owned(),
        architecture: "any".to_owned(),
        version: "3.0".to_owned(),
        epoch: 5,
        root: Root { hash: hash("3.0"), salt: [0; 16], size: 40_960 },
        uki: release("3.0", 5).uki,
        uki_size: 1024,
    }
}

const SLOT: u64 = 40_960 + 4096;

/// What is said about a changed offer in a changed state.
fn said(asked: Asked, change: impl Fn(&mut State, &mut Offer)) -> Option<String> {
    let (mut state, mut offer) = (state(), offer());
    change(&mut state, &mut offer);
    state.check(&offer, asked, SLOT, 1024).err().map(|refusal| refusal.to_string())
}

#[test]
fn a_release_that_is_not_for_this_node_is_refused_in_words() {
    let policy = |change: fn(&mut State, &mut Offer)| said(Asked::Policy, change);
    assert_eq!(policy(|_, _| {}), None);
    for (change, want) in [
        (
            (|_, it| it.image = "other".to_owned()) as fn(&mut State, &mut Offer),
            "the release is of image `other`, and this node has `node`",
        ),
        (
            |_, it| it.architecture = "riscv".to_owned(),
            "the release is for riscv, and this node is any",
        ),
        (|_, it| it.root.hash = hash("2.0"), "the node runs release 2.0 already"),
        (|_, it| it.epoch = 4, "the release has epoch 4, and this node takes none below 5"),
        (
            |state, _| state.meta.epoch = 6,
            "the release has epoch 5, and this node takes none below 6",
        ),
        (|_, it| it.root.size = 4097, "the release has a root image of 4097 bytes, which none has"),
        (
            |_, it| it.root.size = 45_056,
            "the release takes 49152 bytes of a root slot, and this node's have 45056",
        ),
        (
            |_, it| it.uki_size = 512,
            "the release has a UKI of 512 bytes, and this node's have 1024",
        ),
        (
            |state, _| state.meta.good[0] = None,
            "this version was not found healthy yet, and the other slot would be lost: wait until it \
             is, the log of `updater` says what is lacking; or go back by `rollback`",
        ),
        (
            |state, _| state.contents[0] = content("1.0"),
            "the UKI of slot A, which runs, is damaged: the other one is needed",
        ),
        (
            |state, _| state.listed[0] = false,
            "the UKI of slot A, which runs, is damaged: the other one is needed",
        ),
        (
            |state, _| state.meta.add_failed(&release("3.0", 5), 9, "panic"),
            "release 3.0 failed on this node before and is not tried again by itself: panic",
        ),
    ] {
        assert_eq!(policy(change).as_deref(), Some(want));
    }
}

#[test]
fn a_person_may_want_again_what_failed_and_anyway_what_leaves_nothing_good() {
    let failed =
        |state: &mut State, _: &mut Offer| state.meta.add_failed(&release("3.0", 5), 9, "x");
    assert_eq!(said(Asked::Person, failed), None);
    let never = |state: &mut State, _: &mut Offer| state.meta.good[0] = None;
    assert!(said(Asked::Person, never).is_some());
    assert_eq!(said(Asked::PersonAnyway, never), None);
}

fn trial(phase: Phase) -> Trial {
    let (slot, release, since, attempts) = (Slot::B, release("3.0", 5), 1, 1);
    Trial { slot, release, since, attempts, method: Method::OneShot, phase }
}

#[test]
fn a_slot_is_taken_only_when_the_running_one_stands_on_top_and_is_not_counted() {
    let plan = state().take(&offer(), Asked::Policy, SLOT, 1024).expect("a plan");
    let [Action::Remember(meta), Action::Name(pair), Action::Unlist(slot)] = &plan.actions[..]
    else {
        panic!("{:?}", plan.actions)
    };
    assert_eq!((&meta.good[1], meta.epoch), (&None, 5));
    assert_eq!((*pair, *slot), (names(["4a.efi", "3b.efi"]), Slot::B));
    let mut on_trial = state();
    on_trial.meta.trial = Some(trial(Phase::Armed));
    let refused = on_trial.take(&offer(), Asked::PersonAnyway, SLOT, 1024);
    assert_eq!(refused, Err(Refusal::Armed("3.0".to_owned())));
    // Somebody chose the older version: it is brought on top first.
    let mut below = state();
    below.names = names(["1a.efi", "3b+2-1.efi"]);
    let plan = below.take(&offer(), Asked::Policy, SLOT, 1024).expect("a plan");
    assert_eq!(plan.actions[1], Action::Name(names(["4a.efi", "3b.efi"])));
}

/// The trial of B, as A finds it at its start: what it is taken for.
#[test]
fn a_trial_that_ended_is_judged_once_and_by_what_is_known_of_it() {
    let found = |change: &dyn Fn(&mut State, &mut Trial), phase| {
        let (mut state, mut trial) = (state(), trial(phase));
        state.meta.good[1] = None;
        state.names = names(["4a.efi", "3b.efi"]);
        change(&mut state, &mut trial);
        state.meta.trial = Some(trial);
        let plan = state.start(7, None);
        let remembered = plan.actions.iter().find_map(|action| match action {
            Action::Remember(meta) => Some(meta.clone()),
            _ => None,
        });
        let meta = remembered.expect("something is remembered");
        (
            meta.failure(&hash("3.0")).map(|failed| failed.reason.clone()),
            meta.staged.is_some(),
            plan,
        )
    };
    let as_is = |_: &mut State, _: &mut Trial| {};
    let waiting = |state: &mut State, _: &mut Trial| state.one_shot = Some("3b.efi".to_owned());
    let counted = |left: u32| {
        move |state: &mut State, trial: &mut Trial| {
            trial.method = Method::Counted;
            state.names =
                [names(["4a.efi", "5b.efi"])[0], Name::new(5, Slot::B).counted(left, 1 - left)];
        }
    };
    let again = |_: &mut State, trial: &mut Trial| trial.attempts = 2;
    let often = |_: &mut State, trial: &mut Trial| trial.attempts = 3;
    let early = "it ended before its updater ran: panic, hang, reset or power cut";
    let silent =
        "it ended before it was found healthy and left no word: panic, hang, reset or power cut";
    let never = "its trial was armed several times and never began";
    let unhealthy = Phase::Unhealthy("kubelet".to_owned());
    for (change, phase, reason) in [
        (&as_is as &dyn Fn(&mut State, &mut Trial), Phase::Arming, None),
        (&often, Phase::Arming, Some(never)),
        (&as_is, Phase::Armed, Some(early)),
        (&waiting, Phase::Armed, None),
        (&counted(1), Phase::Armed, None),
        (&counted(0), Phase::Armed, Some(early)),
        (&counted(0), Phase::Arming, Some(early)),
        (&counted(1), Phase::Arming, None),
        (&as_is, Phase::Begun, Some(silent)),
        (&as_is, Phase::Interrupted, None),
        (&again, Phase::Interrupted, Some("it was shut down twice before it was found healthy")),
        (&as_is, unhealthy, Some("kubelet")),
    ] {
        let said = format!("{phase:?}");
        let (failed, staged, plan) = found(change, phase);
        assert_eq!(failed.as_deref(), reason, "{said}");
        assert_eq!(staged, reason.is_none(), "{said}");
        let unlisted = plan.actions.contains(&Action::Unlist(Slot::B));
        assert_eq!(unlisted, reason.is_some(), "{said}");
        let fell_back = matches!(plan.outcome, Boot::FellBack(_));
        assert_eq!(fell_back, reason.is_some(), "{said}");
    }
}

#[test]
fn a_disk_of_the_builder_is_taken_over_at_its_first_healthy_boot() {
    let mut new = state();
    new.new = true;
    new.meta = Meta::default();
    new.names = names(["2a.efi", "1b.efi"]);
    new.contents[1] = content("2.0");
    let plan = new.healthy();
    let [Action::Remember(meta), Action::Name(pair)] = &plan.actions[..] else {
        panic!("{:?}", plan.actions)
    };
    assert_eq!(meta.good, [Some(release("2.0", 5)), Some(release("2.0", 5))]);
    assert_eq!((meta.epoch, *pair), (5, names(["2a+3.efi", "1b.efi"])));
    // What else lies in the other slot is not known to be good, so this one is not counted.
    new.contents[1] = content("1.0");
    let plan = new.healthy();
    let [Action::Remember(meta)] = &plan.actions[..] else { panic!("{:?}", plan.actions) };
    assert_eq!(meta.good, [Some(release("2.0", 5)), None]);
    // A healthy boot of what is known writes nothing but the count.
    let mut known = state();
    assert_eq!(known.healthy().actions, []);
    known.names = names(["4a+2-1.efi", "3b.efi"]);
    assert_eq!(known.healthy().actions, [Action::Name(names(["4a+3.efi", "3b.efi"]))]);
}

#[test]
fn what_is_unhealthy_and_no_trial_stays() {
    assert_eq!(state().unhealthy("x").outcome, Unhealthy::Stay);
    let mut on_trial = state();
    on_trial.running.slot = Slot::B;
    on_trial.running.root_hash = hash("3.0");
    on_trial.meta.trial = Some(trial(Phase::Begun));
    assert_eq!(on_trial.unhealthy("x").outcome, Unhealthy::Reboot);
    let [Action::Remember(meta)] = &on_trial.stopping().actions[..] else { panic!("it is told") };
    assert_eq!(meta.trial.as_ref().map(|trial| &trial.phase), Some(&Phase::Interrupted));
    assert_eq!(state().stopping().actions, []);
}

/// An entry on top that the loader started although it could not take the attempt back, or that was
/// chosen: the next boot is of the other slot whatever happens.
#[test]
fn a_trial_on_top_puts_the_other_slot_above_itself() {
    let mut on_top = state();
    on_top.running.slot = Slot::B;
    on_top.running.root_hash = hash("3.0");
    on_top.names = names(["4a.efi", "5b+1.efi"]);
    on_top.meta.good[1] = None;
    on_top.meta.trial = Some(Trial { method: Method::Counted, ..trial(Phase::Armed) });
    let plan = on_top.start(1, None);
    assert_eq!(plan.actions[1], Action::Name(names(["6a.efi", "5b.efi"])));
    on_top.meta.trial = None;
    on_top.names = names(["4a.efi", "5b.efi"]);
    let plan = on_top.start(1, None);
    assert!(matches!(&plan.outcome, Boot::Trial(trial) if trial.method == Method::Chosen));
    assert_eq!(plan.actions[1], Action::Name(names(["6a.efi", "5b.efi"])));
}

#[test]
fn going_back_needs_something_good_of_an_epoch_that_is_allowed() {
    let plan = state().roll_back(9).expect("it is good");
    let [Action::Remember(meta), Action::Name(pair)] = &plan.actions[..] else {
        panic!("{:?}", plan.actions)
    };
    assert_eq!(*pair, names(["4a.efi", "5b+3.efi"]));
    let reason = meta.failure(&hash("2.0")).map(|failed| failed.reason.as_str());
    assert_eq!(reason, Some("rolled back by hand"));
    let refused = |change: fn(&mut State)| {
        let mut state = state();
        change(&mut state);
        state.roll_back(9).expect_err("refused").to_string()
    };
    assert_eq!(
        refused(|it| it.meta.good[1] = None),
        "there is nothing to go back to: slot B holds no version that was healthy here"
    );
    assert_eq!(
        refused(|it| {
            it.meta.good[1] = Some(release("2.0", 5));
            it.contents[1] = content("2.0");
        }),
        "there is nothing to go back to: slot B holds the release that runs, as on a new disk"
    );
    assert_eq!(
        refused(|it| it.meta.epoch = 6),
        "the release has epoch 5, and this node takes none below 6"
    );
    assert_eq!(refused(|it| it.contents[1] = content("9")), "the UKI of slot B is damaged");
    assert_eq!(
        refused(|it| it.meta.trial = Some(trial(Phase::Armed))),
        "release 3.0 is armed: first restart to try it, or give it up by `cancel`"
    );
    assert_eq!(
        refused(|it| {
            let release = it.running_release();
            it.meta.trial = Some(Trial { slot: Slot::A, release, ..trial(Phase::Begun) });
        }),
        "release 2.0 is on trial: it is judged first"
    );
}

/// The node after these actions.
fn after<T>(state: &State, plan: &Plan<T>) -> State {
    let mut state = state.clone();
    for action in &plan.actions {
        match action {
            Action::Remember(meta) => state.meta = meta.as_ref().clone(),
            Action::Name(names) => state.names = *names,
            Action::Unlist(slot) => state.listed[slot.index()] = false,
            Action::Once(id) => state.one_shot = Some(id.clone()),
            Action::NotOnce => state.one_shot = None,
        }
    }
    state
}

#[test]
fn who_goes_back_with_a_later_restart_is_known_and_nobody_comes_in_between() {
    let before = state();
    assert_eq!(before.goes_back(), None);
    let back = after(&before, &before.roll_back(9).expect("it is good"));
    assert_eq!(back.goes_back(), Some(&release("1.0", 5)));
    // The judgement of this boot comes later. What is left by hand is not taken again all the same.
    let healthy = after(&back, &back.healthy());
    assert!(healthy.meta.failure(&hash("2.0")).is_some(), "the node would take it again");
    assert_eq!((healthy.goes_back(), healthy.names), (Some(&release("1.0", 5)), back.names));
    let words = "the node goes back to release 1.0 at the next restart: first restart, or give that \
                 up by `cancel`";
    for asked in [Asked::Policy, Asked::Fleet, Asked::Person] {
        let refused = back.take(&offer(), asked, SLOT, 1024).expect_err("it would be lost");
        assert_eq!(refused.to_string(), words);
    }
    // Whoever says it again is not refused.
    assert!(back.roll_back(10).is_ok());
    let stays = after(&back, &back.cancel().expect("there is something"));
    assert_eq!((stays.goes_back(), stays.names), (None, names(["6a.efi", "5b.efi"])));
    assert_eq!(stays.meta, before.meta);
    assert_eq!(stays.cancel(), Err(Refusal::NothingStaged));
    // Cut off after the entries: the mark goes with the next healthy boot.
    let cut = State { names: stays.names, ..back.clone() };
    assert_eq!(after(&cut, &cut.healthy()).meta.failed, []);
    // The other slot is used up: the loader has come here.
    let used = State { names: names(["4a.efi", "5b+0-3.efi"]), ..back };
    assert_eq!(used.goes_back(), None);
}

#[test]
fn a_trial_that_could_not_begin_is_staged_again_and_not_without_end() {
    for (method, pair) in
        [(Method::OneShot, ["4a.efi", "3b.efi"]), (Method::Counted, ["4a.efi", "5b+0-1.efi"])]
    {
        let mut begun = state();
        begun.meta.good[1] = None;
        begun.names = names(pair);
        begun.contents[1] = content("3.0");
        let of = |attempts| Trial { method, attempts, ..trial(Phase::Begun) };
        for attempts in 1..=3 {
            begun.meta.trial = Some(of(attempts));
            let tried = State {
                running: Running {
                    slot: Slot::B,
                    root_hash: hash("3.0"),
                    version: "3.0".to_owned(),
                    ..begun.running.clone()
                },
                ..begun.clone()
            };
            let put_off = after(&tried, &tried.put_off());
            let back = State { running: begun.running.clone(), ..put_off };
            let ended = after(&back, &back.start(7, Some("it was interrupted: no room")));
            let failed = ended.meta.failure(&hash("3.0")).is_some();
            let staged = ended.meta.staged.as_ref().map(|staged| staged.attempts);
            let want = if attempts < 3 { (false, Some(attempts)) } else { (true, None) };
            assert_eq!((failed, staged), want, "{method:?}");
            assert!(names::is_top(ended.names, Slot::A));
        }
    }
}

#[test]
fn what_was_armed_by_half_is_taken_back_from_the_loader_before_meta_says_so() {
    for phase in [Phase::Arming, Phase::Armed] {
        let mut half = state();
        half.names = names(["4a.efi", "5b+1.efi"]);
        half.one_shot = Some("5b.efi".to_owned());
        half.meta.trial = Some(trial(phase));
        let plan = half.unarmed();
        let [Action::NotOnce, Action::Name(pair), Action::Remember(meta)] = &plan.actions[..]
        else {
            panic!("{:?}", plan.actions)
        };
        assert_eq!(*pair, names(["6a.efi", "5b.efi"]));
        let staged = meta.staged.as_ref().map(|it| (it.release.version.as_str(), it.attempts));
        assert_eq!((&meta.trial, staged), (&None, Some(("3.0", 0))));
    }
    // What runs is no more to be taken back.
    let mut runs = state();
    runs.meta.trial = Some(Trial { slot: Slot::A, ..trial(Phase::Armed) });
    assert_eq!(runs.unarmed().actions, []);
}

#[test]
fn what_runs_learns_its_epoch_of_the_channel_and_never_loses_it() {
    let mut state = state();
    state.running.epoch = 0;
    state.meta = Meta { epoch: 0, good: [Some(release("2.0", 0)), None], ..Meta::default() };
    let learnt = |state: &State, epoch| match state.released(epoch).actions.as_slice() {
        [Action::Remember(meta)] => Some(meta.as_ref().clone()),
        [] => None,
        other => panic!("{other:?}"),
    };
    let meta = learnt(&state, 4).expect("it is news");
    assert_eq!((meta.epoch, meta.good(Slot::A).map(|good| good.epoch)), (4, Some(4)));
    state.meta = meta;
    assert_eq!(learnt(&state, 3), None);
    // A healthy boot says nothing else, though the image does not know its epoch.
    let healthy = state.healthy();
    assert!(!healthy.actions.iter().any(|action| matches!(action, Action::Remember(_))));
    // What META does not know as good learns nothing.
    state.meta.good[0] = None;
    assert_eq!(learnt(&state, 9), None);
}
