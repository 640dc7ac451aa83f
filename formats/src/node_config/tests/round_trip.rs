//! What is printed is read back, and nothing that is read makes the reader panic.

use proptest::prelude::*;

use super::*;

/// Keys, values and marks of a configuration, in any order: nearer to one than letters are.
fn words() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "schema",
        "hostname",
        "network",
        "links",
        "eth0",
        "mac",
        "dhcp",
        "addresses",
        "gateways",
        "slaac",
        "mtu",
        "kubernetes",
        "server",
        "ca",
        "token",
        "standalone",
        "labels",
        "taints",
        "static-pods",
        "kubelet",
        "maxPods",
        "cni",
        "bridge",
        "hugepages",
        "2Mi",
        "containerd",
        "registries",
        "mirrors",
        "security",
        "lockdown",
        "update",
        "policy",
        "=",
        " = ",
        ".",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "\n",
        "\n[",
        "\"",
        "'''",
        "\"\"\"",
        "1",
        "0x1",
        "true",
        "inf",
        "1979-05-27",
        "\"192.0.2.1/24\"",
        "\"ä\"",
        "\\",
        "\"https://a\"",
        "\"10.88.0.0/16\"",
        "\"a=b:NoSchedule\"",
        "#",
        "schema = 1\n",
        "\u{1}",
    ]);
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

fn links() -> impl Strategy<Value = String> {
    let link = (any::<bool>(), any::<bool>(), 1..255_u8, proptest::option::of(1280..9000_u32));
    proptest::collection::btree_map("[a-z]{1,15}", link, 0..4).prop_map(|links| {
        let mut text = String::new();
        for (index, (name, (dhcp, slaac, host, mtu))) in links.into_iter().enumerate() {
            text += &format!("[network.links.l{}{name}]\n", index)
                .replace(&name, &name[..name.len().min(13)]);
            text += &format!("dhcp = {dhcp}\nslaac = {slaac}\n");
            text +=
                &format!("addresses = ['10.{index}.0.{host}/16', 'fd00:{index}::{host:x}/64']\n");
            text += &mtu.map_or(String::new(), |mtu| format!("mtu = {mtu}\n"));
        }
        text
    })
}

fn fragment() -> impl Strategy<Value = toml::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(toml::Value::from),
        any::<bool>().prop_map(toml::Value::from),
        any::<f64>()
            .prop_filter("JSON has no others", |n| n.is_finite())
            .prop_map(toml::Value::from),
        ".*".prop_map(toml::Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(toml::Value::from),
            proptest::collection::btree_map(".*", inner, 0..4)
                .prop_map(|table| toml::Value::Table(table.into_iter().collect())),
        ]
    })
}

#[test]
fn every_key_is_read_back() {
    let config = parse(FULL).unwrap();
    assert_eq!(parse(&config.to_toml(Secrets::Shown)).as_ref(), Ok(&config));
    let example = NodeConfig::example().unwrap();
    assert_eq!(parse(&example.to_toml(Secrets::Hidden)).as_ref(), Ok(&example));
}

#[test]
fn nesting_without_end_is_a_problem_and_no_crash() {
    let dotted = format!("schema = 1\n{}x = 1\n", "x.".repeat(200_000));
    let header = format!("schema = 1\n[{}x]\n", "x.".repeat(200_000));
    let lists = format!("schema = 1\nx = {}", "[".repeat(200_000));
    let tables = format!("schema = 1\nx = {}", "{x=".repeat(200_000));
    let kubelet = format!("schema = 1\n[kubelet]\n{}x = 1\n", "x.".repeat(200_000));
    for text in [dotted, header, lists, tables, kubelet] {
        assert!(parse(&text).is_err());
    }
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let text = format!("schema = 1\n#{}", "x".repeat(LARGEST));
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].to_string(),
        format!("1:1: the file has {} bytes; 1048576 is the most", text.len())
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in prop_oneof![words(), "\\PC*", ".*"]) {
        for text in [text.clone(), format!("schema = 1\n{text}")] {
            match parse(&text) {
                Ok(config) => prop_assert_eq!(parse(&config.to_toml(Secrets::Shown)), Ok(config)),
                Err(problems) => {
                    prop_assert!(!problems.is_empty());
                    for problem in problems {
                        prop_assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
                        problem.excerpt(std::path::Path::new("node.toml"), &text);
                    }
                }
            }
        }
    }

    #[test]
    fn links_are_read_back(links in links()) {
        let config = parse(&format!("schema = 1\n{links}")).unwrap();
        prop_assert_eq!(parse(&config.to_toml(Secrets::Shown)), Ok(config));
    }

    #[test]
    fn what_kubelet_is_given_is_read_back(value in fragment()) {
        let mut config = NodeConfig::example().unwrap();
        config.kubelet.insert("fieldOfALaterKubelet".to_owned(), value);
        prop_assert_eq!(parse(&config.to_toml(Secrets::Shown)), Ok(config));
    }
}
