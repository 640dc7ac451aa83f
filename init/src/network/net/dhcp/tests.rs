//! What the client does in each situation, without a clock or a socket.

use proptest::prelude::*;

use super::message::tests::MAC;
use super::*;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answer(client: &Client, kind: Kind) -> Answer {
    Answer {
        kind,
        transaction: client.transaction,
        mac: MAC,
        address: ADDRESS,
        server: Some(SERVER),
        mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        routers: vec![SERVER],
        dns: vec![Ipv4Addr::new(10, 0, 2, 3)],
        hostname: None,
        search: Vec::new(),
        ntp: Vec::new(),
        mtu: None,
        lease: Some(3600),
        renewal: None,
        rebinding: None,
        routes: Vec::new(),
    }
}

fn tell(client: &mut Client, now: Duration, kind: Kind) -> Vec<Action> {
    let answer = answer(client, kind);
    client.step(now, Event::Answer(answer))
}

/// What a step does, in a word each.
fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Broadcast(question) => format!("broadcast {:?}", question.kind),
        Action::Unicast(question, to) => format!("{:?} to {to}", question.kind),
        Action::Configure(lease) => format!("configure {}/{}", lease.address, lease.prefix),
        Action::Deconfigure => "deconfigure".to_owned(),
    };
    actions.iter().map(word).collect()
}

/// A client whose lease of 3600 s was asked for at second 100.
fn bound() -> Client {
    let mut client = Client::new(MAC, 7);
    client.step(at(100), Event::CarrierUp);
    tell(&mut client, at(100), Kind::Offer);
    let actions = tell(&mut client, at(101), Kind::Ack);
    assert_eq!(words(&actions), ["configure 10.0.2.15/24"]);
    client
}

#[test]
fn an_address_takes_four_messages() {
    let mut client = Client::new(MAC, 7);
    assert_eq!(client.deadline(), None);
    assert_eq!(client.listen(), Listen::Nowhere);
    let actions = client.step(at(1), Event::CarrierUp);
    assert_eq!(words(&actions), ["broadcast Discover"]);
    assert_eq!(client.listen(), Listen::Link);

    let actions = tell(&mut client, at(1), Kind::Offer);
    let Action::Broadcast(request) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((request.wanted, request.server), (Some(ADDRESS), Some(SERVER)));
    assert_eq!(request.own, Ipv4Addr::UNSPECIFIED);

    let actions = tell(&mut client, at(2), Kind::Ack);
    assert_eq!(words(&actions), ["configure 10.0.2.15/24"]);
    let lease = client.lease().unwrap();
    assert_eq!((lease.routes[0].gateway, lease.ends_at), (SERVER, at(1 + 3600)));
    assert_eq!(client.listen(), Listen::Nowhere);
    assert_eq!(client.deadline(), Some(at(1 + 1800)));
}

#[test]
fn without_an_answer_it_asks_again_and_waits_longer_each_time() {
    let mut client = Client::new(MAC, 7);
    let mut now = at(10);
    client.step(now, Event::CarrierUp);
    let mut last = Duration::ZERO;
    for wait in [1, 2, 4, 8, 16, 32, 32, 32] {
        let due = client.deadline().unwrap();
        let waited = due - now;
        assert!(waited >= at(wait) * 3 / 4 && waited <= at(wait) * 5 / 4, "{waited:?}");
        assert_eq!(client.step(due - Duration::from_millis(1), Event::Timer), []);
        assert_eq!(words(&client.step(due, Event::Timer)), ["broadcast Discover"]);
        assert!(due > last);
        (now, last) = (due, due);
    }
}

#[test]
fn a_server_that_offers_and_then_is_silent_is_left() {
    let mut client = Client::new(MAC, 7);
    client.step(at(1), Event::CarrierUp);
    tell(&mut client, at(1), Kind::Offer);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let due = client.deadline().unwrap();
        seen.extend(words(&client.step(due, Event::Timer)));
    }
    let request = "broadcast Request";
    assert_eq!(seen, [request, request, request, "broadcast Discover"]);
}

#[test]
fn a_lease_is_renewed_at_half_its_time_by_its_server_alone() {
    let mut client = bound();
    assert_eq!(client.step(at(1899), Event::Timer), []);
    let actions = client.step(at(1900), Event::Timer);
    assert_eq!(words(&actions), ["Request to 10.0.2.2"]);
    let Action::Unicast(request, _) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((request.own, request.wanted, request.server), (ADDRESS, None, None));
    assert_eq!(client.listen(), Listen::Port(ADDRESS));

    assert_eq!(words(&tell(&mut client, at(1901), Kind::Ack)), ["configure 10.0.2.15/24"]);
    assert_eq!(client.deadline(), Some(at(1900 + 1800)));
}

#[test]
fn a_silent_server_is_asked_less_and_less_then_all_are_asked_then_the_address_goes() {
    let mut client = bound();
    let mut seen = Vec::new();
    while client.lease().is_some() {
        let due = client.deadline().unwrap();
        seen.extend(words(&client.step(due, Event::Timer)));
    }
    let unicast = seen.iter().filter(|word| *word == "Request to 10.0.2.2").count();
    let broadcast = seen.iter().filter(|word| *word == "broadcast Request").count();
    assert!((3..10).contains(&unicast) && (2..10).contains(&broadcast), "{seen:?}");
    assert_eq!(seen[seen.len() - 2..], ["deconfigure", "broadcast Discover"]);
    assert!(client.deadline().unwrap() >= at(3700), "it ended before its time");
}

#[test]
fn a_lease_counts_from_the_question_that_was_answered() {
    let mut client = bound();
    client.step(at(1900), Event::Timer);
    let rebinding = at(100 + 3600 / 8 * 7);
    assert_eq!(words(&client.step(rebinding, Event::Timer)), ["broadcast Request"]);
    assert_eq!(client.listen(), Listen::Link);
    tell(&mut client, rebinding + at(1), Kind::Ack);
    assert_eq!(client.deadline(), Some(rebinding + at(1800)));
}

#[test]
fn a_refusal_ends_the_lease_at_once() {
    let mut client = bound();
    client.step(at(1900), Event::Timer);
    let actions = tell(&mut client, at(1901), Kind::Nak);
    assert_eq!(words(&actions), ["deconfigure", "broadcast Discover"]);
}

#[test]
fn a_refusal_of_another_server_does_not_count() {
    let mut client = Client::new(MAC, 7);
    client.step(at(1), Event::CarrierUp);
    tell(&mut client, at(1), Kind::Offer);
    let other = Some(Ipv4Addr::new(10, 0, 2, 99));
    let nak = Answer { server: other, ..answer(&client, Kind::Nak) };
    assert_eq!(client.step(at(1), Event::Answer(nak)), []);
    assert_eq!(words(&tell(&mut client, at(1), Kind::Nak)), ["broadcast Discover"]);
}

#[test]
fn who_refuses_what_it_offers_is_asked_later_each_time() {
    let mut client = Client::new(MAC, 7);
    let mut now = at(1);
    client.step(now, Event::CarrierUp);
    let refuse = |client: &mut Client, now| {
        tell(client, now, Kind::Offer);
        words(&tell(client, now, Kind::Nak))
    };
    assert_eq!(refuse(&mut client, now), ["broadcast Discover"], "it may have lost its list");
    for wait in [1, 2, 4, 8, 16, 32, 32, 32] {
        assert_eq!(refuse(&mut client, now), [""; 0]);
        assert_eq!((client.listen(), client.lease()), (Listen::Nowhere, None));
        assert_eq!(tell(&mut client, now, Kind::Offer), [], "nobody was asked");
        let due = client.deadline().unwrap();
        assert!(due - now >= at(wait) * 3 / 4 && due - now <= at(wait) * 5 / 4, "{:?}", due - now);
        assert_eq!(words(&client.step(due, Event::Timer)), ["broadcast Discover"]);
        now = due;
    }
    // What was given is given again after it was refused: that is no end of it.
    tell(&mut client, now, Kind::Offer);
    tell(&mut client, now, Kind::Ack);
    now = client.deadline().unwrap();
    client.step(now, Event::Timer);
    assert_eq!(words(&tell(&mut client, now, Kind::Nak)), ["deconfigure"]);
    now = client.deadline().unwrap();
    client.step(now, Event::Timer);
    tell(&mut client, now, Kind::Offer);
    tell(&mut client, now, Kind::Ack);
    // More time for a lease is, and so is another cable.
    now = client.deadline().unwrap();
    client.step(now, Event::Timer);
    tell(&mut client, now, Kind::Ack);
    now = client.deadline().unwrap();
    client.step(now, Event::Timer);
    let first = ["deconfigure", "broadcast Discover"];
    assert_eq!(words(&tell(&mut client, now, Kind::Nak)), first);
    assert_eq!(refuse(&mut client, now), [""; 0]);
    client.step(now, Event::CarrierDown);
    client.step(now, Event::CarrierUp);
    assert_eq!(refuse(&mut client, now), ["broadcast Discover"]);
}

#[test]
fn a_cable_that_was_out_for_a_moment_costs_nobody_the_address() {
    let mut client = bound();
    assert_eq!(client.step(at(200), Event::CarrierDown), []);
    assert_eq!(client.deadline(), Some(at(3700)));
    let actions = client.step(at(210), Event::CarrierUp);
    let Action::Broadcast(request) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((request.wanted, request.server), (Some(ADDRESS), None));
    assert_eq!(words(&tell(&mut client, at(210), Kind::Ack)), ["configure 10.0.2.15/24"]);
}

#[test]
fn in_another_network_the_old_address_goes() {
    let mut client = bound();
    client.step(at(200), Event::CarrierDown);
    client.step(at(210), Event::CarrierUp);
    let actions = tell(&mut client, at(210), Kind::Nak);
    assert_eq!(words(&actions), ["deconfigure", "broadcast Discover"]);
}

#[test]
fn when_no_server_answers_after_the_cable_was_out_the_old_address_is_kept() {
    let mut client = bound();
    client.step(at(200), Event::CarrierDown);
    client.step(at(210), Event::CarrierUp);
    for _ in 0..4 {
        let due = client.deadline().unwrap();
        client.step(due, Event::Timer);
    }
    assert_eq!(client.lease().map(|lease| lease.address), Some(ADDRESS));
    assert_eq!(client.listen(), Listen::Nowhere);
}

#[test]
fn an_address_whose_time_ends_while_the_cable_is_out_goes() {
    let mut client = bound();
    client.step(at(200), Event::CarrierDown);
    assert_eq!(words(&client.step(at(3700), Event::Timer)), ["deconfigure"]);
    assert_eq!(client.deadline(), None);
}

#[test]
fn a_cable_that_is_back_after_the_addresss_time_is_not_overlooked() {
    let mut client = bound();
    client.step(at(200), Event::CarrierDown);
    // Nobody had the time to look at the clock before.
    let actions = client.step(at(9000), Event::CarrierUp);
    assert_eq!(words(&actions), ["deconfigure", "broadcast Discover"]);
}

#[test]
fn answers_to_others_are_ignored() {
    let mut client = Client::new(MAC, 7);
    client.step(at(1), Event::CarrierUp);
    let offer = answer(&client, Kind::Offer);
    let other = Answer { transaction: offer.transaction ^ 1, ..offer.clone() };
    assert_eq!(client.step(at(1), Event::Answer(other)), []);
    let neighbour = Answer { mac: [2; 6], ..offer.clone() };
    assert_eq!(client.step(at(1), Event::Answer(neighbour)), []);
    let unusable = Answer { address: Ipv4Addr::UNSPECIFIED, ..offer };
    assert_eq!(client.step(at(1), Event::Answer(unusable)), []);
}

#[test]
fn a_lease_for_ever_is_never_renewed() {
    let mut client = Client::new(MAC, 7);
    client.step(at(1), Event::CarrierUp);
    tell(&mut client, at(1), Kind::Offer);
    let ack = Answer { lease: Some(FOREVER), ..answer(&client, Kind::Ack) };
    client.step(at(1), Event::Answer(ack));
    assert_eq!(client.deadline(), None);
    assert_eq!(client.lease().unwrap().ends_at, Duration::MAX);
}

#[test]
fn classless_routes_replace_the_routers() {
    let mut client = Client::new(MAC, 7);
    client.step(at(1), Event::CarrierUp);
    tell(&mut client, at(1), Kind::Offer);
    let gateway = Ipv4Addr::new(10, 0, 2, 1);
    let route = |prefix| Route { destination: Ipv4Addr::UNSPECIFIED, prefix, gateway };
    let ack = Answer { routes: vec![route(32), route(0)], ..answer(&client, Kind::Ack) };
    client.step(at(1), Event::Answer(ack));
    let lease = client.lease().unwrap();
    assert_eq!(lease.routes, [route(0), route(32)]);
}

#[test]
fn a_mask_with_holes_is_no_mask() {
    for (mask, want) in [
        ([255, 255, 255, 0], Some(24)),
        ([255, 255, 255, 255], Some(32)),
        ([0, 0, 0, 0], Some(0)),
        ([255, 0, 255, 0], None),
    ] {
        assert_eq!(prefix_of(mask.into()), want);
    }
}

proptest! {
    /// Whatever happens in whatever order: time never leads to a busy loop, the link's
    /// configuration follows the lease, and nothing overflows.
    #[test]
    fn any_sequence_of_events_keeps_the_rules(
        events in prop::collection::vec((0_u8..7, 0_u64..5000, any::<u32>()), 1..60),
    ) {
        let mut client = Client::new(MAC, 1);
        let mut now = Duration::ZERO;
        let mut configured = false;
        for (event, later, number) in events {
            now += at(later);
            let event = match event {
                0 => Event::CarrierUp,
                1 => Event::CarrierDown,
                2 | 3 => Event::Timer,
                4 => Event::Answer(answer(&client, Kind::Offer)),
                5 => Event::Answer(Answer {
                    lease: Some(number),
                    renewal: Some(number / 3),
                    rebinding: Some(number.rotate_left(7)),
                    ..answer(&client, Kind::Ack)
                }),
                _ => Event::Answer(answer(&client, Kind::Nak)),
            };
            let is_timer = matches!(event, Event::Timer);
            for action in client.step(now, event) {
                match action {
                    Action::Configure(_) => configured = true,
                    Action::Deconfigure => configured = false,
                    Action::Broadcast(question) | Action::Unicast(question, _) => {
                        question.encode_packet(None);
                    }
                }
            }
            prop_assert_eq!(configured, client.lease().is_some());
            if is_timer && let Some(deadline) = client.deadline() {
                prop_assert!(deadline > now, "{deadline:?} is not after {now:?}");
            }
        }
    }

    /// A server that answers at once, whatever it says and whatever times it gives, is not asked all
    /// the time.
    #[test]
    fn no_answers_lead_to_a_flood(
        answers in prop::collection::vec((0_u8..8, 0_u32..4, 0_u32..90), 1..200),
    ) {
        let mut client = Client::new(MAC, 1);
        let mut asked = vec![at(1)];
        let mut now = at(1);
        client.step(now, Event::CarrierUp);
        for (kind, few, number) in answers {
            let (kind, lease) = match kind {
                // What a server would say that is out to be asked.
                0..=3 if matches!(client.state, State::Selecting { .. }) => (Kind::Offer, 0),
                0..=2 => (Kind::Nak, 0),
                3 | 4 => (Kind::Ack, number),
                _ => (Kind::Ack, 3600),
            };
            let (renewal, rebinding) = (Some(few), Some(number));
            let said = Answer { lease: Some(lease), renewal, rebinding, ..answer(&client, kind) };
            let mut actions = client.step(now, Event::Answer(said));
            if actions.is_empty() && let Some(due) = client.deadline() {
                now = now.max(due);
                actions = client.step(now, Event::Timer);
            }
            let sent = actions.iter().filter(|action| {
                matches!(action, Action::Broadcast(_) | Action::Unicast(..))
            });
            asked.extend(sent.map(|_| now));
        }
        // A renewal, its refusal, and what that leads to.
        for some in asked.windows(9) {
            prop_assert!(some[8] - some[0] >= at(1), "{asked:?}");
        }
    }
}
