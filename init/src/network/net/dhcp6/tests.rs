//! What the client does in each situation, without a clock or a socket.

mod addresses;

use proptest::prelude::*;

use super::message::FOREVER;
use super::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x88);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A server's word to the question that the client asks at the moment: an hour of an address.
fn reply(client: &Client) -> Answer {
    Answer {
        transaction: client.transaction & 0xff_ffff,
        server: b"server".to_vec(),
        addresses: vec![Address { address: OWN, preferred: 1800, valid: 3600 }],
        offered: Offered { dns: vec![OTHER], search: vec!["lan".to_owned()], ntp: Vec::new() },
        ..Answer::default()
    }
}

fn advertise(client: &Client) -> Answer {
    Answer { is_advertise: true, ..reply(client) }
}

/// What a step does, in a word each.
fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Send(question) => {
            let to = question.server.as_ref().map(|to| format!(" to {}", to.escape_ascii()));
            let about = question.addresses.iter().map(|about| format!(" about {about}"));
            format!("{:?}{}{}", question.kind, to.unwrap_or_default(), about.collect::<String>())
        }
        Action::Give(given) => {
            format!("give {} for {}, {}", given.address, given.preferred, given.valid)
        }
        Action::Take(address) => format!("take {address}"),
    };
    actions.iter().map(word).collect()
}

/// The next time that something is due, and what is done then.
fn next(client: &mut Client) -> (Duration, Vec<String>) {
    let due = client.deadline().expect("something is due");
    let before = due - Duration::from_nanos(1);
    assert_eq!(client.step(before, Event::Timer), [], "nothing before its time");
    (due, words(&client.step(due, Event::Timer)))
}

/// A client that is told so at second 100.
fn client(want: Want) -> Client {
    let mut client = Client::new(MAC, 7);
    assert_eq!(client.step(at(90), Event::Carrier(true)), []);
    assert_eq!((client.deadline(), client.listens(), client.lacks()), (None, false, None));
    assert_eq!(client.step(at(100), Event::Routers(want)), []);
    assert_eq!(client.lacks(), Some(want));
    client
}

/// One that has asked all servers.
fn soliciting() -> (Client, Duration) {
    let mut client = client(Want::Address);
    let (now, said) = next(&mut client);
    assert!(now > at(100) && now < at(101), "{now:?}");
    assert_eq!(said, ["Solicit"]);
    assert!(client.listens());
    (client, now)
}

/// One with an address since the time that is given too.
fn bound() -> (Client, Duration) {
    let (mut client, now) = soliciting();
    let rapid = Answer { rapid: true, ..reply(&client) };
    let done = client.step(now, Event::Answer(rapid));
    assert_eq!(words(&done), ["give 2001:db8::77 for 1800, 3600"]);
    (client, now)
}

/// One that asks its own server for more time.
fn renewing() -> (Client, Duration) {
    let (mut client, began) = bound();
    let (now, said) = next(&mut client);
    assert_eq!(now, began + at(900), "half of the time for which the address is preferred");
    assert_eq!(said, ["Renew to server about 2001:db8::77"]);
    (client, now)
}

#[test]
fn an_address_takes_four_messages() {
    let (mut client, now) = soliciting();
    let offer = advertise(&client);
    assert_eq!(client.step(now, Event::Answer(offer)), [], "another server may be better");
    let (now, said) = next(&mut client);
    assert_eq!(said, ["Request to server about 2001:db8::77"]);
    let answer = reply(&client);
    let done = client.step(now, Event::Answer(answer));
    assert_eq!(words(&done), ["give 2001:db8::77 for 1800, 3600"]);
    assert_eq!(client.addresses(), [OWN]);
    assert_eq!((client.offered().dns.as_slice(), client.lacks()), (&[OTHER][..], None));
    assert!(!client.listens());
}

#[test]
fn a_server_that_needs_no_second_question_is_not_asked_one() {
    let (mut client, now) = soliciting();
    let slow = reply(&client);
    assert_eq!(client.step(now, Event::Answer(slow)), [], "it does not say that it is meant so");
    bound();
}

#[test]
fn of_several_servers_the_preferred_one_is_taken_and_the_surest_at_once() {
    let from = |client: &Client, server: &[u8], preference| Answer {
        server: server.to_vec(),
        preference,
        ..advertise(client)
    };
    let (mut client, now) = soliciting();
    for (server, preference) in [(b"a", 1), (b"b", 9), (b"c", 9), (b"d", 3)] {
        let offer = from(&client, server, preference);
        assert_eq!(client.step(now, Event::Answer(offer)), []);
    }
    assert_eq!(next(&mut client).1, ["Request to b about 2001:db8::77"]);

    let (mut client, now) = soliciting();
    let sure = from(&client, b"sure", 255);
    let said = client.step(now, Event::Answer(sure));
    assert_eq!(words(&said), ["Request to sure about 2001:db8::77"]);

    let (mut client, _) = soliciting();
    let (now, said) = next(&mut client);
    assert_eq!(said, ["Solicit"]);
    let late = from(&client, b"late", 0);
    let said = client.step(now, Event::Answer(late));
    assert_eq!(words(&said), ["Request to late about 2001:db8::77"], "the first wait is over");
}

#[test]
fn without_an_answer_it_waits_longer_each_time_up_to_what_servers_say() {
    let (mut client, mut now) = soliciting();
    let mut before = client.deadline().unwrap() - now;
    assert!(before > at(1) && before <= Duration::from_millis(1100), "{before:?}");
    let mut seen = Vec::new();
    for _ in 0..16 {
        let due = next(&mut client).0;
        now = due;
        let wait = client.deadline().unwrap() - now;
        let (least, most) = (before * 19 / 10, before * 21 / 10);
        let longest = at(3600) * 9 / 10;
        assert!(wait >= least.min(longest) && wait <= most.min(at(3960)), "{wait:?} {before:?}");
        before = wait;
        seen.push(wait);
    }
    assert!(seen.iter().any(|wait| *wait > at(3000)), "{seen:?}");
    // A server that has no address for us asks for peace; one that asks for none is not heard.
    for (said, longest) in [(120, 132), (10, 132), (u32::MAX, 132)] {
        let answer =
            Answer { solicit_limit: Some(said), addresses: Vec::new(), ..advertise(&client) };
        assert_eq!(client.step(now, Event::Answer(answer)), []);
        now = next(&mut client).0;
        assert!(client.deadline().unwrap() - now <= at(longest));
    }
}

#[test]
fn who_offers_and_gives_nothing_is_asked_later_each_time() {
    let (mut client, mut now) = soliciting();
    let mut delays = Vec::new();
    for _ in 0..5 {
        let offer = Answer { preference: 255, ..advertise(&client) };
        client.step(now, Event::Answer(offer));
        let none = Answer { status: 2, addresses: Vec::new(), ..reply(&client) };
        assert_eq!(client.step(now, Event::Answer(none)), []);
        let (due, said) = next(&mut client);
        assert_eq!(said, ["Solicit"]);
        delays.push((due - now).as_secs_f32());
        now = due;
    }
    for (delay, want) in delays.iter().zip([2.0, 4.0, 8.0, 16.0, 32.0]) {
        assert!((want * 0.9..=want * 1.1).contains(delay), "{delays:?}");
    }
}

#[test]
fn who_offers_and_then_is_silent_is_left_after_ten_questions() {
    let (mut client, now) = soliciting();
    let offer = Answer { preference: 255, ..advertise(&client) };
    let mut seen = words(&client.step(now, Event::Answer(offer)));
    for _ in 0..10 {
        seen.extend(next(&mut client).1);
    }
    assert_eq!(seen, ["Request to server about 2001:db8::77"; 10]);
    assert_eq!(next(&mut client).1, ["Solicit"]);
}

#[test]
fn a_lease_is_renewed_by_its_server_and_goes_on_from_the_answer() {
    let (mut client, now) = renewing();
    let answer = reply(&client);
    let done = client.step(now + at(1), Event::Answer(answer));
    assert_eq!(words(&done), ["give 2001:db8::77 for 1800, 3600"]);
    assert_eq!(client.deadline(), Some(now + at(1 + 900)));
}

#[test]
fn a_silent_server_is_asked_less_and_less_then_all_are_then_the_address_goes() {
    let (mut client, began) = bound();
    let mut seen = Vec::new();
    let mut ended = began;
    while !client.leases.is_empty() {
        let (due, said) = next(&mut client);
        ended = due;
        seen.extend(said);
    }
    let count = |word: &str| seen.iter().filter(|said| said.starts_with(word)).count();
    assert!((4..8).contains(&count("Renew")) && (5..12).contains(&count("Rebind")), "{seen:?}");
    assert!(seen.contains(&"Rebind about 2001:db8::77".to_owned()), "of any server: {seen:?}");
    assert_eq!((ended, seen.last().unwrap().as_str()), (began + at(3600), "take 2001:db8::77"));
    assert!(client.offered().dns.is_empty());
    assert_eq!(next(&mut client).1, ["Solicit"]);
}

#[test]
fn a_server_that_has_forgotten_us_writes_us_in_again_and_the_address_stays() {
    let (mut client, now) = renewing();
    let forgot = Answer { status: NO_BINDING, addresses: Vec::new(), ..reply(&client) };
    let said = client.step(now, Event::Answer(forgot));
    assert_eq!(words(&said), ["Request to server about 2001:db8::77"]);
    assert_eq!(client.addresses(), [OWN]);
    assert_eq!(client.lacks(), None);
    let answer = reply(&client);
    let done = client.step(now, Event::Answer(answer));
    assert_eq!(words(&done), ["give 2001:db8::77 for 1800, 3600"]);
}

#[test]
fn an_address_that_is_taken_back_goes_and_another_one_replaces_it() {
    let dead = Address { address: OWN, preferred: 0, valid: 0 };
    let new = Address { address: OTHER, preferred: 60, valid: 90 };
    let (mut client, now) = renewing();
    let answer = Answer { addresses: vec![dead, new], ..reply(&client) };
    let done = client.step(now, Event::Answer(answer));
    assert_eq!(words(&done), ["take 2001:db8::77", "give 2001:db8::88 for 60, 90"]);

    assert_eq!(client.addresses(), [OTHER]);

    let (mut client, now) = renewing();
    let answer = Answer { addresses: vec![dead], ..reply(&client) };
    assert_eq!(words(&client.step(now, Event::Answer(answer))), ["take 2001:db8::77"]);
    assert_eq!(client.lacks(), Some(Want::Address));

    let (mut client, now) = renewing();
    let answer = Answer { addresses: Vec::new(), status: 1, ..reply(&client) };
    assert_eq!(client.step(now, Event::Answer(answer)), [], "it may know better later");
    assert_eq!(client.addresses(), [OWN]);
}

#[test]
fn who_takes_back_what_it_gives_is_asked_later_each_time() {
    let back = Address { address: OWN, preferred: 0, valid: 0 };
    for (status, addresses) in [(NOT_ON_LINK, Vec::new()), (SUCCESS, vec![back])] {
        let (mut client, _) = bound();
        let mut delays = Vec::new();
        for _ in 0..5 {
            let (now, said) = next(&mut client);
            assert_eq!(said, ["Renew to server about 2001:db8::77"]);
            let answer = Answer { status, addresses: addresses.clone(), ..reply(&client) };
            assert_eq!(words(&client.step(now, Event::Answer(answer))), ["take 2001:db8::77"]);
            let (due, said) = next(&mut client);
            assert_eq!(said, ["Solicit"]);
            delays.push((due - now).as_secs_f32());
            let rapid = Answer { rapid: true, ..reply(&client) };
            client.step(due, Event::Answer(rapid));
        }
        for (delay, want) in delays.iter().zip([2.0, 4.0, 8.0, 16.0, 32.0]) {
            assert!((want * 0.9..=want * 1.1).contains(delay), "{delays:?}");
        }
    }
}

#[test]
fn a_server_without_addresses_may_know_names() {
    let (mut client, now) = soliciting();
    let none = Answer { status: 2, addresses: Vec::new(), ..advertise(&client) };
    assert_eq!(client.step(now, Event::Answer(none)), []);
    assert_eq!(
        (client.offered().dns.as_slice(), client.lacks()),
        (&[OTHER][..], Some(Want::Address))
    );
    assert_eq!(next(&mut client).1, ["Solicit"], "another may have some");
}

#[test]
fn of_two_routers_the_one_counts_that_leaves_more_until_the_cable_is_out() {
    let (mut client, now) = soliciting();
    for want in [Want::Nothing, Want::Address, Want::Names] {
        assert_eq!(client.step(now, Event::Routers(want)), []);
        assert_eq!(client.lacks(), Some(Want::Address));
    }
    assert_eq!(next(&mut client).1, ["Solicit"]);
    client.step(now, Event::Carrier(false));
    client.step(now, Event::Carrier(true));
    assert_eq!((client.deadline(), client.lacks()), (None, None), "no router is here");
    client.step(now, Event::Routers(Want::Names));
    assert_eq!(next(&mut client).1, ["Inform"]);
}

#[test]
fn names_of_another_network_are_forgotten_if_nobody_answers() {
    for wants in [Want::Nothing, Want::Names] {
        let mut client = client(Want::Names);
        let (now, _) = next(&mut client);
        let answer = Answer { addresses: Vec::new(), ..reply(&client) };
        client.step(now, Event::Answer(answer));
        client.step(now, Event::Carrier(false));
        assert_eq!(client.offered().dns, [OTHER]);
        client.step(now, Event::Carrier(true));
        client.step(now, Event::Routers(wants));
        while client.offered().dns == [OTHER] {
            assert!(next(&mut client).0 <= now + GRACE);
        }
        assert_eq!(client.offered(), &Offered::default());
    }
}

#[test]
fn the_times_that_a_server_leaves_to_us_are_parts_of_the_addresss() {
    for (times, life, want) in [
        ((0, 0), (1800, 3600), (Some(900), Some(1440))),
        ((100, 0), (1800, 3600), (Some(100), Some(1440))),
        ((1700, 0), (1800, 3600), (Some(1700), Some(1700))),
        ((0, 200), (1800, 3600), (Some(200), Some(200))),
        // When it is over nobody is left to ask.
        ((5000, 6000), (1800, 3600), (Some(900), Some(1440))),
        ((3600, FOREVER), (1800, 3600), (Some(900), Some(1440))),
        ((2000, 6000), (1800, 3600), (Some(2000), Some(2000))),
        ((0, 0), (0, 100), (Some(50), Some(80))),
        ((0, 0), (1, 1), (Some(1), Some(1))),
        ((0, 0), (FOREVER, FOREVER), (None, None)),
        ((60, 90), (FOREVER, FOREVER), (Some(60), Some(90))),
    ] {
        let addresses = vec![Address { address: OWN, preferred: life.0, valid: life.1 }];
        let answer =
            Answer { renewal: times.0, rebinding: times.1, addresses, ..Answer::default() };
        let [renewal, rebinding] =
            <[u32; 2]>::from(lease::times(&answer)).map(|time| Some(time).filter(|t| *t < FOREVER));
        assert_eq!((renewal, rebinding), want, "{times:?} {life:?}");
    }
}

#[test]
fn after_the_cable_was_out_all_servers_are_asked_whether_the_address_is_good_here() {
    let out = || {
        let (mut client, began) = bound();
        assert_eq!(client.step(began + at(10), Event::Carrier(false)), []);
        assert_eq!(client.deadline(), Some(began + at(1800)), "it is preferred no more");
        assert_eq!(client.step(began + at(20), Event::Carrier(true)), []);
        let (now, said) = next(&mut client);
        assert_eq!(said, ["Confirm about 2001:db8::77"]);
        assert_eq!(client.lacks(), None);
        (client, now, began)
    };
    let (mut client, now, began) = out();
    let yes = Answer { addresses: Vec::new(), ..reply(&client) };
    let given = words(&client.step(now, Event::Answer(yes)));
    assert!(given.concat().starts_with("give 2001:db8::77 for 17"), "it may have gone: {given:?}");
    assert_eq!(client.deadline(), Some(began + at(900)), "as before");
    assert!(!client.offered().dns.is_empty(), "a yes tells nothing else");

    let (mut client, now, _) = out();
    let no = Answer { status: NOT_ON_LINK, addresses: Vec::new(), ..reply(&client) };
    client.step(now, Event::Routers(Want::Address));
    assert_eq!(words(&client.step(now, Event::Answer(no))), ["take 2001:db8::77"]);
    assert_eq!(next(&mut client).1, ["Solicit"]);

    // Nobody knows better.
    let (mut client, now, began) = out();
    while client.listens() {
        assert!(next(&mut client).0 < now + at(15));
    }
    assert_eq!(client.addresses(), [OWN]);
    assert_eq!(client.deadline(), Some(began + at(900)));
}

#[test]
fn an_address_ends_while_the_cable_is_out_and_a_late_cable_asks_anew() {
    let (mut client, began) = bound();
    client.step(began + at(10), Event::Carrier(false));
    next(&mut client);
    assert_eq!(next(&mut client), (began + at(3600), vec!["take 2001:db8::77".to_owned()]));
    assert_eq!(client.deadline(), None);

    let (mut client, began) = bound();
    client.step(began + at(10), Event::Carrier(false));
    // Nobody had the time to look at the clock before.
    let done = client.step(began + at(9000), Event::Carrier(true));
    assert_eq!(words(&done), ["take 2001:db8::77"]);
    assert_eq!(client.deadline(), None, "no router is here yet");
    client.step(began + at(9000), Event::Routers(Want::Address));
    assert_eq!(next(&mut client).1, ["Solicit"]);
}

#[test]
fn an_address_that_another_node_has_is_declined_and_the_next_one_is_asked_for_later() {
    let (mut client, now) = bound();
    assert_eq!(client.step(now, Event::Taken(OTHER)), [], "not ours");
    let done = client.step(now, Event::Taken(OWN));
    assert_eq!(words(&done), ["take 2001:db8::77", "Decline to server about 2001:db8::77"]);
    assert_eq!((client.addresses(), client.lacks()), (Vec::new(), Some(Want::Address)));
    let heard = Answer { addresses: Vec::new(), ..reply(&client) };
    assert_eq!(client.step(now, Event::Answer(heard)), []);
    let (due, said) = next(&mut client);
    assert_eq!(said, ["Solicit"]);
    assert!(due - now > Duration::from_millis(1700), "{:?}", due - now);

    let (mut client, now) = bound();
    let mut seen = words(&client.step(now, Event::Taken(OWN)));
    for _ in 0..5 {
        seen.extend(next(&mut client).1);
    }
    assert_eq!(seen[1..5], ["Decline to server about 2001:db8::77"; 4]);
    assert_eq!(seen[5..], ["Solicit"], "nobody hears it");
}

#[test]
fn where_only_names_are_asked_for_they_are_asked_for_again_in_time() {
    let told = |refresh| {
        let mut client = client(Want::Names);
        let (now, said) = next(&mut client);
        assert_eq!(said, ["Inform"]);
        let answer = Answer { refresh, addresses: Vec::new(), ..reply(&client) };
        assert_eq!(client.step(now, Event::Answer(answer)), []);
        assert_eq!((client.offered().dns.as_slice(), client.lacks()), (&[OTHER][..], None));
        let wait = client.deadline().map(|deadline| (deadline - now).as_secs());
        (client, wait)
    };
    let (mut client, wait) = told(None);
    assert_eq!(wait, Some(86_400));
    assert_eq!(next(&mut client).1, ["Inform"]);
    assert!(!client.offered().dns.is_empty(), "what is known is good until then");
    assert_eq!(told(Some(5)).1, Some(600));
    assert_eq!(told(Some(7200)).1, Some(7200));
    assert_eq!(told(Some(FOREVER)).1, None);
}

#[test]
fn an_address_is_kept_up_though_no_router_leaves_it_to_us_and_stop_ends_all() {
    let (mut client, began) = bound();
    client.step(began, Event::Carrier(false));
    client.step(began, Event::Carrier(true));
    let (now, _) = next(&mut client);
    let yes = Answer { addresses: Vec::new(), ..reply(&client) };
    client.step(now, Event::Answer(yes));
    assert_eq!(next(&mut client).1, ["Renew to server about 2001:db8::77"]);
    while !client.leases.is_empty() {
        next(&mut client);
        assert_eq!(client.lacks(), None, "nobody asks for one");
    }
    assert_eq!(client.deadline(), None, "nobody asks for another");

    let (mut client, began) = bound();
    assert_eq!(words(&client.step(began, Event::Stop)), ["take 2001:db8::77"]);
    assert_eq!((client.deadline(), client.offered()), (None, &Offered::default()));
}

#[test]
fn answers_to_others_and_of_others_are_ignored() {
    let (mut client, now) = soliciting();
    let offer = Answer { preference: 255, ..advertise(&client) };
    let other = Answer { transaction: offer.transaction ^ 1, ..offer.clone() };
    assert_eq!(client.step(now, Event::Answer(other)), []);
    let none = Answer { addresses: Vec::new(), ..offer.clone() };
    assert_eq!(client.step(now, Event::Answer(none)), [], "it has nothing");
    client.step(now, Event::Answer(offer));
    let stranger = Answer { server: b"stranger".to_vec(), ..reply(&client) };
    assert_eq!(client.step(now, Event::Answer(stranger)), []);
    let again = advertise(&client);
    assert_eq!(client.step(now, Event::Answer(again)), []);
    assert!(client.leases.is_empty());
    let (mut client, now) = bound();
    let late = Answer { addresses: Vec::new(), status: NOT_ON_LINK, ..reply(&client) };
    assert_eq!(client.step(now, Event::Answer(late)), [], "nobody was asked");
}

proptest! {
    /// Whatever happens in whatever order: time never leads to a busy loop, the link's addresses
    /// follow the lease, and nothing overflows.
    #[test]
    fn any_sequence_of_events_keeps_the_rules(
        events in prop::collection::vec((0_u8..14, 0_u64..5000, any::<u32>()), 1..60),
    ) {
        let mut client = Client::new(MAC, 1);
        let mut now = Duration::ZERO;
        let mut given = std::collections::BTreeSet::new();
        for (event, later, number) in events {
            now += at(later);
            let address = if number % 3 == 0 { OTHER } else { OWN };
            let word = |valid, status| Answer {
                status,
                rapid: number % 2 == 0,
                preference: (number >> 24) as u8,
                renewal: number / 3,
                rebinding: number.rotate_left(7),
                solicit_limit: Some(number >> 12),
                refresh: Some(number),
                addresses: [Address { address, preferred: valid / 2, valid }]
                    .repeat(1 + number as usize % 2),
                ..reply(&client)
            };
            let event = match event {
                0 => Event::Carrier(true),
                1 => Event::Carrier(false),
                2 => Event::Routers(Want::Address),
                3 => Event::Routers([Want::Names, Want::Nothing][number as usize % 2]),
                4 if number % 2 == 0 => Event::Taken(address),
                4 => Event::Gone(address),
                5 => Event::Answer(word(number, [NO_BINDING, NOT_ON_LINK, 1][number as usize % 3])),
                6 => Event::Answer(word(0, SUCCESS)),
                7 | 8 => Event::Answer(word(number, SUCCESS)),
                9 => Event::Answer(Answer { is_advertise: true, ..word(number, SUCCESS) }),
                10 if number % 8 == 0 => Event::Stop,
                _ => Event::Timer,
            };
            let is_timer = matches!(event, Event::Timer);
            for action in client.step(now, event) {
                match action {
                    Action::Give(new) => {
                        prop_assert!(new.preferred <= new.valid && new.valid > 0);
                        given.insert(new.address);
                    }
                    Action::Take(old) => prop_assert!(given.remove(&old)),
                    Action::Send(question) => {
                        question.encode(Some("n1"));
                        prop_assert!(client.listens());
                    }
                }
            }
            prop_assert!(client.leases.len() <= MOST_ADDRESSES);
            prop_assert_eq!(&given, &client.addresses().into_iter().collect());
            if is_timer && let Some(deadline) = client.deadline() {
                prop_assert!(deadline > now, "{deadline:?} is not after {now:?}");
            }
        }
    }

    /// A server that answers at once, whatever it says and whatever times it gives, is not asked all
    /// the time.
    #[test]
    fn no_answers_lead_to_a_flood(
        answers in prop::collection::vec((0_u8..9, 0_u32..4, 0_u32..4), 1..200),
    ) {
        let (mut client, mut now) = soliciting();
        let mut asked = vec![now];
        for (kind, few, life) in answers {
            let status = [NO_BINDING, NOT_ON_LINK, 2, 1].get(usize::from(kind)).copied();
            let address = if kind == 5 { OTHER } else { OWN };
            let given = Address { address, preferred: life / 2, valid: life };
            let given = if kind > 6 { Address { valid: 3600, preferred: 1800, ..given } } else { given };
            let answer = Answer {
                is_advertise: matches!(client.state, State::Soliciting(_)) && kind % 2 == 1,
                status: status.unwrap_or(SUCCESS),
                rapid: true,
                preference: SURE,
                renewal: few,
                rebinding: few,
                addresses: Vec::from_iter(status.is_none().then_some(given)),
                ..reply(&client)
            };
            let event = if kind == 4 { Event::Taken(OWN) } else { Event::Answer(answer) };
            let mut actions = client.step(now, event);
            if actions.is_empty() && let Some(due) = client.deadline() {
                now = now.max(due);
                actions = client.step(now, Event::Timer);
            }
            let sent = actions.iter().filter(|action| matches!(action, Action::Send(_)));
            asked.extend(sent.map(|_| now));
        }
        for some in asked.windows(9) {
            prop_assert!(some[8] - some[0] >= SECOND, "{asked:?}");
        }
    }
}
