//! Programs that sign, and those that do not.

use std::fs;

use zeroize::Zeroizing;

use super::*;
use crate::keys::PrivateKey;
use crate::process::write_program;
use crate::progress::Mode;

/// A directory with a program `sign` of this text, and the key whose signatures of `payload` lie
/// there as `raw` and as `text`.
struct Bench {
    directory: tempfile::TempDir,
    key: PrivateKey,
}

const PAYLOAD: &[u8] = b"{\"_type\":\"targets\"}";

impl Bench {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = PrivateKey::from_seed(Zeroizing::new([1; 32]));
        let signature = key.sign(PAYLOAD).unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("raw"), signature.0).unwrap();
        fs::write(path("text"), BASE64_STANDARD.encode(signature.0)).unwrap();
        write_program(&path("sign"), format!("#!/bin/sh\n{script}\n").as_bytes());
        Self { directory, key }
    }

    fn signer(&self, words: &[&str]) -> CommandSigner {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let progress = Progress::new(Mode::None);
        CommandSigner::new("hsm", *self.key.public(), words, self.directory.path(), &progress)
    }

    fn refusal(&self) -> Error {
        self.signer(&["./sign"]).sign(PAYLOAD).unwrap_err()
    }
}

#[test]
fn a_signature_may_be_bytes_or_base64_and_the_program_gets_the_payload() {
    for script in ["cat raw", "cat text", "cat text; echo", "echo; cat text; echo '  '"] {
        let bench = Bench::new(&format!("cat > got\n{script}"));
        let signature = bench.signer(&["./sign"]).sign(PAYLOAD).unwrap();
        assert!(bench.key.public().verifies(PAYLOAD, &signature));
        assert_eq!(fs::read(bench.directory.path().join("got")).unwrap(), PAYLOAD);
    }
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let bench = Bench::new("[ \"$1\" = 'a  $b' ] && [ $# = 2 ] && cat raw");
    bench.signer(&["./sign", "a  $b", ""]).sign(PAYLOAD).unwrap();
}

#[test]
fn a_payload_that_nobody_reads_and_is_larger_than_a_pipe_is_no_failure() {
    let bench = Bench::new("exec <&-; cat raw");
    let error = bench.signer(&["./sign"]).sign(&vec![b'x'; 1 << 20]).unwrap_err();
    assert_eq!(error.id(), Id::OtherKey, "{}", error.chain());
}

#[test]
fn a_signature_of_something_else_or_of_another_key_is_not_used() {
    let bench = Bench::new("head -c 64 /dev/zero");
    let error = bench.refusal();
    assert_eq!(error.id(), Id::OtherKey);
    assert_eq!(error.hints(), [format!("its public key is {}", bench.key.public())]);
    let error = Bench::new("cat raw").signer(&["./sign"]).sign(b"other").unwrap_err();
    assert_eq!(error.id(), Id::OtherKey);
}

#[test]
fn what_is_no_signature_is_refused_however_long_it_is() {
    for script in ["", "echo no", "head -c 63 raw", "cat raw raw", "cat text text", "cat /dev/zero"]
    {
        let error = Bench::new(script).refusal();
        // A program whose reader has gone ends by a signal.
        assert_eq!(error.id(), Id::SignerFailed, "{script}");
        assert!(error.to_string().starts_with("the program that signs for `hsm` "), "{error}");
    }
}

#[test]
fn a_failure_repeats_the_last_words_as_visible_text() {
    let script = "i=0; while [ $i -lt 300 ]; do echo \"line $i\" >&2; i=$((i+1)); done\n\
                  printf 'no \\033[31mtoken' >&2; cat raw; exit 3";
    let error = Bench::new(script).refusal().to_string();
    let start =
        "the program that signs for `hsm` ended with exit status: 3\n  line 180\n  line 181\n";
    assert!(error.starts_with(start), "{error}");
    let error = Bench::new("printf 'no \\033[31mtoken' >&2; exit 1").refusal().to_string();
    assert!(error.ends_with("exit status: 1\n  no ?[31mtoken"), "{error}");
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    // `exec`: what a shell leaves behind is not ours to find.
    for script in ["exec sleep 1000", "exec >&-; exec sleep 1000"] {
        let bench = Bench::new(&format!("echo $$ > pid; {script}"));
        let mut signer = bench.signer(&["./sign"]);
        signer.limit = Duration::from_millis(500);
        let error = signer.sign(PAYLOAD).unwrap_err();
        assert_eq!(error.id(), Id::SignerFailed);
        let want = "the program that signs for `hsm` has not answered in 0.5 s";
        assert_eq!(error.to_string(), want);
        // It may not have come as far on a busy host.
        let pid = fs::read_to_string(bench.directory.path().join("pid")).unwrap_or_default();
        assert!(pid.is_empty() || !Path::new("/proc").join(pid.trim()).exists(), "{pid}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let bench = Bench::new("");
    for (words, name) in [(["./none"], "none"), (["no-such-program"], "no-such-program")] {
        let error = bench.signer(&words).sign(PAYLOAD).unwrap_err();
        assert_eq!(error.id(), Id::MissingTool);
        assert!(error.to_string().contains(name), "{error}");
    }
}
