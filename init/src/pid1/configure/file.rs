//! Reading `/run/orlop/system.toml`, key by key: what `serde` generates for it is tens of kilobytes
//! of PID 1. The format is [`formats::system`]'s, whose own reader is the judge in the tests.

use std::str::FromStr;

use formats::system::{Link, Route, System};
use toml::de::{DeTable, DeValue};

/// Reads the file's text; keys that are not known are passed over.
///
/// # Errors
/// If it is not TOML, or the key whose value has another type.
pub(crate) fn parse(text: &str) -> Result<System, String> {
    let table = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let mut system = System::default();
    each(table.get_ref(), |key, value| {
        match key {
            "hostname" => system.hostname = Some(string(value)?),
            "source" => system.source = string(value)?,
            "server" => system.server = Some(string(value)?),
            "awaits-url" => system.awaits_url = Some(string(value)?),
            "problems" => system.problems = list(value, string)?,
            "network" => each(as_table(value)?, |key, value| {
                match key {
                    "dns" => system.network.dns = Some(list(value, parsed)?),
                    "search" => system.network.search = Some(list(value, string)?),
                    "links" => each(as_table(value)?, |name, value| {
                        let link = link(as_table(value)?)?;
                        system.network.links.insert(name.to_owned(), link);
                        Some(())
                    })?,
                    _ => {}
                }
                Some(())
            })?,
            "time" => each(as_table(value)?, |key, value| {
                if key == "servers" {
                    system.time.servers = list(value, string)?;
                }
                Some(())
            })?,
            _ => {}
        }
        Some(())
    })
    .ok_or_else(|| "a value is of another type than PID 1 knows".to_owned())?;
    Ok(system)
}

fn link(table: &DeTable<'_>) -> Option<Link> {
    let mut link = Link::default();
    each(table, |key, value| {
        match key {
            "mac" => link.mac = Some(string(value)?),
            "dhcp" => link.dhcp = boolean(value)?,
            "slaac" => link.slaac = boolean(value)?,
            "addresses" => link.addresses = list(value, string)?,
            "gateways" => link.gateways = list(value, parsed)?,
            "routes" => link.routes = list(value, route)?,
            "mtu" => link.mtu = Some(number(value)?),
            _ => {}
        }
        Some(())
    })?;
    Some(link)
}

fn route(value: &DeValue<'_>) -> Option<Route> {
    let mut route = Route { to: String::new(), via: None, metric: None };
    each(as_table(value)?, |key, value| {
        match key {
            "to" => route.to = string(value)?,
            "via" => route.via = Some(parsed(value)?),
            "metric" => route.metric = Some(number(value)?),
            _ => {}
        }
        Some(())
    })?;
    Some(route)
}

/// Gives each key and value to `take`, until it finds one of another type.
fn each(table: &DeTable<'_>, mut take: impl FnMut(&str, &DeValue<'_>) -> Option<()>) -> Option<()> {
    table.iter().try_for_each(|(key, value)| take(key.get_ref(), value.get_ref()))
}

fn as_table<'a, 't>(value: &'a DeValue<'t>) -> Option<&'a DeTable<'t>> {
    match value {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn string(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    }
}

fn parsed<T: FromStr>(value: &DeValue<'_>) -> Option<T> {
    string(value)?.parse().ok()
}

fn boolean(value: &DeValue<'_>) -> Option<bool> {
    match value {
        DeValue::Boolean(value) => Some(*value),
        _ => None,
    }
}

fn number(value: &DeValue<'_>) -> Option<u32> {
    match value {
        DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

fn list<T>(value: &DeValue<'_>, each: fn(&DeValue<'_>) -> Option<T>) -> Option<Vec<T>> {
    match value {
        DeValue::Array(values) => values.iter().map(|value| each(value.get_ref())).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: &str = r#"
        hostname = "worker-1"
        source = "fw_cfg opt/org.orlop/node.toml"
        server = "10.0.2.2:6443"
        awaits-url = "https://config.example/node.toml"
        problems = ["line 3, column 1: unknown key `hostnam`"]
        later = { a = 1 }
        [network]
        dns = ["192.0.2.53", "2001:db8::53", "fe80::1%eth0"]
        search = ["example.internal"]
        [network.links.eth0]
        [network.links.uplink]
        mac = "52:54:00:12:34:56"
        dhcp = false
        slaac = false
        addresses = ["192.0.2.10/24", "2001:db8::10/64"]
        gateways = ["192.0.2.1", "2001:db8::1"]
        routes = [{ to = "10.96.0.0/12", via = "192.0.2.9", metric = 5 }, { to = "::/0" }]
        mtu = 1400
        [time]
        servers = ["192.0.2.123"]
    "#;

    #[test]
    fn it_reads_what_the_formats_own_reader_reads() {
        for text in [FULL, "", "[network]\ndns = []", "[network.links.eth0]\nmtu = 1400"] {
            assert_eq!(parse(text), Ok(System::parse(text).expect("good")), "{text}");
        }
    }

    #[test]
    fn it_refuses_what_the_formats_own_reader_refuses() {
        for text in [
            "hostname = 1",
            "problems = \"one\"",
            "network = 3",
            "[network]\ndns = [\"no address\"]",
            "[network.links]\neth0 = 1",
            "[network.links.eth0]\nmtu = -1",
            "[network.links.eth0]\nroutes = [1]",
            "[network.links.eth0]\nroutes = [{ to = \"::/0\", via = \"::/0\" }]",
            "[network.links.eth0]\ndhcp = \"yes\"",
            "[time]\nservers = [1]",
            "[network",
        ] {
            assert!(System::parse(text).is_err() && parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
