//! Node configurations: `orlop config`, and the check before `orlop run`.

use std::io::Write as _;
use std::process::Stdio;

use expect_test::expect;
use formats::node_config::{RESERVED_KUBELET_KEYS, parse};

use crate::project::{Project, refusal, repository};

const WORKER: &str = r#"schema = 1
[kubernetes]
server = "https://10.0.2.2:6443"
token = "abcdef.0123456789abcdef"
ca = """
-----BEGIN CERTIFICATE-----
MAMCAQE=
-----END CERTIFICATE-----
"""
"#;

/// Two things are wrong with it, one in the line of the secret.
const WRONG: &str = r#"schema = 1
[kubernetes]
sever = "https://10.0.2.2:6443"
token = "abcdef.0123456789abcde"
standalone = false
ca = "MAMCAQE="
"#;

fn project() -> Project {
    let project = Project::new();
    project.write("worker.toml", WORKER);
    project.write("wrong.toml", WRONG);
    project
}

#[test]
fn a_configuration_in_order_is_said_to_be() {
    let project = project();
    let ended = project.good(&["config", "check", "worker.toml"]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("`worker.toml` is in order\n", ""));
    let ended = project.good(&["config", "check", "worker.toml", "--json"]);
    let verdict: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        verdict,
        serde_json::json!({
            "schema": 1, "files": [
                { "file": "worker.toml", "problems": [], "weakened": [] }
            ]
        })
    );
}

#[test]
fn what_a_configuration_gives_up_of_a_node_s_protection_is_named() {
    let project = project();
    project.write("weak.toml", format!("{WORKER}[kubelet]\nseccompDefault = false\n"));
    let ended = project.good(&["config", "check", "weak.toml"]);
    let line = "a pod that says nothing has no seccomp filter: `kubelet.seccompDefault` is false";
    let want = format!("`weak.toml` is in order\n`weak.toml` gives up a protection: {line}\n");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (want.as_str(), ""));
    let ended = project.good(&["config", "check", "weak.toml", "--json"]);
    let verdict: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let given = serde_json::json!([{ "key": "kubelet.seccompDefault", "message": line }]);
    assert_eq!(verdict["files"][0]["weakened"], given);
}

#[test]
fn all_that_is_wrong_is_shown_where_it_stands_and_no_secret() {
    let project = project();
    project.refused(
        &["config", "check", "wrong.toml"],
        expect![[r#"
        exit 3
        error[E0310]: 3 problems in the node configuration

          `sever` is not a key of `kubernetes`
            wrong.toml:3:1
             3 | sever = "https://10.0.2.2:6443"
               | ^^^^^
            hint: did you mean `server`?

          this is not a bootstrap token: it has 6 lower-case letters or digits, a dot, and 16 more
            wrong.toml:4:9
             4 | token = "******.***************"
               |         ^^^^^^^^^^^^^^^^^^^^^^^^

          there is no certificate in PEM here, which begins with `-----BEGIN CERTIFICATE-----`
            wrong.toml:6:6
             6 | ca = "MAMCAQE="
               |      ^^^^^^^^^^
          hint: `orlop explain E0310` says more
    "#]],
    );
    for words in [&["config", "check", "wrong.toml"][..], &["config", "show", "wrong.toml"]] {
        let stderr = project.run(words).stderr;
        assert!(stderr.contains("wrong.toml:4:9") && !stderr.contains("0123456789"), "{stderr}");
    }
}

#[test]
fn one_problem_is_shown_as_that_of_a_recipe_is() {
    let project = project();
    project.write("one.toml", "schema = 1\nhostnam = 'worker-1'\n");
    project.refused(
        &["config", "check", "one.toml"],
        expect![[r#"
        exit 3
        error[E0310]: `hostnam` is not a key of a node configuration
          one.toml:2:1
           2 | hostnam = 'worker-1'
             | ^^^^^^^
          hint: did you mean `hostname`?
    "#]],
    );
    project.write("one.toml", "schema = 3\nhostnam = 'worker-1'\n");
    project.refused(
        &["config", "check", "one.toml"],
        expect![[r#"
        exit 3
        error[E0310]: this is not schema 1
          one.toml:1:10
           1 | schema = 3
             |          ^
          hint: this version reads `schema = 1` and nothing before or after it
    "#]],
    );
}

#[test]
fn several_files_are_all_checked() {
    let project = project();
    project.write("one.toml", "schema = 1\nhostnam = 'worker-1'\n");
    let ended = project.run(&["config", "check", "one.toml", "worker.toml", "wrong.toml"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(3), "`worker.toml` is in order\n"));
    let first = ended.stderr.lines().next();
    assert_eq!(first, Some("error[E0310]: 4 problems in the node configurations"));
    assert!(ended.stderr.contains("one.toml:2:1"), "{}", ended.stderr);
    let ended = project.run(&["config", "check", "one.toml", "worker.toml", "--json"]);
    assert_eq!(ended.status, Some(3));
    let verdict: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let problem = serde_json::json!({
        "line": 2,
        "column": 1,
        "message": "`hostnam` is not a key of a node configuration",
        "hint": "did you mean `hostname`?",
    });
    assert_eq!(
        verdict,
        serde_json::json!({ "schema": 1, "files": [
            { "file": "one.toml", "problems": [problem], "weakened": [] },
            { "file": "worker.toml", "problems": [], "weakened": [] },
        ] })
    );
}

#[test]
fn standard_input_is_a_file_like_others() {
    let project = project();
    let check = |text: &[u8]| {
        let child = project.command(&["config", "check", "-"]).spawn(|command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        let mut child = child.unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        project.end(child)
    };
    assert_eq!(check(WORKER.as_bytes()).stdout, "`<stdin>` is in order\n");
    refusal(
        &check(b"schema = 1\nhostname = \"-\"\n"),
        expect![[r#"
        exit 3
        error[E0310]: `-` cannot be a host name: use lower-case letters, digits, `-` and `.`, at most 63, each part with a letter or digit at both ends
          <stdin>:2:12
           2 | hostname = "-"
             |            ^^^
          hint: `orlop explain E0310` says more
    "#]],
    );
    refusal(
        &check(b"schema = 1\nhostname = \"\xff\"\n"),
        expect![[r#"
        exit 3
        error[E0310]: the node configuration `<stdin>` is not text in UTF-8: invalid utf-8 sequence of 1 bytes from index 23
          hint: `orlop explain E0310` says more
    "#]],
    );
}

/// The node would go on, with a line on its screen; here it is an error.
#[test]
fn a_manifest_that_kubelet_would_pass_over_is_told_where_it_stands() {
    let project = project();
    let head = "schema = 1\n[kubernetes]\nstandalone = true\n[kubernetes.static-pods]\n";
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec:\n  containers:\n  \
                    - { name: A, image: b }\n";
    project.write("pods.toml", format!("{head}x = '''\n{manifest}'''\n"));
    let ended = project.run(&["config", "check", "pods.toml"]);
    assert_eq!(ended.status, Some(3), "{}", ended.stderr);
    let want = "error[E0310]: static pod `x`: `A` cannot be the name of a container";
    assert!(ended.stderr.starts_with(want), "{}", ended.stderr);
    assert!(ended.stderr.contains("pods.toml:11:3"), "{}", ended.stderr);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let project = project();
    project.refused(&["config", "check", "worker.toml", "no.toml"], expect![[r#"
        exit 3
        error[E0311]: cannot read the node configuration `no.toml`: No such file or directory (os error 2)
          hint: `orlop config example` prints one to begin with
    "#]]);
}

#[test]
fn show_prints_every_default_and_no_secret() {
    let project = project();
    let shown = project.good(&["config", "show", "worker.toml"]).stdout;
    expect![[r#"
        schema = 1
        # hostname: from DHCP, else from the hardware address

        [network]
        # dns: from DHCP and routers
        # search: from DHCP
        # links: DHCP and router advertisements on every wired link

        [time]
        servers = []

        [kubernetes]
        server = "https://10.0.2.2:6443"
        ca = """
        -----BEGIN CERTIFICATE-----
        MAMCAQE=
        -----END CERTIFICATE-----
        """
        token = "abcdef.***"
        taints = []
        # node-ip: kubelet finds it
        serving-certificate = "self-signed"

        # cni: left to the cluster

        [security]
        lockdown = "integrity"
        kexec = false

        [update]
        # channel: none
        policy = "manual"
        # window: at any time
        # check-interval: the node does not look by itself
        # rate-limit: none
        # root: the image's
        # deadline: 300
        node-ready = false
        kexec = false

        [config]
        volumes = "pinned"

        [state]
        when-damaged = "wait"
    "#]]
    .assert_eq(&shown);
}

#[test]
fn the_example_is_in_order() {
    let project = project();
    let example = project.good(&["config", "example"]).stdout;
    assert_eq!(example, formats::node_config::EXAMPLE);
    project.write("example.toml", &example);
    project.good(&["config", "check", "example.toml"]);
}

#[test]
fn a_wrong_configuration_costs_no_build_and_starts_no_guest() {
    let project = Project::locked();
    project.write("wrong.toml", "schema = 1\nhostnam = 'worker-1'\n");
    let words = ["run", "recipe.toml", "--config", "wrong.toml"];
    let ended = project.run(&words);
    assert_eq!(ended.status, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("error[E0310]: `hostnam` is not"), "{}", ended.stderr);
    assert!(!project.path("build").exists());
    assert_eq!(project.server.take_requests(), [""; 0]);
}

#[test]
fn the_page_names_every_refused_key_and_its_configurations_are_in_order() {
    let page = std::fs::read_to_string(repository().join("docs/config.md")).unwrap();
    let blocks: Vec<_> = page.split("```toml\n").skip(1).collect();
    let blocks: Vec<_> = blocks.iter().map(|block| block.split("```").next().unwrap()).collect();
    for (key, _) in RESERVED_KUBELET_KEYS {
        assert!(page.contains(&format!("`{key}`")), "{key}");
    }
    let whole = blocks.iter().filter(|block| block.contains("schema = 1"));
    assert_eq!(whole.map(|block| parse(block).map(drop)).collect::<Vec<_>>(), [Ok(()), Ok(())]);
}
