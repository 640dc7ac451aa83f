//! What waves, windows and moments of their own are good for, and that a run is one run: no figure is
//! hard-coded, for they depend on the machines that a seed makes.

use formats::release::Wave;

use super::cost::{Image, LOOK, QUIET_LOOK, Sizes};
use super::fleet::{Bad, Outcome, Settings, Withdrawn, simulate};

const HOUR: i64 = 3600;
const NODES: u32 = 1000;

fn settings() -> Settings {
    let image = Image { delta: 5_000_000, blocks: 9_000_000, tree: 1_000_000, whole: 50_000_000 };
    Settings {
        nodes: NODES,
        seed: 7,
        interval: HOUR,
        waves: vec![
            Wave { percent: 5, after_hours: 0 },
            Wave { percent: 50, after_hours: 12 },
            Wave { percent: 100, after_hours: 24 },
        ],
        windows: Vec::new(),
        published: 9 * HOUR,
        late: 10,
        bandwidth: 12_500_000,
        sizes: Sizes { root: image, uki: image, ranges: 50 },
        bad: None,
    }
}

fn without_waves() -> Settings {
    Settings { waves: Vec::new(), ..settings() }
}

fn tried(settings: Settings, withdrawn: Withdrawn) -> Outcome {
    simulate(&Settings { bad: Some(Bad { withdrawn }), ..settings })
}

/// So many more than `mean` are possible where each of them comes by chance.
fn at_most(mean: f64) -> f64 {
    mean + 6.0 * mean.sqrt() + 6.0
}

#[test]
fn a_good_release_comes_to_all_and_the_server_is_not_stormed() {
    let outcome = simulate(&without_waves());
    let after = outcome.most_after.expect("all have it");
    // A look in the first hour, and what follows.
    assert!((HOUR / 2..HOUR + 600).contains(&after), "{after}");
    assert_eq!(outcome.withdrawn_after, None);
    // Each node fetches one delta of both images, late ones what is missing.
    let node = outcome.bytes / u64::from(NODES);
    assert!((10_000_000..13_000_000).contains(&node), "{node}");
    assert!(outcome.rate.percentile_99 <= outcome.rate.peak);
}

/// Nodes that look in the same second do so by chance: what one asks for at once is a look, and a look and
/// two deltas. In a window they look twice as often.
#[test]
fn requests_in_a_second_stay_below_what_chance_allows() {
    for (windows, looks) in [(&[][..], 1.0), (&["02:00-06:00"], 2.0)] {
        let windows = windows.iter().map(|text| text.parse().expect("a window")).collect();
        let outcome = simulate(&Settings { windows, late: 0, ..without_waves() });
        let looks = looks * f64::from(NODES) / 3600.0;
        let most = at_most(looks) * f64::from(LOOK + QUIET_LOOK + 2);
        assert!(f64::from(outcome.rate.peak) <= most, "{:?} {most}", outcome.rate);
        assert!(
            outcome.rate.mean <= looks * f64::from(LOOK + QUIET_LOOK + 2),
            "{:?}",
            outcome.rate
        );
    }
}

#[test]
fn a_longer_interval_asks_less_of_the_server() {
    let daily = simulate(&Settings { interval: 24 * HOUR, ..without_waves() });
    let hourly = simulate(&without_waves());
    assert!(daily.rate.mean * 10.0 < hourly.rate.mean, "{:?} {:?}", daily.rate, hourly.rate);
    assert!(daily.most_after > hourly.most_after);
}

#[test]
fn waves_bound_whom_a_bad_release_reaches() {
    let withdrawn = Withdrawn::After(8 * HOUR);
    let (all, first) = (tried(without_waves(), withdrawn), tried(settings(), withdrawn));
    // The first wave and no more: 5 percent, as the hash deals them out.
    assert!(f64::from(first.tried) <= at_most(0.05 * f64::from(NODES)), "{}", first.tried);
    assert!(first.tried > 0 && all.tried == NODES, "{} {}", first.tried, all.tried);
    // By reports the first wave is enough to stop the rest, and without waves there is no time.
    let withdrawn = Withdrawn::At(1.0);
    let (all, first) = (tried(without_waves(), withdrawn), tried(settings(), withdrawn));
    assert!(first.tried * 2 < all.tried, "{} {}", first.tried, all.tried);
    assert!(f64::from(first.tried) <= at_most(0.05 * f64::from(NODES)), "{}", first.tried);
    // What is staged by then and not started is looked at again: nobody starts it an hour later.
    assert!(all.tried < NODES, "{}", all.tried);
}

#[test]
fn in_windows_nobody_restarts_outside_of_them() {
    let window = "02:00-06:00".parse().expect("a window");
    let windows = Settings { windows: vec![window], ..without_waves() };
    let outcome = simulate(&windows);
    // From nine in the morning to two at night.
    let after = outcome.most_after.expect("all have it");
    assert!((17 * HOUR..19 * HOUR).contains(&after), "{after}");
    let bad = tried(windows, Withdrawn::After(8 * HOUR));
    assert_eq!(bad.tried, 0, "it was withdrawn before the window");
    // What waits for the window comes on different minutes.
    assert!(outcome.most_on_trial < NODES / 5, "{}", outcome.most_on_trial);
}

#[test]
fn the_same_seed_gives_the_same_figures_and_another_one_others() {
    assert_eq!(simulate(&settings()), simulate(&settings()));
    assert_ne!(simulate(&settings()), simulate(&Settings { seed: 8, ..settings() }));
}

#[test]
fn the_report_says_all_of_it_in_both_forms() {
    let bad =
        [Bad { withdrawn: Withdrawn::After(8 * HOUR) }, Bad { withdrawn: Withdrawn::At(1.0) }];
    let settings = Settings { nodes: 50, ..settings() };
    let outcomes = super::report::outcomes(&settings, &bad);
    let text = super::report::text(&outcomes);
    assert_eq!(text.lines().count(), 3 + 4 + 2 + 8, "{text}");
    let json = serde_json::to_value(&outcomes).expect("JSON");
    assert_eq!(json["good"].as_array().map(Vec::len), Some(4), "{json}");
    assert_eq!(json["bad"].as_array().map(Vec::len), Some(8), "{json}");
    assert_eq!(json["bad"][0]["tried"], 50, "{json}");
}
