//! Which revisions Envoy has answered for.

use std::collections::VecDeque;

use model::{Refusal, Revision};

/// Revisions remembered while Envoy is behind; older ones are covered by newer ones.
const REVISIONS_MAX: usize = 1024;

/// The newest revision that Envoy has answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) revision: Revision,
    /// What of it was refused; empty when it was applied.
    pub(crate) refusals: Vec<Refusal>,
}

/// Tracks revisions from when they are given until they are answered for.
#[derive(Debug, Default)]
pub(super) struct Answers {
    given: VecDeque<Revision>,
    answered: Revision,
    last: Option<Answer>,
}

impl Answers {
    /// Notes that a revision is to be carried out.
    pub(super) fn given(&mut self, revision: Revision) {
        if self.given.back() != Some(&revision) {
            self.given.push_back(revision);
            if self.given.len() > REVISIONS_MAX {
                self.given.pop_front();
            }
        }
    }

    /// Tells whether refusals are others than those of the last answer.
    pub(super) fn is_news(&self, refusals: &[Refusal]) -> bool {
        self.last.as_ref().is_none_or(|last| last.refusals != refusals)
    }

    /// Returns what is answered for when everything since `open` is not, and that is news.
    pub(super) fn poll(
        &mut self,
        open: Option<Revision>,
        refusals: Vec<Refusal>,
    ) -> Option<Answer> {
        while self.given.front().is_some_and(|first| open.is_none_or(|open| *first < open)) {
            self.answered = self.given.pop_front()?;
        }
        if self.last.is_none() && open.is_some() {
            return None;
        }
        // The end of a refusal counts when what ended it is live.
        if refusals.is_empty() && open.is_some_and(|open| open <= self.answered) {
            return None;
        }
        let answer = Answer { revision: self.answered, refusals };
        if self.last.as_ref() == Some(&answer) {
            return None;
        }
        self.last = Some(answer.clone());
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_refusal_is_told_when_nothing_of_its_revision_is_open() {
        let refusal = Refusal {
            object: None,
            field: String::new(),
            resource: "Listener default/taken".to_owned(),
            message: "in use".to_owned(),
        };
        let revision = Revision(5);
        let mut answers = Answers::default();
        answers.given(revision);
        let refused = Answer { revision, refusals: vec![refusal.clone()] };
        assert_eq!(answers.poll(None, vec![refusal]), Some(refused));
        assert_eq!(answers.poll(Some(revision), vec![]), None, "it is accepted and not open yet");
        assert_eq!(answers.poll(None, vec![]), Some(Answer { revision, refusals: vec![] }));
    }
}
