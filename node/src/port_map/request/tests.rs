//! What a runtime asks of `portmap`: good calls and bad ones.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn call(environment: &[(&str, &str)]) -> Result<Call, Error> {
    Call::read(|name| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
}

fn config(mappings: &Value, ips: &Value) -> Result<Config, Error> {
    let text = json!({
        "cniVersion": "1.0.0", "name": "orlop", "type": "portmap",
        "capabilities": { "portMappings": true },
        "runtimeConfig": { "portMappings": mappings },
        "prevResult": {
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": "cni0", "mac": "aa:bb:cc:dd:ee:ff" },
                { "name": "veth1" },
                { "name": "eth0", "sandbox": "/run/netns/x" },
                { "name": "eth1", "sandbox": "/run/netns/x" },
            ],
            "ips": ips,
        },
    });
    Config::parse(text.to_string().as_bytes())
}

fn mapped(mappings: &Value, ips: &Value) -> Result<String, String> {
    let mappings = config(mappings, ips).and_then(|config| config.mappings("eth0"));
    let line = |m: &Mapping| {
        let on = m.on.map_or("all".to_owned(), |on| on.to_string());
        format!("{:?} {on} {} -> {} {}\n", m.protocol, m.port, m.pod, m.pod_port)
    };
    mappings.map(|all| all.iter().map(line).collect()).map_err(|error| error.message)
}

#[test]
fn a_port_leads_to_the_pod_s_addresses_of_the_family_of_the_wish() {
    let both = json!([
        { "address": "10.88.0.1/16", "interface": 0 },
        { "address": "10.88.0.5/16", "interface": 2 },
        { "address": "fd00:88::5/64", "interface": 2 },
        { "address": "10.99.0.5/16", "interface": 3 },
    ]);
    let all = json!([
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "" },
        { "hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1" },
        { "hostPort": 54, "containerPort": 5353, "protocol": "udp", "hostIP": "[2001:db8::1]" },
        { "hostPort": 9, "containerPort": 9, "protocol": "sctp", "hostIP": "0.0.0.0" },
        { "hostPort": 10, "containerPort": 10, "hostIP": "::ffff:127.0.0.1" },
        { "hostPort": 0, "containerPort": 7, "protocol": "tcp" },
    ]);
    assert_eq!(
        mapped(&all, &both).unwrap(),
        "Tcp all 8080 -> 10.88.0.5 80\n\
         Tcp all 8080 -> fd00:88::5 80\n\
         Udp 192.0.2.1 53 -> 10.88.0.5 5353\n\
         Udp 2001:db8::1 54 -> fd00:88::5 5353\n\
         Sctp all 9 -> 10.88.0.5 9\n\
         Tcp 127.0.0.1 10 -> 10.88.0.5 10\n"
    );
    // Results before 1.0.0 may name no link.
    let old = json!([{ "version": "4", "address": "10.88.0.6/16" }]);
    let one = json!([{ "hostPort": 1, "containerPort": 2 }]);
    assert_eq!(mapped(&one, &old).unwrap(), "Tcp all 1 -> 10.88.0.6 2\n");
    assert_eq!(mapped(&Value::Null, &both).unwrap(), "");
}

#[test]
fn a_mapping_that_cannot_be_is_refused_by_its_port() {
    let pod = json!([{ "address": "10.88.0.5/16", "interface": 2 }]);
    for (mapping, want) in [
        (
            json!({ "hostPort": 1, "containerPort": 1, "protocol": "icmp" }),
            "host port 1: `icmp` is not a protocol with ports",
        ),
        (
            json!({ "hostPort": 2, "containerPort": 0 }),
            "host port 2: it leads to no port of the pod",
        ),
        (
            json!({ "hostPort": 3, "containerPort": 1, "hostIP": "localhost" }),
            "host port 3: `localhost` is not an address",
        ),
        (
            json!({ "hostPort": 3, "containerPort": 1, "hostIP": "::1" }),
            "host port 3: the kernel lets nothing from `::1` leave the node",
        ),
        (
            json!({ "hostPort": 4, "containerPort": 1, "hostIP": "2001:db8::1" }),
            "port 4 cannot be mapped: the pod has no IPv6 address",
        ),
    ] {
        assert_eq!(mapped(&json!([mapping]), &pod), Err(want.to_owned()));
    }
    let large = json!([{ "hostPort": 65536, "containerPort": 1 }]);
    let refused = mapped(&large, &pod).unwrap_err();
    assert!(refused.starts_with("what stands on stdin is no configuration"), "{refused}");
    let nowhere = json!([{ "address": "10.88.0.1/16", "interface": 0 }]);
    let one = json!([{ "hostPort": 5, "containerPort": 1 }]);
    let message = "port 5 cannot be mapped: the pod has no address";
    assert_eq!(mapped(&one, &nowhere), Err(message.to_owned()));
}

#[test]
fn what_only_iptables_could_do_is_refused() {
    for key in [
        r#""conditionsV4":["!","-d","192.0.2.0/24"]"#,
        r#""conditionsV6":["-j"]"#,
        r#""masqAll":true"#,
    ] {
        let text = format!(r#"{{"cniVersion":"1.0.0","name":"n",{key}}}"#);
        assert_eq!(Config::parse(text.as_bytes()).unwrap_err().code, Code::Config, "{key}");
    }
    let harmless =
        br#"{"cniVersion":"1.0.0","name":"n","conditionsV4":[],"backend":"iptables","snat":false}"#;
    assert!(!Config::parse(harmless).unwrap().masquerade);
}

#[test]
fn a_call_names_what_it_is_about() {
    let all = [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0")];
    let want = Call { verb: Verb::Add, container: "c".to_owned(), link: "eth0".to_owned() };
    assert_eq!(call(&all), Ok(want));
    for (environment, want) in [
        (&[][..], "CNI_COMMAND is not set"),
        (&[("CNI_COMMAND", "add")], "CNI_COMMAND is `add`, which is no command of CNI"),
        (&all[..2], "CNI_IFNAME is not set"),
        (&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "")], "CNI_CONTAINERID is not set"),
    ] {
        let error = call(environment).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (Code::Environment, want));
    }
    assert_eq!(call(&[("CNI_COMMAND", "VERSION")]).unwrap().verb, Verb::Version);
}

proptest! {
    #[test]
    fn no_configuration_makes_the_reader_panic(
        address in ".{0,12}", index in any::<i64>(), port in any::<i64>(), host in ".{0,12}",
    ) {
        let mappings = json!([{ "hostPort": port, "containerPort": port, "hostIP": host }]);
        let ips = json!([{ "address": address, "interface": index }, null, 3]);
        let _ = mapped(&mappings, &ips);
    }
}

/// `containerd/go-cni` gives its fields no names for JSON, and Go reads keys in any case.
#[test]
fn what_containerd_sends_is_read_though_its_keys_are_in_upper_case() {
    let ips = json!([{ "address": "10.88.0.2/16", "gateway": "10.88.0.1", "interface": 2 }]);
    let all = json!([
        { "HostPort": 30080, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": "" },
        { "HostPort": 30081, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": "127.0.0.1" },
    ]);
    assert_eq!(
        mapped(&all, &ips).unwrap(),
        "Tcp all 30080 -> 10.88.0.2 8080\nTcp 127.0.0.1 30081 -> 10.88.0.2 8080\n"
    );
}
