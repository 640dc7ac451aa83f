//! What PID 1 needs to know of the node config: `/run/orlop/system.toml`.
//!
//! `orlop-node configure` writes it, PID 1 reads it. Both are of the same image and the file lives
//! for one boot, so it has no schema number; what is absent has its default, and keys that the
//! reader does not know are passed over. PID 1 so takes in a configuration without the code that
//! finds, fetches and checks one.
//!
//! It is read by hand: what `serde` generates for reading would cost PID 1 its room.

mod name_server;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

pub use name_server::NameServer;
use serde::Serialize;
use serde::de::Error as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// Where the file lies on a node.
pub const PATH: &str = "/run/orlop/system.toml";

/// The slot that runs, `a`, `b` or `none`, and a line feed: what was found, whatever the kernel command
/// line and the loader said. PID 1 writes it in the initrd; it is there in every boot.
pub const SLOT: &str = "/run/orlop/slot";

/// Where units of `orlop-node` that end leave what people should know: in a file of the unit's name,
/// a line each. PID 1 reads it when the unit is done.
pub const PROBLEMS: &str = "/run/orlop/problems";

/// Why there is no STATE in this boot, a line; its partition if there is one, another; and [`DAMAGED`]
/// if what is on that is damaged, a third. PID 1 writes it when `/var` is in memory and should not
/// be; its absence says that all is well.
pub const WITHOUT_STATE: &str = "/run/orlop/without-state";

/// The third line of [`WITHOUT_STATE`].
pub const DAMAGED: &str = "damaged";

/// How a line of the unit `devices` begins that is about damage on STATE: PID 1 keeps what follows
/// on the screen until the machine starts again.
pub const STATE_IS_DAMAGED: &str = "STATE: ";

/// Is there while `orlop.state=reset` stands on the kernel command line and was followed.
pub const STATE_WAS_RESET: &str = "/var/lib/orlop/state-was-reset";

/// Why the machine is asked to go down, a line: who asks PID 1 by a signal leaves it there before, and
/// PID 1 shows it.
pub const SHUTDOWN_REASON: &str = "/run/orlop/shutdown-reason";

/// That a release is staged and waits for a restart, as packages of Debian say it: kured looks for this
/// file. Its text is for people.
pub const REBOOT_REQUIRED: &str = "/var/run/reboot-required";

/// Which release is about to be tried ([`crate::trial::Note`]). The updater writes it before it has the
/// machine start from the other slot, and removes it when the trial is decided.
pub const TRIAL_NOTE: &str = "/var/lib/orlop/trial";

/// The copy of small databases that was made before a trial, a directory on STATE: put back after a
/// fall-back, before containerd starts.
pub const TRIAL_COPY: &str = "/var/lib/orlop/before-trial";

/// How the trial went ([`crate::trial::Outcome`]). Written in the trial, read by who comes after it.
pub const TRIAL_OUTCOME: &str = "/var/lib/orlop/trial-outcome";

/// A copy of [`TRIAL_NOTE`], if there is one, that PID 1 makes before any unit runs.
pub const TRIAL_WAS_NOTED: &str = "/run/orlop/trial-note";

/// The same, if the note is of the root that runs: this boot is the trial.
pub const THIS_IS_A_TRIAL: &str = "/run/orlop/trial";

/// Bytes of [`TRIAL_NOTE`] that count.
pub const LONGEST_TRIAL_NOTE: u64 = 16 * 1024;

/// What became of the last trial, for people, a line each: the screen shows it in every boot until
/// another release is tried.
pub const LAST_TRIAL: &str = "/run/orlop/last-trial";

/// What the way down may take, from the request to the end of the machine, if every unit of a node
/// uses up its time and the disk does not answer: who waits for it from outside waits so long.
/// PID 1 does not read this; a test of `init` adds up what the units have.
pub const LONGEST_SHUTDOWN: Duration = Duration::from_secs(6 * 60);

/// What PID 1 needs to know of the node config. Written with `toml::to_string`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct System {
    /// The host name that the config names; without one DHCP's or one made from the MAC is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Where the config came from, for the screen: `fw_cfg opt/org.orlop/node.toml`, `none`.
    pub source: String,
    /// `HOST:PORT` of the API server, to say whether it can be reached. None without a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// An address which is to be fetched before the config is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awaits_url: Option<String>,
    /// For the screen: what is wrong with a file, what the node lacks. One line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Names and links.
    pub network: Network,
    /// The clock.
    pub time: Time,
}

/// Names and links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Network {
    /// Name servers instead of what DHCP and routers say; an empty list says that there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<NameServer>>,
    /// Search domains instead of what DHCP says; an empty list says that there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Vec<String>>,
    /// By the kernel's name of the link, or by any name if the link says a MAC address.
    /// A link that no entry is about has DHCP and SLAAC.
    pub links: BTreeMap<String, Link>,
}

/// One link. All questions of default are settled: PID 1 does what is written here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// Match by this address (`52:54:00:12:34:56`) instead of by the entry's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Ask for an IPv4 address by DHCP.
    pub dhcp: bool,
    /// Take IPv6 addresses from router advertisements.
    pub slaac: bool,
    /// Static addresses with their prefix length: `192.0.2.10/24`.
    pub addresses: Vec<String>,
    /// Default gateways, at most one of each family in use.
    pub gateways: Vec<IpAddr>,
    /// Ways to other networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Largest packet in bytes; the driver's default without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            mac: None,
            dhcp: true,
            slaac: true,
            addresses: Vec::new(),
            gateways: Vec::new(),
            routes: Vec::new(),
            mtu: None,
        }
    }
}

/// A way to another network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// The network: `10.96.0.0/12`.
    pub to: String,
    /// Who knows the way, a neighbour on the link; without, the network is on the link itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Of several ways the one with the lowest wins; without, as for a gateway of the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

/// The clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Time {
    /// NTP servers by name or address; none: those of DHCP, and the clock is left alone without.
    pub servers: Vec<String>,
}

impl System {
    /// Reads the file's text.
    ///
    /// # Errors
    /// If it is not TOML or a value has another type.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let table = DeTable::parse(text)?;
        let mut system = Self::default();
        for (key, value) in entries(table.get_ref()) {
            match key {
                "hostname" => system.hostname = Some(value.text()?),
                "source" => system.source = value.text()?,
                "server" => system.server = Some(value.text()?),
                "awaits-url" => system.awaits_url = Some(value.text()?),
                "problems" => system.problems = value.texts()?,
                "network" => system.network = network(value.table()?)?,
                "time" => system.time = time(value.table()?)?,
                _ => {}
            }
        }
        Ok(system)
    }
}

fn network(table: &DeTable<'_>) -> Result<Network, Error> {
    let mut network = Network::default();
    for (key, value) in entries(table) {
        match key {
            "dns" => network.dns = Some(value.parsed("IP addresses")?),
            "search" => network.search = Some(value.texts()?),
            "links" => {
                for (name, value) in entries(value.table()?) {
                    network.links.insert(name.to_owned(), link(value.table()?)?);
                }
            }
            _ => {}
        }
    }
    Ok(network)
}

fn link(table: &DeTable<'_>) -> Result<Link, Error> {
    let mut link = Link::default();
    for (key, value) in entries(table) {
        match key {
            "mac" => link.mac = Some(value.text()?),
            "dhcp" => link.dhcp = value.boolean()?,
            "slaac" => link.slaac = value.boolean()?,
            "addresses" => link.addresses = value.texts()?,
            "gateways" => link.gateways = value.parsed("IP addresses")?,
            "routes" => {
                let items = value.value.as_array().ok_or_else(|| value.wrong("a list"))?;
                for item in items {
                    let item = Value { key, value: item.get_ref() };
                    link.routes.push(route(item.table()?)?);
                }
            }
            "mtu" => link.mtu = Some(value.number()?),
            _ => {}
        }
    }
    Ok(link)
}

fn route(table: &DeTable<'_>) -> Result<Route, Error> {
    let mut route = Route { to: String::new(), via: None, metric: None };
    for (key, value) in entries(table) {
        match key {
            "to" => route.to = value.text()?,
            "via" => {
                let via = value.text()?.parse().map_err(|_| value.wrong("an IP address"))?;
                route.via = Some(via);
            }
            "metric" => route.metric = Some(value.number()?),
            _ => {}
        }
    }
    Ok(route)
}

fn time(table: &DeTable<'_>) -> Result<Time, Error> {
    let mut time = Time::default();
    for (key, value) in entries(table) {
        if key == "servers" {
            time.servers = value.texts()?;
        }
    }
    Ok(time)
}

/// A value, and the key that it has in its table, for the error.
struct Value<'t> {
    key: &'t str,
    value: &'t DeValue<'t>,
}

fn entries<'t>(table: &'t DeTable<'t>) -> impl Iterator<Item = (&'t str, Value<'t>)> {
    table.iter().map(|(key, value): (_, &Spanned<DeValue<'_>>)| {
        let key: &str = key.get_ref();
        (key, Value { key, value: value.get_ref() })
    })
}

impl<'t> Value<'t> {
    fn wrong(&self, wanted: &str) -> Error {
        Error::custom(format_args!("`{}` must be {wanted}", self.key))
    }

    fn text(&self) -> Result<String, Error> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.wrong("a text"))
    }

    fn boolean(&self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    fn number(&self) -> Result<u32, Error> {
        let number = self.value.as_integer();
        number
            .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
            .ok_or_else(|| self.wrong("a whole number"))
    }

    fn texts(&self) -> Result<Vec<String>, Error> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        items.iter().map(|item| Value { key: self.key, value: item.get_ref() }.text()).collect()
    }

    fn parsed<T: std::str::FromStr>(&self, wanted: &str) -> Result<Vec<T>, Error> {
        let texts = self.texts()?;
        texts.iter().map(|text| text.parse().map_err(|_| self.wrong(wanted))).collect()
    }

    fn table(&self) -> Result<&'t DeTable<'t>, Error> {
        self.value.as_table().ok_or_else(|| self.wrong("a table"))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    fn full() -> System {
        System {
            hostname: Some("worker-1".to_owned()),
            source: "fw_cfg opt/org.orlop/node.toml".to_owned(),
            server: Some("10.0.2.2:6443".to_owned()),
            awaits_url: Some("https://config.example/node.toml".to_owned()),
            problems: vec!["line 3, column 1: unknown key `hostnam`".to_owned()],
            network: Network {
                dns: Some(
                    ["192.0.2.53", "fe80::1%eth0"].map(|s| s.parse().expect("good")).to_vec(),
                ),
                search: Some(vec!["example.internal".to_owned()]),
                links: BTreeMap::from([
                    ("eth0".to_owned(), Link::default()),
                    (
                        "uplink".to_owned(),
                        Link {
                            mac: Some("52:54:00:12:34:56".to_owned()),
                            dhcp: false,
                            slaac: false,
                            addresses: vec!["2001:db8::10/64".to_owned()],
                            gateways: vec!["2001:db8::1".parse().expect("an address")],
                            routes: vec![Route {
                                to: "2001:db8:9::/48".to_owned(),
                                via: Some("2001:db8::9".parse().expect("an address")),
                                metric: Some(50),
                            }],
                            mtu: Some(1400),
                        },
                    ),
                ]),
            },
            time: Time { servers: vec!["192.0.2.123".to_owned()] },
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let none = Network { dns: Some(vec![]), search: Some(vec![]), ..Network::default() };
        let none = System { network: none, ..System::default() };
        for system in [full(), none, System::default()] {
            let text = toml::to_string(&system).expect("TOML can hold it");
            assert_eq!(System::parse(&text), Ok(system), "{text}");
        }
    }

    #[test]
    fn the_file_reads_like_the_config() {
        let text = toml::to_string(&full()).expect("TOML can hold it");
        expect![[r#"
            hostname = "worker-1"
            source = "fw_cfg opt/org.orlop/node.toml"
            server = "10.0.2.2:6443"
            awaits-url = "https://config.example/node.toml"
            problems = ["line 3, column 1: unknown key `hostnam`"]

            [network]
            dns = ["192.0.2.53", "fe80::1%eth0"]
            search = ["example.internal"]

            [network.links.eth0]
            dhcp = true
            slaac = true
            addresses = []
            gateways = []

            [network.links.uplink]
            mac = "52:54:00:12:34:56"
            dhcp = false
            slaac = false
            addresses = ["2001:db8::10/64"]
            gateways = ["2001:db8::1"]
            mtu = 1400

            [[network.links.uplink.routes]]
            to = "2001:db8:9::/48"
            via = "2001:db8::9"
            metric = 50

            [time]
            servers = ["192.0.2.123"]
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn what_is_absent_has_its_default() {
        assert_eq!(System::parse(""), Ok(System::default()));
        let one = System::parse("[network.links.eth0]\nmtu = 1400").expect("a link");
        let link = Link { mtu: Some(1400), ..Link::default() };
        assert_eq!(one.network.links, BTreeMap::from([("eth0".to_owned(), link)]));
    }

    #[test]
    fn a_value_of_another_type_is_an_error_that_names_its_key() {
        for (text, want) in [
            ("hostname = 1", "`hostname` must be a text"),
            ("network = []", "`network` must be a table"),
            ("network.dns = ['no address']", "`dns` must be IP addresses"),
            ("network.links.eth0.dhcp = 'yes'", "`dhcp` must be true or false"),
            ("network.links.eth0.mtu = -1", "`mtu` must be a whole number"),
            ("network.links.eth0.addresses = [1]", "`addresses` must be a text"),
            ("network.links.eth0 = 1", "`eth0` must be a table"),
            ("network.links.eth0.routes = [1]", "`routes` must be a table"),
            (
                "network.links.eth0.routes = [{ to = '::/0', via = '::/0' }]",
                "`via` must be an IP address",
            ),
            ("problems = 'one'", "`problems` must be a list"),
            ("time.servers = 'a'", "`servers` must be a list"),
        ] {
            assert_eq!(System::parse(text).unwrap_err().message(), want, "{text}");
        }
        assert!(System::parse("[network").is_err());
    }

    #[test]
    fn keys_that_the_reader_does_not_know_are_passed_over() {
        let text = "new = 1\nsource = 's'\n[network.new]\n[network.links.a]\nnew = 1\n[time.new]";
        let network = Network {
            links: BTreeMap::from([("a".to_owned(), Link::default())]),
            ..Network::default()
        };
        let want = System { source: "s".to_owned(), network, ..System::default() };
        assert_eq!(System::parse(text), Ok(want));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = System::parse(&text);
        }
    }
}
