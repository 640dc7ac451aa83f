//! `orlop-node devices`: what elsewhere udev does for those who run containers. It makes device
//! nodes, opens those that are for all, and stays: devices come and go, and STATE may turn out to be
//! damaged.
//!
//! It is a process of its own, so that a disk which does not answer stops nothing but its own
//! links, and PID 1 never reads a disk that somebody has plugged in.

mod contents;
mod follow;
mod health;
mod links;
mod nodes;
mod share;
mod table;
mod uevent;

use std::io;
use std::thread;

use crate::arguments::{Arguments, Failure};
use crate::root::Root;
use follow::{Event, Follower};
use uevent::{Action, News, Uevents};

/// `devices [--once] [--root DIR]`.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if there is no news of devices to be had.
pub fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.option("--root")?.unwrap_or_else(|| "/".to_owned()));
    let once = arguments.flag("--once");
    arguments.finish()?;
    // The first look is at everything, while containerd and kubelet start: they need none of it.
    let mut gives_way = share::only_what_is_left(&root, true).is_ok();
    let mut log = |line: &str| eprintln!("{line}");
    // Before looking, or what comes in between is missed.
    let uevents = Uevents::open()
        .map_err(|error| Failure::Failed(format!("cannot have news of devices: {error}")))?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    nodes::make_all(&root, &release, &mut log);
    if root.is_the_machines() {
        watch_state(root.clone());
    }
    let failed = |error: io::Error| Failure::Failed(format!("cannot follow devices: {error}"));
    let (mut follower, events) = Follower::start(root.clone(), uevents).map_err(failed)?;
    while !(once && follower.is_idle()) {
        if gives_way && follower.is_idle() {
            gives_way = share::only_what_is_left(&root, false).is_err();
        }
        // The follower itself holds the other end.
        let Ok(event) = events.recv() else { break };
        if gives_way && matches!(event, Event::News(_)) {
            // It waits for somebody who has plugged something in, however long a disk takes.
            gives_way = share::only_what_is_left(&root, false).is_err();
        }
        match &event {
            Event::News(News::One(news)) => {
                if let (Action::Present, Some(node)) = (news.action, &news.node) {
                    nodes::open_for_all(&root, node, &mut log);
                }
            }
            Event::News(News::Lost) => nodes::make_all(&root, &release, &mut log),
            _ => {}
        }
        follower.take(event, &mut log).map_err(failed)?;
    }
    Ok(())
}

/// In a thread, for it waits for ever.
fn watch_state(root: Root) {
    let watch = move || {
        if let Err(error) = health::watch(&root, &mut |line| eprintln!("{line}")) {
            eprintln!("cannot watch STATE: {error}");
        }
    };
    if let Err(error) = thread::Builder::new().name("state".to_owned()).spawn(watch) {
        eprintln!("cannot watch STATE: {error}");
    }
}

/// Where the disk of this name is plugged in, as below `/dev/disk/by-path`. Nothing of it is read.
pub(crate) fn place(root: &Root, disk: &str) -> Option<String> {
    let (sysfs, path) = follow::in_sysfs(root, disk)?;
    links::place(&sysfs, &path)
}

/// What the disk of this name says it is, as below `/dev/disk/by-id`. It may have to be asked, and
/// not answer.
pub(crate) fn said(root: &Root, disk: &str) -> Option<String> {
    let (sysfs, path) = follow::in_sysfs(root, disk)?;
    links::said(&sysfs, &path)
}

/// For the fuzz target: all parsers of what devices and modules say.
pub(crate) fn outside(bytes: &[u8]) {
    uevent::outside(bytes);
    links::outside(bytes);
    nodes::outside(&String::from_utf8_lossy(bytes));
}
