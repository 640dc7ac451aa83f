//! Clients of a unit whose work is to wait for what the test says.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};

use super::*;

/// Work that tells each word that comes, and ends with the channel or a request to stop.
/// The second is the phase that it says.
struct Wait(Mutex<Receiver<String>>, Arc<Mutex<&'static str>>);

impl Work for Wait {
    fn status(&self) -> Result<Value, String> {
        Ok(json!({ "version": "1.0", "phase": *self.1.lock().expect("whole") }))
    }

    fn carry_out(
        &self,
        request: &Request,
        cancel: &Cancel,
        tell: &dyn Fn(Event),
    ) -> Result<Value, Failed> {
        let words = self.0.lock().expect("whole");
        loop {
            match words.recv_timeout(Duration::from_millis(5)) {
                // From here on nothing stops it.
                Ok(text) if text == "deaf" => {
                    tell(Event::Notice { text });
                    let last = words.iter().find(|text| text == "end" || text == "fail");
                    return match last.as_deref() {
                        Some("end") => Ok(json!({ "did": request.title() })),
                        _ => Err("a server is gone".into()),
                    };
                }
                Ok(text) if text == "end" => return Ok(json!({ "did": request.title() })),
                Ok(text) => tell(Event::Notice { text }),
                Err(RecvTimeoutError::Disconnected) => return Err("nobody is there".into()),
                Err(RecvTimeoutError::Timeout) => {
                    cancel.check().map_err(|error| Failed::from(error.to_string()))?;
                }
            }
        }
    }
}

/// A unit for the length of a test.
struct World {
    path: PathBuf,
    words: SyncSender<String>,
    phase: Arc<Mutex<&'static str>>,
    stop: Cancel,
    thread: Option<std::thread::JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl World {
    fn new(user: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("updater.sock");
        fs::write(&path, "left by an earlier run").expect("written");
        let (words, receiver) = sync_channel(1000);
        let phase = Arc::new(Mutex::new("idle"));
        let unit = Unit::new(Wait(Mutex::new(receiver), Arc::clone(&phase)), user);
        let socket = Socket::bind(&path).expect("a socket");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let stop = Cancel::new();
        let ends = stop.clone();
        let thread = std::thread::spawn(move || unit.serve(&socket, &ends).expect("it serves"));
        Self { path, words, phase, stop, thread: Some(thread), _directory: directory }
    }

    fn ask(&self, line: &str) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(&self.path).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        stream.write_all(format!("{line}\n").as_bytes()).expect("asked");
        BufReader::new(stream)
    }

    fn say(&self, word: &str) {
        self.words.send(word.to_owned()).expect("heard");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        drop(UnixStream::connect(&self.path));
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

fn next(answers: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).expect("an answer");
    line.trim_end().to_owned()
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[test]
fn what_is_staged_beside_a_trial_does_not_hide_that_it_is_one() {
    let world = World::new(own_user());
    let mut first = world.ask(r#"{"do": "stage", "version": "2.0"}"#);
    world.say("hello");
    next(&mut first);
    for (phase, shown) in [
        ("idle", "staging"),
        ("staged", "staging"),
        ("fell-back", "staging"),
        ("trial", "trial"),
        ("restarting", "restarting"),
    ] {
        *world.phase.lock().expect("whole") = phase;
        let status = next(&mut world.ask(r#"{"do": "status"}"#));
        assert!(status.contains(&format!(r#""phase":"{shown}""#)), "{phase}: {status}");
    }
    world.say("end");
}

#[test]
fn one_is_at_it_and_others_are_told_so() {
    let world = World::new(own_user());
    let mut first = world.ask(r#"{"do": "stage", "version": "2.0"}"#);
    world.say("hello");
    assert_eq!(next(&mut first), r#"{"event":"notice","text":"hello"}"#);
    let busy = next(&mut world.ask(r#"{"do": "upgrade"}"#));
    assert!(busy.starts_with(r#"{"event":"busy","doing":"stage 2.0","seconds":"#), "{busy}");
    let status = next(&mut world.ask(r#"{"do": "status"}"#));
    assert!(status.contains(r#""version":"1.0""#) && status.contains("stage 2.0"), "{status}");
    world.say("end");
    assert_eq!(next(&mut first), r#"{"event":"done","result":{"did":"stage 2.0"}}"#);
    assert_eq!(next(&mut first), "", "nothing follows");
    let status = next(&mut world.ask(r#"{"do": "status"}"#));
    assert!(status.contains(r#""doing":null"#), "{status}");
}

#[test]
fn a_client_that_goes_does_not_stop_it_and_cancel_does() {
    let world = World::new(own_user());
    let mut first = world.ask(r#"{"do": "stage"}"#);
    world.say("begun");
    next(&mut first);
    drop(first);
    for word in ["nobody", "hears", "this"] {
        world.say(word);
    }
    assert!(next(&mut world.ask(r#"{"do": "check"}"#)).contains(r#""event":"busy""#));
    let cancelled = next(&mut world.ask(r#"{"do": "cancel"}"#));
    assert_eq!(cancelled, r#"{"event":"done","result":{"cancelled":"stage"}}"#);
    // It ends soon, and the next one begins.
    while !next(&mut world.ask(r#"{"do": "status"}"#)).contains(r#""doing":null"#) {}
    let mut second = world.ask(r#"{"do": "check"}"#);
    world.say("again");
    assert_eq!(next(&mut second), r#"{"event":"notice","text":"again"}"#);
    world.ask(r#"{"do": "cancel"}"#);
    assert_eq!(next(&mut second), r#"{"event":"failed","why":"it was cancelled"}"#);
    // Nothing is being done: it is work of its own to give up what was.
    let mut nothing = world.ask(r#"{"do": "cancel"}"#);
    world.say("end");
    assert_eq!(next(&mut nothing), r#"{"event":"done","result":{"did":"cancel"}}"#);
}

#[test]
fn cancel_says_what_came_of_it() {
    let stop = |request: Request, words: &[&str], limit: Duration| {
        let (sender, receiver) = sync_channel(1000);
        let say = |word: &&str| sender.send((*word).to_owned()).expect("heard");
        say(&"deaf");
        let phase = Arc::new(Mutex::new("idle"));
        let unit = Unit::new(Wait(Mutex::new(receiver), phase), own_user());
        let first = unit.begin(request, Cancel::new()).expect("nobody is at it");
        let stopping = unit.stop().expect("something is being done");
        words.iter().for_each(say);
        (stopping.end(limit), first, sender)
    };
    let ends = Duration::from_secs(60);
    let (said, first, _) = stop(Request::Rollback { restart: true }, &["end"], ends);
    let Event::Failed { why, .. } = said else { panic!("{said:?}") };
    assert!(why.starts_with("`rollback` could not be stopped any more, and is done"), "{why}");
    assert!(first.iter().last().expect("its end").line().contains(r#"{"did":"rollback"}"#));
    // What does not end in time is not said to have ended.
    let (said, _, _goes_on) = stop(Request::Renew {}, &[], Duration::ZERO);
    let Event::Failed { why, .. } = said else { panic!("{said:?}") };
    assert!(why.starts_with("`renew` was asked to stop and has not ended yet"), "{why}");
    // What has failed by itself in the same moment says why.
    let (said, _, _) = stop(Request::Check {}, &["fail"], ends);
    let result = json!({ "cancelled": "check", "why": "a server is gone" });
    assert_eq!(said, Event::Done { result });
    // Two who give up the same hear the same.
    let (said, _, _) = stop(Request::Cancel {}, &["end"], ends);
    assert_eq!(said, Event::Done { result: json!({ "did": "cancel" }) });
}

#[test]
fn what_is_no_request_and_who_may_not_ask_are_told() {
    let world = World::new(own_user());
    let answer = next(&mut world.ask("GET / HTTP/1.1"));
    assert!(answer.starts_with(r#"{"event":"failed","why":"it is no request: "#), "{answer}");
    let long = next(&mut world.ask(&format!(r#"{{"do": "{}"}}"#, "x".repeat(20_000))));
    assert!(long.contains("it is no request"), "{long}");
    if own_user() != 0 {
        let world = World::new(own_user() + 1);
        let answer = next(&mut world.ask(r#"{"do": "status"}"#));
        assert!(answer.contains("may not ask: only root may"), "{answer}");
    }
}
