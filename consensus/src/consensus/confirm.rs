//! One question for all who ask it at the same time, so that the rate of fresh reads is not bound
//! by round trips to a majority.
//!
//! **Invariant.** Nobody gets the answer to a question that was put before they asked: who comes
//! while one is under way waits for the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, Semaphore};

/// Questions under way at once. With one, a lone caller on a slow link would wait for the answer to
/// the question before; with many, there would be few callers to each.
const UNDER_WAY_MAX: usize = 2;

/// Callers that wait for the same answer.
type Batch<T> = Arc<OnceCell<T>>;

/// The questions of one node.
pub(super) struct Confirmations<T> {
    /// The callers whose question has not been put yet.
    gathering: Mutex<Batch<T>>,
    turns: Semaphore,
}

impl<T> Default for Confirmations<T> {
    fn default() -> Self {
        Self { gathering: Mutex::default(), turns: Semaphore::new(UNDER_WAY_MAX) }
    }
}

impl<T: Clone> Confirmations<T> {
    /// Returns an answer to `question` that was put after this call. When the caller who put it goes
    /// away, another one puts it again.
    pub(super) async fn ask<F: Future<Output = T>>(&self, question: impl FnOnce() -> F) -> T {
        let batch = self.gathering().clone();
        let answer = batch.get_or_init(async || {
            // Never closed; without a turn there would only be one question more under way.
            let _turn = self.turns.acquire().await;
            self.close(&batch);
            question().await
        });
        answer.await.clone()
    }

    /// Lets those who come from here on wait for another question.
    fn close(&self, batch: &Batch<T>) {
        let mut gathering = self.gathering();
        if Arc::ptr_eq(&gathering, batch) {
            *gathering = Batch::default();
        }
    }

    fn gathering(&self) -> MutexGuard<'_, Batch<T>> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const CALLERS: usize = 100;

    #[tokio::test]
    async fn no_answer_is_older_than_its_caller_and_callers_share_answers() {
        let confirmations = Arc::new(Confirmations::default());
        let (clock, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let open = Arc::new(Semaphore::new(0));
        let caller = || {
            let (confirmations, open) = (confirmations.clone(), open.clone());
            let (clock, asked) = (clock.clone(), asked.clone());
            tokio::spawn(async move {
                let began = clock.fetch_add(1, Ordering::SeqCst);
                let answer = confirmations.ask(|| async {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let put = clock.fetch_add(1, Ordering::SeqCst);
                    open.acquire().await.unwrap().forget();
                    put
                });
                assert!(answer.await > began, "the question of an answer was put before");
            })
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| caller()).collect();
        while clock.load(Ordering::SeqCst) < CALLERS + UNDER_WAY_MAX {
            tokio::task::yield_now().await;
        }
        open.add_permits(CALLERS);
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), UNDER_WAY_MAX + 1);
    }

    #[tokio::test]
    async fn a_question_whose_caller_went_away_is_put_by_another() {
        let confirmations = Arc::new(Confirmations::default());
        let other = |answer: u8| {
            let confirmations = confirmations.clone();
            async move { confirmations.ask(|| async move { answer }).await }
        };
        // All turns are taken, so that two callers wait for the same answer.
        let turns = confirmations.turns.acquire_many(UNDER_WAY_MAX as u32).await.unwrap();
        let gone = tokio::spawn(other(6));
        tokio::task::yield_now().await;
        let stays = tokio::spawn(other(7));
        tokio::task::yield_now().await;
        gone.abort();
        assert!(gone.await.is_err());
        drop(turns);
        assert_eq!(stays.await.unwrap(), 7);
    }
}
