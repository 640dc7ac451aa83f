//! Several addresses of a server, and those that a link loses or nobody gives anew.

use super::*;

/// A server that renumbers: what it knows no more is kept until its end, for connections have it.
#[test]
fn a_new_address_stands_beside_one_that_goes_out_of_use_or_is_not_named() {
    let old = Address { address: OWN, preferred: 0, valid: 1800 };
    let new = Address { address: OTHER, preferred: 1800, valid: 7200 };
    for (addresses, given) in [
        (
            vec![old, new],
            &["give 2001:db8::77 for 0, 1800", "give 2001:db8::88 for 1800, 7200"][..],
        ),
        (vec![new], &["give 2001:db8::88 for 1800, 7200"][..]),
    ] {
        let (mut client, now) = renewing();
        let answer = Answer { addresses, ..reply(&client) };
        assert_eq!(words(&client.step(now, Event::Answer(answer))), given);
        assert_eq!((client.addresses().len(), client.lacks()), (2, None));
        let mut renewed = now;
        while client.addresses().contains(&OWN) {
            let (due, said) = next(&mut client);
            renewed = due;
            if said.iter().any(|said| said.starts_with("Renew")) {
                assert!(said[0].contains("::77") && said[0].contains("::88"), "{said:?}");
                assert_eq!(due, now + at(900), "of the one that is in use");
                let answer = Answer { addresses: vec![new], ..reply(&client) };
                client.step(due, Event::Answer(answer));
                break;
            }
        }
        while client.addresses().contains(&OWN) {
            renewed = next(&mut client).0;
        }
        assert!(renewed <= now + at(2700) && client.addresses() == [OTHER], "{renewed:?}");
    }
}

#[test]
fn no_more_addresses_are_used_than_a_few_and_none_that_is_out_of_use() {
    let (mut client, now) = soliciting();
    let address = |number: u16, preferred| Address {
        address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number),
        preferred,
        valid: 60,
    };
    let mut addresses = vec![address(99, 0)];
    addresses.extend((0..9).map(|number| address(number, 60)));
    let offer = Answer { addresses: addresses.clone(), preference: 255, ..advertise(&client) };
    let said = words(&client.step(now, Event::Answer(offer)));
    assert_eq!(said.concat().matches(" about ").count(), MOST_ADDRESSES, "{said:?}");
    assert!(!said.concat().contains("::63"), "{said:?}");
    let answer = Answer { addresses, ..reply(&client) };
    assert_eq!(client.step(now, Event::Answer(answer)).len(), MOST_ADDRESSES);
}

#[test]
fn a_server_that_wants_an_address_back_is_not_asked_all_the_time_for_another() {
    let (mut client, mut now) = renewing();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let old = Address { address: OWN, preferred: 0, valid: 100_000 };
        let answer = Answer { addresses: vec![old], renewal: 1, rebinding: 2, ..reply(&client) };
        let given = words(&client.step(now, Event::Answer(answer)));
        assert_eq!(given, ["give 2001:db8::77 for 0, 100000"]);
        assert_eq!(client.lacks(), Some(Want::Address), "what is new needs one");
        let (due, said) = next(&mut client);
        assert!(said[0].starts_with("Re"), "{said:?}");
        waits.push((due - now).as_secs_f32());
        now = due;
    }
    for (wait, want) in waits.iter().zip([20.0, 40.0, 80.0, 160.0]) {
        assert!((want * 0.9..=want * 1.1).contains(wait), "{waits:?}");
    }
}

#[test]
fn an_address_is_lacking_once_it_is_not_preferred_any_more() {
    let (mut client, began) = bound();
    while client.lacks().is_none() {
        let (due, _) = next(&mut client);
        assert!(due <= began + at(1800), "{due:?}");
    }
    assert_eq!((client.lacks(), client.addresses()), (Some(Want::Address), vec![OWN]));
}

#[test]
fn an_address_that_the_link_has_lost_is_given_again_later_each_time() {
    let (mut client, mut now) = bound();
    for wait in [1, 2, 4, 8] {
        assert_eq!(client.step(now, Event::Gone(OWN)), []);
        assert_eq!(client.step(now, Event::Gone(OTHER)), []);
        let (due, given) = next(&mut client);
        assert_eq!(due, now + at(wait));
        now = due;
        assert!(given.concat().starts_with("give 2001:db8::77 for 17"), "{given:?}");
    }
    // Where no cable is in nobody knows whether it is good.
    client.step(now, Event::Carrier(false));
    client.step(now, Event::Gone(OWN));
    assert!(client.deadline().unwrap() > now + at(1700));
    client.step(now, Event::Carrier(true));
    let (now, said) = next(&mut client);
    assert_eq!(said, ["Confirm about 2001:db8::77"]);
    let yes = Answer { addresses: Vec::new(), ..reply(&client) };
    let given = words(&client.step(now, Event::Answer(yes)));
    assert!(given.concat().starts_with("give 2001:db8::77 for 17"), "{given:?}");
}

#[test]
fn an_address_that_nobody_writes_in_again_is_kept_and_all_servers_are_asked() {
    let (mut client, mut now) = renewing();
    for round in 0..3 {
        let forgot = Answer { status: NO_BINDING, addresses: Vec::new(), ..reply(&client) };
        let said = words(&client.step(now, Event::Answer(forgot)));
        assert_eq!(said, ["Request to server about 2001:db8::77"]);
        let full = Answer { status: 2, addresses: Vec::new(), ..reply(&client) };
        assert_eq!(client.step(now, Event::Answer(full)), []);
        let (due, said) = next(&mut client);
        assert_eq!(said, ["Rebind about 2001:db8::77"]);
        assert!(due >= now + at(18 << round), "{:?}", due - now);
        now = due;
    }
    assert_eq!(client.addresses(), [OWN]);
}
