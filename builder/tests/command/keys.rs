//! `orlop keys`: making keys, opening them, saying which sign for what. `openssl` is the judge.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use builder::process::Command;
use expect_test::expect;

use crate::project::Project;

fn project() -> Project {
    let project = Project::new();
    project.write("secret", "correct horse\nand more\n");
    project.write("wrong", "correct mule\n");
    project
}

/// What `openssl` says in the directory of a project.
fn openssl(project: &Project, line: &str) -> String {
    let run = Command::new("openssl").args(line.split(' ')).directory(&project.path("")).run();
    String::from_utf8(run.unwrap()).unwrap()
}

#[test]
fn a_new_key_is_printed_for_the_roles_and_openssl_has_the_same_one() {
    let project = project();
    for words in [
        &["keys", "new", "alice", "--passphrase-file", "secret"][..],
        &["keys", "new", "bob", "--no-passphrase"],
    ] {
        let name = words[2];
        let file = format!("{name}.pem");
        let printed = project.good(words).stdout;
        let public = project.good(&["keys", "public", &file, "--passphrase-file", "secret"]).stdout;
        let judged = openssl(&project, &format!("pkey -in {file} -passin file:secret -pubout"));
        assert_eq!(public, judged);
        let mode = fs::metadata(project.path(&file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(printed, format!("[key.{name}]\npublic = \"SHA256\"\nfile = \"{file}\"\n"));
    }
    let warning = "warning: `bob.pem` is not encrypted: whoever reads it can sign with it\n";
    let again = project.good(&["keys", "new", "carol", "--no-passphrase"]);
    assert_eq!(again.stderr, warning.replace("bob", "carol"));
}

#[test]
fn a_key_is_neither_written_over_anything_nor_made_without_a_word_about_its_passphrase() {
    let project = project();
    project.write("there.pem", "mine");
    project.refused(
        &["keys", "new", "there", "--no-passphrase"],
        expect![[r#"
        exit 2
        error[E0225]: `there.pem` is there: a key is never written over another file
          hint: take another name, or move the file away
    "#]],
    );
    assert_eq!(project.read("there.pem"), b"mine");
    project.refused(
        &["keys", "new", "alice"],
        expect![[r#"
        exit 2
        error[E0226]: there is no terminal to ask for the passphrase of `alice.pem` on
          hint: name where it is with `--passphrase-file FILE` or `--passphrase-fd N`
          hint: `--no-passphrase` makes a key that whoever reads its file can sign with
    "#]],
    );
    project.write("empty", "\ncorrect horse\n");
    project.refused(
        &["keys", "new", "alice", "--passphrase-file", "empty"],
        expect![[r#"
        exit 2
        error[E0226]: the passphrase is empty
          hint: `--no-passphrase` makes a key that whoever reads its file can sign with
    "#]],
    );
    project.refused(
        &["keys", "new", "alice", "--passphrase-file", "none"],
        expect![[r#"
        exit 2
        error[E0226]: cannot read a passphrase from `none`: No such file or directory (os error 2)
          hint: `orlop explain E0226` says more
    "#]],
    );
    project.refused(
        &["keys", "new", "alice", "-d", "none", "--no-passphrase"],
        expect![[r#"
        exit 7
        error[E0702]: cannot write the key `none/alice.pem`: No such file or directory (os error 2)
          hint: `orlop explain E0702` says more
    "#]],
    );
    assert!(!project.path("alice.pem").exists());
    for words in [
        &["keys", "new", "Alice", "--no-passphrase"][..],
        &["keys", "new", "../alice", "--no-passphrase"],
        &["keys", "new", "alice", "--no-passphrase", "--passphrase-file", "secret"],
    ] {
        assert_eq!(project.run(words).status, Some(2), "{words:?}");
    }
}

#[test]
fn what_does_not_become_a_key_is_told_apart() {
    let project = project();
    project.good(&["keys", "new", "alice", "--passphrase-file", "secret"]);
    let public = |file, secret| vec!["keys", "public", file, "--passphrase-file", secret];
    project.refused(&public("alice.pem", "wrong"), expect![[r#"
        exit 8
        error[E0841]: cannot open the key `alice.pem`: the passphrase is wrong, or the file is damaged
          hint: `orlop explain E0841` says more
    "#]]);
    project.refused(
        &public("recipe.toml", "secret"),
        expect![[r#"
        exit 8
        error[E0840]: `recipe.toml` is not a private key that can be used: it is not PEM
          hint: `orlop explain E0840` says more
    "#]],
    );
    openssl(&project, "genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:1024 -out rsa.pem");
    project.refused(&public("rsa.pem", "secret"), expect![[r#"
        exit 8
        error[E0840]: `rsa.pem` is not a private key that can be used: it is a key of another algorithm than ed25519
          hint: `orlop explain E0840` says more
    "#]]);
    project.refused(
        &public("none.pem", "secret"),
        expect![[r#"
        exit 7
        error[E0701]: cannot read the key `none.pem`: No such file or directory (os error 2)
          hint: `orlop explain E0701` says more
    "#]],
    );
}

#[test]
fn who_signs_for_what_is_shown_and_a_file_that_is_another_key_is_found() {
    let project = project();
    let digits = |name: &str, options: &[&str]| {
        let words = [&["keys", "new", name, "--json"], options].concat();
        let value: serde_json::Value = {
            let command = project.command(&words);
            serde_json::from_slice(&command.run().unwrap()).unwrap()
        };
        value["public"].as_str().unwrap().to_owned()
    };
    let alice = digits("alice", &["--passphrase-file", "secret"]);
    let online = digits("online", &["--no-passphrase"]);
    let other = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let roles = format!(
        "schema = 1\n[root]\nkeys = [\"alice\", \"bob\"]\n[targets]\nkeys = [\"hsm\"]\n\
         [snapshot]\nkeys = [\"online\"]\n[timestamp]\nkeys = [\"online\"]\n\
         [key.alice]\npublic = \"{alice}\"\nfile = \"alice.pem\"\n\
         [key.bob]\npublic = \"{other}\"\nfile = \"bob.pem\"\n\
         [key.hsm]\npublic = \"{}\"\nsign-with = [\"sign\", \"-k\", \"1\"]\n\
         [key.online]\npublic = \"{online}\"\nfile = \"online.pem\"\n",
        other.replace('d', "e")
    );
    project.write("keys.toml", &roles);
    let shown = project.good(&["keys", "show"]);
    expect![[r#"
        root       2 of 2   365 days  alice, bob
        targets    1 of 1    90 days  hsm
        snapshot   1 of 1    30 days  online
        timestamp  1 of 1     7 days  online

        alice  SHA256  alice.pem, encrypted
        bob    SHA256  bob.pem, which is not here
        hsm    SHA256  signs with `sign -k 1`
        online SHA256  online.pem, not encrypted
    "#]]
    .assert_eq(&shown.stdout);
    assert_eq!(
        shown.stderr,
        "warning: `online.pem` is not encrypted: whoever reads it can sign with it\n"
    );
    project.write("keys.toml", roles.replace(&online, &other.replace('d', "c")));
    let error = project.run(&["keys", "show", "."]).stderr;
    assert!(
        error.contains("error[E0842]: `./online.pem` is another key than was named"),
        "{error}"
    );
    project.write("keys.toml", roles.replace("[root]", "[rot]"));
    let error = project.run(&["keys", "show"]);
    assert_eq!(error.status, Some(3));
    assert!(error.stderr.contains("\n  keys.toml:2:2\n"), "{}", error.stderr);
}

/// Bob has copies of what is public, and his own key.
#[test]
fn two_people_sign_a_root_and_are_told_how_many_have() {
    let project = project();
    let made = project.good(&["keys", "init", "alice", "--passphrase-file", "secret"]).stdout;
    let (head, counts) = made.split_once("until ").unwrap();
    assert_eq!(head, "alice/1.root.json\nroot 1, ");
    let all = " UTC\nroot 1: 3 of 2 signatures: root-1, root-2, root-3\n";
    assert!(counts.ends_with(all), "{made}");
    openssl(&project, "pkey -in alice/root-1.pem -passin file:secret -noout");
    project.refused(
        &["keys", "init", "alice"],
        expect![[r#"
        exit 2
        error[E0225]: `alice/1.root.json` is there: a root is never written over another
          hint: `orlop keys rotate ROLE` makes the next one, `orlop keys sign FILE` signs it
    "#]],
    );
    project.refused(
        &["keys", "init", "overlay", "--no-passphrase"],
        expect![[r#"
        exit 2
        error[E0225]: `overlay` is there, and has no `keys.toml`
          hint: name a new directory for the keys
    "#]],
    );
    for name in ["keys.toml", "1.root.json", "root-2.pem"] {
        project.write(&format!("bob/{name}"), project.read(&format!("alice/{name}")));
    }
    for name in ["root-2.pem", "root-3.pem"] {
        fs::remove_file(project.path("alice").join(name)).unwrap();
    }
    let options = ["--keys", "alice", "--passphrase-file", "secret"];
    let made = project.good(&[&["keys", "rotate", "root"][..], &options].concat()).stdout;
    let counts = "root 1: 1 of 2 signatures: root-1\nroot 2: 1 of 2 signatures: root-1\n";
    assert!(made.ends_with(counts), "{made}");
    project.refused(&["keys", "rotate", "root", "--keys", "alice"], expect![[r#"
        exit 8
        error[E0851]: `alice/2.root.json` is not signed yet: 1 of the keys of `root, as it was before` have signed it, and 2 must
          hint: `orlop keys sign alice/2.root.json` adds the signatures of keys
    "#]]);
    let copy = "bob/2.root.json";
    project.write(copy, project.read("alice/2.root.json"));
    let options = ["--keys", "bob/keys.toml", "--passphrase-file", "secret"];
    let signed = project.good(&[&["keys", "sign", copy][..], &options].concat()).stdout;
    let counts = "root 1: 2 of 2 signatures: root-1, root-2\n\
                  root 2: 2 of 2 signatures: root-1, root-2\n";
    assert!(signed.ends_with(counts), "{signed}");
    // Without a passphrase: there is nothing to sign any more.
    assert_eq!(project.good(&["keys", "sign", copy, "--keys", "bob"]).stdout, signed);
    project.refused(
        &["keys", "sign", "recipe.toml", "--keys", "bob"],
        expect![[r#"
        exit 8
        error[E0850]: `recipe.toml` is refused: it is not the JSON that TUF has: expected value at line 1 column 1
          hint: `orlop explain E0850` says more
    "#]],
    );
}

/// Python's `pty` is the terminal: what it shows is what a person sees.
const TYPIST: &str = r#"
import os, pty, sys
typed = sys.argv[1].encode().decode("unicode_escape").split("|")
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen = b""
while True:
    try:
        some = os.read(terminal, 1000)
    except OSError:
        break
    if not some:
        break
    seen += some
    if typed and (seen.endswith(b": ")):
        os.write(terminal, typed.pop(0).encode())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(seen.decode().replace("\r", ""), end="")
"#;

#[test]
fn a_terminal_is_asked_twice_and_shows_nothing_of_what_is_typed() {
    let project = project();
    let orlop = env!("CARGO_BIN_EXE_orlop");
    let typist = |typed: &str, words: &[&str]| {
        let python = Command::new("python3").directory(&project.path(""));
        let python = python.args(["-c", TYPIST, typed, orlop]).args(words);
        let python = python.args(["--progress", "none"]);
        String::from_utf8(python.run().unwrap()).unwrap()
    };
    let new = ["keys", "new", "alice"];
    let asked = "Passphrase for alice.pem: \n";
    let again = "The same again: \n";
    let refused = typist("one\\n|other\\n", &new);
    assert!(refused.starts_with(&format!("2\n{asked}{again}error[E0226]: the two")), "{refused}");
    let refused = typist("\\n", &new);
    assert!(
        refused.starts_with(&format!("2\n{asked}error[E0226]: the passphrase is empty")),
        "{refused}"
    );
    // Ctrl-C, when the terminal must be as it was.
    let ended = typist("\\x03", &new);
    assert_eq!(ended, format!("-2\n{asked}"));
    assert!(!project.path("alice.pem").exists());
    let made = typist("correct horse\\n|correct horse\\n", &new);
    let start = format!("0\n{asked}{again}[key.alice]\npublic = \"");
    assert!(made.starts_with(&start), "{made}");
    let opened = typist("correct horse\\n", &["keys", "public", "alice.pem"]);
    let start = "0\nPassphrase for alice.pem: \n-----BEGIN PUBLIC KEY-----\n";
    assert!(opened.starts_with(start), "{opened}");
    let judged = openssl(&project, "pkey -in alice.pem -passin file:secret -pubout");
    assert!(opened.ends_with(&judged), "{opened}");
}
