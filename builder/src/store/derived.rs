//! Digests that follow from a blob and something beside it, such as a file's checksum in a format
//! that hashes owner and mode together with the content. To find one takes reading the blob; an
//! image has thousands of files and most are those of the image before it.
//!
//! All answers for one purpose are one file: records of 64 bytes in order, the digest of a question
//! and its answer, then the digest of all records. To ask for every file of an image is to read it
//! once. Whoever finds new answers writes the file anew; of two that do so at once, one loses
//! answers, which costs time and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use formats::digest::{Hasher, Sha256};
use formats::tree::Blob;

use super::Store;
use crate::error::{Context as _, Error, Id, Result};

const DIGEST: usize = 32;
const RECORD: usize = 2 * DIGEST;

/// What digests are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    /// A file name.
    pub name: &'static str,
    /// Raised whenever the answer to a question changes.
    pub version: u32,
}

/// What a digest is wanted of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The content.
    pub blob: Blob,
    /// All else that shapes the answer.
    pub facts: Vec<u8>,
}

impl Question {
    fn key(&self) -> Sha256 {
        let mut hasher = Hasher::new();
        hasher.update(self.blob.sha256.as_bytes());
        hasher.update(&self.facts);
        hasher.finish()
    }
}

impl Store {
    /// The answers to all questions, in their order; those that are not remembered are found by
    /// up to `jobs` threads.
    ///
    /// # Errors
    /// One of those that `answer` fails with: what was found is kept. [`Id::StoreWrite`].
    pub fn derived(
        &self,
        purpose: Purpose,
        questions: &[Question],
        jobs: usize,
        answer: impl Fn(&Question) -> Result<Sha256> + Sync,
    ) -> Result<Vec<Sha256>> {
        let mut known = self.answers(purpose);
        let keys: Vec<_> = questions.iter().map(Question::key).collect();
        let missing: BTreeMap<_, _> =
            keys.iter().zip(questions).filter(|(key, _)| !known.contains_key(*key)).collect();
        let missing: Vec<_> = missing.into_iter().collect();
        if !missing.is_empty() {
            known.extend(all(&missing, jobs, answer, |found| self.keep(purpose, &known, found))?);
        }
        let lost = || Error::new(Id::Bug, "a digest was neither remembered nor found");
        keys.iter().map(|key| known.get(key).copied().ok_or_else(lost)).collect()
    }

    fn answers_path(&self, purpose: Purpose) -> PathBuf {
        self.root.join("derived").join(format!("{}-{}", purpose.name, purpose.version))
    }

    /// What is remembered; nothing, if the file is not as it was written.
    fn answers(&self, purpose: Purpose) -> BTreeMap<Sha256, Sha256> {
        let bytes = fs::read(self.answers_path(purpose)).unwrap_or_default();
        parse(&bytes).unwrap_or_default()
    }

    fn keep(
        &self,
        purpose: Purpose,
        known: &BTreeMap<Sha256, Sha256>,
        found: &BTreeMap<Sha256, Sha256>,
    ) -> Result<()> {
        if self.read_only || found.is_empty() {
            return Ok(());
        }
        let mut file = self.temporary()?;
        let all: BTreeMap<_, _> = known.iter().chain(found).collect();
        file.write_all(&encode(all)).or_fail(Id::StoreWrite, || self.cannot_write())?;
        self.put_result(file, &self.answers_path(purpose))
    }
}

/// Answers all questions, and has `keep` keep what was found, also before a failure is told.
fn all(
    missing: &[(&Sha256, &Question)],
    jobs: usize,
    answer: impl Fn(&Question) -> Result<Sha256> + Sync,
    keep: impl FnOnce(&BTreeMap<Sha256, Sha256>) -> Result<()>,
) -> Result<BTreeMap<Sha256, Sha256>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, missing.len().max(1)) {
            scope.spawn(|| {
                while let Some((key, question)) = missing.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let outcome = answer(question);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.insert(**key, outcome);
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let failure = outcomes.iter().find(|(_, outcome)| outcome.is_err()).map(|(key, _)| *key);
    let failure = failure.and_then(|key| outcomes.remove(&key));
    let found = outcomes.into_iter().filter_map(|(key, outcome)| Some((key, outcome.ok()?)));
    let found = found.collect();
    keep(&found)?;
    match failure {
        Some(Err(error)) => Err(error),
        _ => Ok(found),
    }
}

fn encode(answers: BTreeMap<&Sha256, &Sha256>) -> Vec<u8> {
    let mut bytes: Vec<u8> = answers
        .into_iter()
        .flat_map(|(key, answer)| [*key.as_bytes(), *answer.as_bytes()].into_iter().flatten())
        .collect();
    let check = Sha256::of(&bytes);
    bytes.extend(check.as_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<Sha256, Sha256>> {
    let (records, check) = bytes.split_last_chunk::<DIGEST>()?;
    if records.len() % RECORD != 0 || Sha256::of(records) != Sha256::from_bytes(*check) {
        return None;
    }
    let digest = |bytes: &[u8]| Some(Sha256::from_bytes(bytes.try_into().ok()?));
    let record = |record: &[u8]| {
        let (key, answer) = record.split_at_checked(DIGEST)?;
        Some((digest(key)?, digest(answer)?))
    };
    records.chunks(RECORD).map(record).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PURPOSE: Purpose = Purpose { name: "sample", version: 1 };

    /// A digest over owner and content, as an object store has it.
    fn with_facts(store: &Store, question: &Question) -> Result<Sha256> {
        let mut hasher = Hasher::new();
        hasher.update(&question.facts);
        hasher.update(store.read_blob(&question.blob)?);
        Ok(hasher.finish())
    }

    fn questions(store: &Store) -> Vec<Question> {
        let question = |content: u8, facts: &[u8]| Question {
            blob: store.put_bytes(&[content]).unwrap(),
            facts: facts.to_vec(),
        };
        let list = (0..20).map(|content| question(content, b"0:0 "));
        list.chain([question(3, b"1:0 "), question(3, b"0:0 ")]).collect()
    }

    /// The answers, and how many had to be found.
    fn ask(store: &Store, purpose: Purpose, questions: &[Question]) -> (Vec<Sha256>, usize) {
        let asked = AtomicUsize::new(0);
        let answers = store.derived(purpose, questions, 3, |question| {
            asked.fetch_add(1, Ordering::Relaxed);
            with_facts(store, question)
        });
        (answers.unwrap(), asked.into_inner())
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_forgotten(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let whole = [&bytes[..], Sha256::of(&bytes).as_bytes()].concat();
            prop_assert_eq!(parse(&whole).is_some(), bytes.len() % RECORD == 0);
            parse(&bytes);
        }
    }

    #[test]
    fn each_question_is_answered_once_and_then_remembered_by_all_that_shapes_the_answer() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let questions = questions(&store);
        let (answers, asked) = ask(&store, PURPOSE, &questions);
        assert_eq!(asked, 21, "one question stands twice");
        assert_eq!(answers[3], Sha256::of(b"0:0 \x03"));
        assert_eq!(answers[20], Sha256::of(b"1:0 \x03"));
        assert_eq!(answers[21], answers[3]);
        let again = Store::open(directory.path()).unwrap();
        assert_eq!(ask(&again, PURPOSE, &questions), (answers.clone(), 0));
        let newer = Purpose { version: 2, ..PURPOSE };
        assert_eq!(ask(&again, newer, &questions[..5]), (answers[..5].to_vec(), 5));
        assert_eq!(ask(&again, newer, &questions[3..9]), (answers[3..9].to_vec(), 4));
    }

    #[test]
    fn answers_that_were_damaged_are_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let questions = questions(&store);
        let (answers, _) = ask(&store, PURPOSE, &questions);
        let path = store.answers_path(PURPOSE);
        let whole = fs::read(&path).unwrap();
        for at in [0, DIGEST, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            for bytes in [&damaged[..], &whole[..at], &[]] {
                fs::write(&path, bytes).unwrap();
                assert_eq!(ask(&store, PURPOSE, &questions), (answers.clone(), 21), "{at}");
                assert!(fs::read(&path).unwrap() == whole);
            }
        }
    }

    #[test]
    fn what_was_found_before_a_failure_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let questions = questions(&store);
        let path = store.blob_path(&questions[7].blob.sha256);
        fs::remove_file(&path).unwrap();
        let error = store.derived(PURPOSE, &questions, 2, |question| with_facts(&store, question));
        assert_eq!(error.unwrap_err().id(), Id::StoreMissing);
        store.put_bytes(&[7]).unwrap();
        let (answers, asked) = ask(&store, PURPOSE, &questions);
        assert_eq!((answers[7], asked), (Sha256::of(b"0:0 \x07"), 1));
    }
}
