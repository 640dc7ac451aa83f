//! Lines on their way to the disk: a ring of limited size between the thread that reads and the one
//! that writes. Who reads never waits; if the writer does not keep up the oldest lines go, counted.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of lines that wait: some seconds of daemons which complain.
const LIMIT: usize = 1024 * 1024;
/// What a line costs beside its text.
const OVERHEAD: usize = 64;
/// Bytes that are written at once.
const AT_ONCE: usize = 64 * 1024;

/// A log file.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// Bytes of it and of the one before it.
    pub(super) limit: u64,
    /// So many lines for it were lost before they came as far as the ring, and are not in a batch's
    /// `lacking` yet.
    lost: AtomicU64,
    /// So many went from the ring, and are not in a batch's `lacking` and `dropped` yet.
    dropped: AtomicU64,
}

impl Target {
    pub(super) fn new(path: PathBuf, limit: u64) -> Arc<Self> {
        Arc::new(Self { path, limit, lost: AtomicU64::new(0), dropped: AtomicU64::new(0) })
    }

    /// So many lines did not come as far as the ring.
    pub(super) fn lacks(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

/// Whole lines for one file.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) to: Arc<Target>,
    /// Each with its line break.
    pub(super) text: Vec<u8>,
    pub(super) count: u64,
    /// So many lines before these are lost.
    pub(super) lacking: u64,
    /// So many of those were in the ring and went from it.
    pub(super) dropped: u64,
}

/// See the top.
#[derive(Debug, Default)]
pub(super) struct Ring {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<(Arc<Target>, Vec<u8>)>,
    bytes: usize,
    closed: bool,
}

impl Ring {
    /// Adds a line, which has no line break.
    pub(super) fn push(&self, to: &Arc<Target>, line: &[u8]) {
        let mut state = self.lock();
        state.bytes += line.len() + OVERHEAD;
        state.lines.push_back((Arc::clone(to), line.to_owned()));
        while state.bytes > LIMIT {
            let Some((to, _)) = state.pop() else { break };
            to.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        self.news.notify_one();
    }

    /// The oldest lines, when there are some; `None` when there will be no more.
    pub(super) fn take(&self) -> Option<Batch> {
        let waits = |state: &mut State| state.lines.is_empty() && !state.closed;
        let state = self.news.wait_while(self.lock(), waits);
        state.unwrap_or_else(PoisonError::into_inner).batch()
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<(Arc<Target>, Vec<u8>)> {
        let (to, line) = self.lines.pop_front()?;
        self.bytes -= line.len() + OVERHEAD;
        Some((to, line))
    }

    /// What may be written at once: of one file, and no more than the file may have.
    fn batch(&mut self) -> Option<Batch> {
        let (to, mut text) = self.pop()?;
        text.push(b'\n');
        let dropped = to.dropped.swap(0, Ordering::Relaxed);
        let lacking = to.lost.swap(0, Ordering::Relaxed) + dropped;
        let most = AT_ONCE.min(usize::try_from(to.limit).unwrap_or(AT_ONCE) / 4);
        let mut count = 1;
        while let Some((next, line)) = self.lines.front()
            && next.path == to.path
            && text.len() + line.len() < most
        {
            text.extend_from_slice(line);
            text.push(b'\n');
            count += 1;
            self.pop();
        }
        Some(Batch { to, text, count, lacking, dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Arc<Target> {
        Target::new(name.into(), 1 << 20)
    }

    #[test]
    fn lines_of_one_file_are_written_together_and_the_order_stays() {
        let (ring, a, b) = (Ring::default(), target("a"), target("b"));
        for (to, line) in [(&a, "1"), (&a, "2"), (&b, "3"), (&a, "4")] {
            ring.push(to, line.as_bytes());
        }
        ring.close();
        let texts: Vec<_> = std::iter::from_fn(|| ring.take())
            .map(|batch| (batch.to.path.clone(), String::from_utf8(batch.text).unwrap()))
            .collect();
        let want = [("a", "1\n2\n"), ("b", "3\n"), ("a", "4\n")];
        assert_eq!(texts, want.map(|(path, text)| (path.into(), text.to_owned())));
    }

    #[test]
    fn without_a_writer_the_oldest_lines_go_and_are_counted() {
        let (ring, a) = (Ring::default(), target("a"));
        let line = [b'x'; 1000];
        let all = 5000;
        for _ in 0..all {
            ring.push(&a, &line);
        }
        assert!(ring.lock().bytes <= LIMIT);
        a.lacks(7);
        ring.close();
        let batches: Vec<_> = std::iter::from_fn(|| ring.take()).collect();
        let count: u64 = batches.iter().map(|batch| batch.count).sum();
        let lacking: Vec<u64> = batches.iter().map(|batch| batch.lacking).collect();
        assert_eq!(count + lacking[0], all + 7);
        let dropped: Vec<u64> = batches.iter().map(|batch| batch.dropped).collect();
        assert!(dropped[0] == lacking[0] - 7 && dropped[1..].iter().all(|more| *more == 0));
        assert!(lacking[0] > 7 && lacking[1..].iter().all(|more| *more == 0), "{lacking:?}");
        assert_eq!(ring.lock().bytes, 0);
    }
}
