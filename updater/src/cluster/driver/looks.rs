//! Somebody asks which release is the newest for this node, and nothing more: each question is answered once,
//! and again after a start of the updater only if the Node object has no answer to it.

use std::time::Duration;

use formats::fleet::Looked;

use super::super::NotStaged;
use super::BUSY;

/// What is asked, and what was answered.
#[derive(Debug, Default)]
pub(super) struct Looks {
    question: Option<String>,
    /// What came of the last one.
    pub(super) answer: Option<Looked>,
    /// A look is under way.
    looking: bool,
    /// Somebody else is at it: until when nothing is tried.
    held: Option<Duration>,
}

impl Looks {
    /// The object asks this, and has this answer.
    pub(super) fn see(&mut self, question: Option<String>, reported: Option<Looked>) {
        self.question = question;
        let is_about = |looked: &Looked| self.question.as_ref() == Some(&looked.look);
        if !self.answer.as_ref().is_some_and(is_about) {
            self.answer = reported.filter(is_about);
        }
    }

    /// A look has ended.
    pub(super) fn answered(
        &mut self,
        look: String,
        result: Result<String, NotStaged>,
        now: Duration,
    ) {
        self.looking = false;
        let (newest, reason) = match result {
            Ok(newest) => (Some(newest), None),
            Err(NotStaged::Busy(_)) => {
                self.held = Some(now + BUSY);
                return;
            }
            Err(why) => (None, Some(why.to_string())),
        };
        if self.question.as_ref() == Some(&look) {
            self.answer = Some(Looked { look, newest, reason });
        }
    }

    /// The question that is to be answered now.
    pub(super) fn next(&mut self, now: Duration) -> Option<String> {
        if self.held.is_some_and(|until| until <= now) {
            self.held = None;
        }
        let is_answered = self.answer.as_ref().map(|looked| &looked.look) == self.question.as_ref();
        if self.looking || self.held.is_some() || is_answered {
            return None;
        }
        self.looking = true;
        self.question.clone()
    }

    /// When it is tried again.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_question_is_answered_once_and_the_last_one_counts() {
        let mut looks = Looks::default();
        let ask = |looks: &mut Looks, question: Option<&str>, reported| {
            looks.see(question.map(str::to_owned), reported);
        };
        assert_eq!(looks.next(s(0)), None, "nobody asks");
        ask(&mut looks, Some("a"), None);
        assert_eq!(looks.next(s(1)).as_deref(), Some("a"));
        assert_eq!(looks.next(s(2)), None, "it is under way");
        looks.answered("a".into(), Err(NotStaged::Busy("stage".into())), s(3));
        assert_eq!((looks.next(s(4)), looks.wakes_at()), (None, Some(s(3) + BUSY)));
        assert_eq!(looks.next(s(3) + BUSY).as_deref(), Some("a"));
        // Somebody else asks before the answer.
        ask(&mut looks, Some("b"), None);
        looks.answered("a".into(), Ok("1.2".into()), s(50));
        assert_eq!(looks.answer, None);
        assert_eq!(looks.next(s(51)).as_deref(), Some("b"));
        looks.answered("b".into(), Err(NotStaged::Failed("no channel".into())), s(52));
        let answer = Looked { look: "b".into(), newest: None, reason: Some("no channel".into()) };
        assert_eq!((looks.next(s(53)), &looks.answer), (None, &Some(answer.clone())));
        // Another updater in the same boot, or in the next one, has the answer from the object.
        let mut later = Looks::default();
        ask(&mut later, Some("b"), Some(answer.clone()));
        assert_eq!((later.next(s(0)), later.answer.clone()), (None, Some(answer.clone())));
        ask(&mut later, Some("c"), Some(answer));
        assert_eq!((later.answer.clone(), later.next(s(0)).as_deref()), (None, Some("c")));
        ask(&mut later, None, None);
        later.answered("c".into(), Ok("1.2".into()), s(9));
        assert_eq!((later.next(s(10)), later.answer), (None, None));
    }
}
