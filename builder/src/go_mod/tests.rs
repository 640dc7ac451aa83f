//! What a `go.mod` says, and that Go itself reads it so.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::process::Command;

const HEAD: &str = "module a.example/m\ngo 1.26.0\ntoolchain go1.26.11\n";

fn parse(rest: &str) -> Result<GoMod, GoModError> {
    GoMod::parse(&format!("{HEAD}{rest}"))
}

#[test]
fn blocks_lines_comments_and_quotes_are_one_language() {
    let text = "
        // A comment.
        require b.example/x v1.2.3 // indirect
        require ( // as they came
            \"c.example/y\" v0.0.0-20260101000000-abcdefabcdef

            d.example/z v2.0.0+incompatible//indirect
        )
        tool (
            b.example/x/cmd/one
        )
        tool a.example/m/two
        replace b.example/x => c.example/fork v1.0.0
        replace (
            b.example/x v1.2.3 => c.example/fork v1.0.1
        )
        exclude b.example/x v1.0.0
        exclude ()
        retract [v1.0.0, v1.1.0]
        godebug default=go1.21
        ignore ./node_modules
    ";
    for text in [text.to_owned(), text.replace('\n', "\r\n")] {
        let gomod = parse(&text).unwrap();
        assert_eq!(gomod.module, "a.example/m");
        assert_eq!((gomod.go.as_str(), gomod.toolchain.as_str()), ("1.26.0", "go1.26.11"));
        let require: Vec<_> = gomod.require.iter().map(|(m, v)| format!("{m} {v}")).collect();
        assert_eq!(
            require,
            [
                "b.example/x v1.2.3",
                "c.example/y v0.0.0-20260101000000-abcdefabcdef",
                "d.example/z v2.0.0+incompatible",
            ]
        );
        let tools: Vec<_> = gomod.tools.iter().map(String::as_str).collect();
        assert_eq!(tools, ["a.example/m/two", "b.example/x/cmd/one"]);
    }
}

#[test]
fn what_is_not_understood_is_named_with_its_line() {
    for (rest, what) in [
        ("frobnicate x", "`frobnicate x` is not understood"),
        ("require b.example/x", "`require b.example/x` is not understood"),
        ("require b.example/x 1.0", "`1.0` is not a version such as `v1.2.3`"),
        ("require b.example/x v1", "`v1` is not a version such as `v1.2.3`"),
        ("require b.example/x v2.0.0", "`b.example/x` cannot have the version `v2.0.0`"),
        ("go 1.25", "there is a second `go` line"),
        ("go (", "`go` cannot begin a block"),
        ("require (", "the block of `require` does not end"),
        ("require (\n) x", "nothing may follow a `)`"),
        ("require ( b v1.0.0 )", "`require ( b v1.0.0 )` is not understood"),
        (
            "replace b.example/x/v2.0 => c.example v1.0.0",
            "`b.example/x/v2.0` cannot be a module: no version fits its end",
        ),
        (
            "replace gopkg.in/yaml => c.example v1.0.0",
            "`gopkg.in/yaml` cannot be a module: no version fits its end",
        ),
        ("replace b => ../b", "`../b` is a directory: replace modules by versions only"),
        ("replace b => ../b v1.0.0", "the directory `../b` cannot have a version"),
        ("tool \"x", "a string does not end"),
        ("tool \"\"", "`` stands where a name should"),
        ("tool (\n,\n)", "`,` stands where a name should"),
        ("\"tool\" x", "`\"tool\"` cannot begin a line"),
        ("go \"1.26\"", "`go 1.26` is not understood"),
        ("require b v1.0.0\nrequire b v1.2.0", "`b` is required at `v1.0.0` and at `v1.2.0`"),
    ] {
        let within = if rest.contains('\n') && rest.ends_with(')') { 1 } else { 0 };
        let line = 3 + rest.lines().count() - usize::from(within == 1 && rest.contains(','));
        assert_eq!(parse(rest), Err(GoModError::Line { line, what: what.to_owned() }), "{rest}");
    }
}

#[test]
fn an_exact_line_pins_the_toolchain_whether_it_is_that_of_go_or_of_the_toolchain() {
    for (lines, want) in [
        ("go 1.26\ntoolchain go1.26.11", "go1.26.11"),
        ("go 1.26.11", "go1.26.11"),
        ("go 1.26.11\ntoolchain default", "go1.26.11"),
        ("go 1.26.11\ntoolchain go1.26.9", "go1.26.11"),
        ("go 1.26.0\ntoolchain go1.27rc1", "go1.27rc1"),
        ("go 1.27rc1", "go1.27rc1"),
    ] {
        let gomod = GoMod::parse(&format!("module m\n{lines}\n")).unwrap();
        assert_eq!(gomod.toolchain, want, "{lines}");
    }
    let unpinned = "no line pins the toolchain: `go 1.26` is a language that many can build";
    for (lines, want) in [
        ("go 1.26", unpinned),
        ("go 1.26\ntoolchain default", unpinned),
        ("go 1.27\ntoolchain go1.26.11", "`toolchain go1.26.11` is older than `go 1.27`"),
    ] {
        let error = GoMod::parse(&format!("module m\n{lines}\n")).unwrap_err();
        assert_eq!(error.to_string(), want);
        assert!(error.hint().is_some());
    }
    for toolchain in ["go1.26", "go1.26.1-custom", "1.26.1", "go1..1", "local"] {
        let text = format!("module m\ngo 1.26\ntoolchain {toolchain}\n");
        let error = GoMod::parse(&text).unwrap_err().to_string();
        assert!(error.starts_with("line 3: ") && error.contains(toolchain), "{error}");
    }
    assert_eq!(GoMod::parse("module m\n"), Err(GoModError::Missing("go")));
    assert_eq!(GoMod::parse("go 1.26.0\n"), Err(GoModError::Missing("module")));
}

#[test]
fn the_longest_module_path_holds_a_package() {
    let text = "require b/x v1.0.0\nrequire b/x/v2 v2.0.0\nrequire a.example v1.3.0\n";
    let gomod = parse(text).unwrap();
    for (package, version) in [
        ("b/x", Some("v1.0.0")),
        ("b/x/cmd", Some("v1.0.0")),
        ("b/x/v2/cmd", Some("v2.0.0")),
        ("b/xy", None),
        ("a.example/m/cmd", None),
        ("a.example/n", Some("v1.3.0")),
    ] {
        assert_eq!(gomod.version_of(package), version, "{package}");
    }
}

#[test]
fn the_components_of_this_repository_are_pinned_and_say_what_they_build() {
    let recipes = concat!(env!("CARGO_MANIFEST_DIR"), "/../recipes/components");
    let mut components = 0;
    for entry in std::fs::read_dir(recipes).unwrap() {
        let directory = entry.unwrap().path();
        let text = std::fs::read_to_string(directory.join("go.mod")).unwrap();
        let gomod = GoMod::parse(&text).unwrap();
        let name = directory.file_name().unwrap().to_str().unwrap();
        assert_eq!(gomod.module, format!("orlop.dev/components/{name}"));
        for tool in &gomod.tools {
            // One of its own has the version of the repository.
            let own = tool.starts_with(&format!("{}/", gomod.module));
            assert!(own || gomod.version_of(tool).is_some(), "{tool}");
        }
        assert!(!gomod.tools.is_empty() && directory.join("go.sum").is_file(), "{name}");
        assert_eq!(by_go(&text), Some(facts(&gomod)), "{name}");
        components += 1;
    }
    assert!(components > 0);
}

/// What Go's own reader and ours both tell: module, language, requirements, tools.
type Facts = (String, String, BTreeMap<String, String>, BTreeSet<String>);

fn facts(gomod: &GoMod) -> Facts {
    (gomod.module.clone(), gomod.go.clone(), gomod.require.clone(), gomod.tools.clone())
}

/// What `go mod edit -json` makes of a text; `None` if it refuses it.
fn by_go(text: &str) -> Option<Facts> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("go.mod"), text).unwrap();
    let environment = [
        ("PATH", std::env::var_os("PATH").expect("Go is needed: install golang-go")),
        ("GOTOOLCHAIN", "local".into()),
        ("GOENV", "off".into()),
        ("GOWORK", "off".into()),
        // Without a home Go has no place for its telemetry, which it writes after its end.
        ("GOPATH", directory.path().into()),
    ];
    let go = Command::new("go").directory(directory.path()).env_clear();
    let go = environment.iter().fold(go, |go, (name, value)| go.env(name, value));
    let json = go.args(["mod", "edit", "-json"]).run().ok()?;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let list = |name: &str| json[name].as_array().cloned().unwrap_or_default();
    Some((
        text(&json["Module"]["Path"]),
        text(&json["Go"]),
        list("Require").iter().map(|one| (text(&one["Path"]), text(&one["Version"]))).collect(),
        list("Tool").iter().map(|one| text(&one["Path"])).collect(),
    ))
}

/// One of these texts.
fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(texts).prop_map(str::to_owned)
}

/// What stands between two words, and at the end of a line.
const BLANKS: &[&str] = &[" ", "\t", "  \t ", " \r "];
const ENDS: &[&str] =
    &["\n", "\r\n", " \n", "// indirect\n", " // indirect\r\n", " // a (b) \"c\n", "\n\n\t\n"];
const PATHS: &[&str] = &[
    "b.example/x",
    "\"b.example/x\"",
    "`b.example/x`",
    "b.example/x/v2",
    "gopkg.in/yaml.v3",
    "b.example/y//z",
    "b.example/x/v2.0",
    "b.ex'ample",
    "\"b.example/\\x78\"",
    "\"b example\"",
    "\"\"",
    "=>",
    "../up",
];
const VERSIONS: &[&str] = &[
    "v1.2.3",
    "\"v1.2.3\"",
    "v2.0.0",
    "v2.0.0+incompatible",
    "v3.0.1",
    "v1.2.3-rc.1",
    "v0.0.0-20260101000000-abcdefabcdef",
    "v1.2",
    "1.2.3",
    "v1.2.3+meta",
    "v1.2.3-01",
    "latest",
];

/// A directive with its arguments as words, most of them right.
fn statement() -> impl Strategy<Value = (String, Vec<String>)> {
    let (path, version) = (any_of(PATHS), any_of(VERSIONS));
    let words =
        |words: &'static [&'static str]| Just(words.iter().map(ToString::to_string).collect());
    prop_oneof![
        4 => (path.clone(), version.clone()).prop_map(|(p, v)| ("require".to_owned(), vec![p, v])),
        1 => (path.clone(), version.clone()).prop_map(|(p, v)| ("exclude".to_owned(), vec![p, v])),
        3 => path.clone().prop_map(|p| ("tool".to_owned(), vec![p])),
        1 => path.clone().prop_map(|p| ("ignore".to_owned(), vec![p])),
        1 => (path.clone(), path.clone(), version.clone())
            .prop_map(|(p, q, v)| ("replace".to_owned(), vec![p, "=>".to_owned(), q, v])),
        1 => (path.clone(), version.clone(), path.clone(), version.clone())
            .prop_map(|(p, v, q, w)| ("replace".to_owned(), vec![p, v, "=>".to_owned(), q, w])),
        1 => (path.clone(), path).prop_map(|(p, q)| ("replace".to_owned(), vec![p, "=>".to_owned(), q])),
        1 => version.clone().prop_map(|v| ("retract".to_owned(), vec![v])),
        1 => (version.clone(), version).prop_map(|(v, w)| {
            let words = ["[".to_owned(), v, ",".to_owned(), w, "]".to_owned()];
            ("retract".to_owned(), words.to_vec())
        }),
        1 => any_of(&["default=go1.21", "a=b:c", "a", "\"a=b\"", "a=b,c"])
            .prop_map(|setting| ("godebug".to_owned(), vec![setting])),
        1 => any_of(&["go1.26.11", "go1.27rc1", "go1.26", "default", "\"go1.26.11\"", "none"])
            .prop_map(|name| ("toolchain".to_owned(), vec![name])),
        1 => any_of(&["1.24", "1.26.11", "1.27rc1", "1.026", "\"1.26\"", "v1.26", "1.26.1x"])
            .prop_map(|name| ("go".to_owned(), vec![name])),
        1 => words(&["a.example/other"]).prop_map(|words| ("module".to_owned(), words)),
        1 => words(&["x", "("]).prop_map(|words| ("tool".to_owned(), words)),
        1 => words(&["x"]).prop_map(|words| ("frobnicate".to_owned(), words)),
    ]
}

/// Statements as text: alone or in a block, with odd blanks and comments.
fn file() -> impl Strategy<Value = String> {
    let line = (statement(), any_of(BLANKS), any_of(ENDS), prop::bool::weighted(0.3));
    let head = any_of(&[
        HEAD,
        "module \"a.example/m\" // Deprecated: no\n\ngo 1.26.11\n",
        "module (\n\ta.example/m\n)\ngo\t1.26.11\r\n",
        "// go 1.0\r\n\r\nmodule  a.example/m//x\r\ngo 1.26.11 // why\r\n",
        "module a.example/m\ngo 1.26\n",
        "module a.example/m\n",
        "go 1.26.11\n",
    ]);
    (head, prop::collection::vec(line, 0..5)).prop_map(|(mut text, lines)| {
        for ((name, words), blank, end, block) in lines {
            let words = words.join(&blank);
            text += &match block {
                true => format!("{name}{blank}({end}\t{words}{end}{blank}){end}"),
                false => format!("{blank}{name}{blank}{words}{end}"),
            };
        }
        text
    })
}

/// Also of a path beside which no version stands.
#[test]
fn the_ends_of_paths_that_go_refuses_in_a_replacement_are_those_that_we_refuse() {
    for path in [
        "b.example/x",
        "b.example/x/v0",
        "b.example/x/v1",
        "b.example/x/v2",
        "b.example/x/v02",
        "b.example/x/v2.0",
        "b.example/x/v",
        "b.example/x/v.2",
        "b.example/x/2",
        "b.example/xv2",
        "b.example/v2/x",
        "gopkg.in/yaml",
        "gopkg.in/yaml.v0",
        "gopkg.in/yaml.v1",
        "gopkg.in/yaml.v02",
        "gopkg.in/yaml.v2.0",
        "gopkg.in/yaml.v3-unstable",
        "gopkg.in/yaml/v2",
    ] {
        let text = format!("{HEAD}replace {path} => c.example v1.0.0\n");
        assert_eq!(GoMod::parse(&text).ok().map(|gomod| facts(&gomod)), by_go(&text), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_accepted_means_to_go_what_it_means_to_us(text in file()) {
        if let Ok(gomod) = GoMod::parse(&text) {
            prop_assert_eq!(Some(facts(&gomod)), by_go(&text));
        }
    }
}

/// Of what Go accepts, only this is refused: directories, what does not pin the toolchain, what
/// Go itself would rewrite, and strings with escapes or without content.
#[test]
fn what_go_accepts_is_refused_for_few_reasons_only() {
    const REASONS: [&str; 8] = [
        "is a directory",
        "is not a toolchain",
        "no line pins",
        "is older than",
        "there is no `",
        "is not a version such as",
        "escapes in strings",
        "stands where a name should",
    ];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut asked, mut accepted) = (0, 0);
    for _ in 0..300 {
        let text = file().new_tree(&mut runner).unwrap().current();
        match GoMod::parse(&text) {
            Ok(_) => accepted += 1,
            Err(error) if REASONS.iter().any(|reason| error.to_string().contains(reason)) => {}
            Err(error) => {
                asked += 1;
                let twice = error.to_string().contains("is required at");
                assert!(twice || by_go(&text).is_none(), "{error}\n{text}");
            }
        }
    }
    assert!(asked > 20 && accepted > 20, "{asked} {accepted}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z()\\[\\]\"`/=> \n.,\\\\é]{0,80}") {
        drop(GoMod::parse(&text));
        drop(parse(&text));
    }
}
