//! An actor that is one loop: it owns a future, and ends when the future ends.
//!
//! For the parts of the process whose only state is a connection or a position in a stream. The
//! parent is the supervisor it is given to; an error, a panic or an end of the future is the actor's
//! failure, which the supervisor repairs by starting the loop anew. When asked to stop it cancels
//! the token and waits for the future; a kill drops the future.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use runtime::supervision::ChildSpec;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Makes the future of one incarnation.
type Make = Arc<dyn Fn(CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// What the loop tells its actor.
pub(crate) enum TaskMessage {
    /// The future came to its end.
    Ended(Result<(), String>),
}

/// The actor.
struct Task;

struct Running {
    stop: CancellationToken,
    task: Option<AbortOnDropHandle<()>>,
}

/// A permanent child that runs the loop that `make` gives, and drops it when it is to end.
pub(crate) fn task<F>(name: &'static str, make: F) -> ChildSpec
where
    F: Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync + 'static,
{
    parting_task(name, move |stop| {
        let future = make();
        async move {
            tokio::select! {
                ended = future => ended,
                () = stop.cancelled() => Ok(()),
            }
        }
        .boxed()
    })
}

/// A permanent child whose loop takes leave when the token tells it to end.
pub(crate) fn parting_task<F>(name: &'static str, make: F) -> ChildSpec
where
    F: Fn(CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync + 'static,
{
    let make: Make = Arc::new(make);
    ChildSpec::actor(name, move || (Task, make.clone()))
}

impl Actor for Task {
    type Msg = TaskMessage;
    type State = Running;
    type Arguments = Make;

    async fn pre_start(
        &self,
        myself: ActorRef<TaskMessage>,
        make: Make,
    ) -> Result<Running, ActorProcessingErr> {
        let stop = CancellationToken::new();
        let future = make(stop.clone());
        let task = tokio::spawn(async move {
            let ended = match AssertUnwindSafe(future).catch_unwind().await {
                Ok(result) => result.map_err(|error| format!("{error:#}")),
                Err(panic) => Err(format!("panicked: {}", words(panic.as_ref()))),
            };
            // The actor may be gone already; then nobody asks.
            let _ = myself.cast(TaskMessage::Ended(ended));
        });
        Ok(Running { stop, task: Some(AbortOnDropHandle::new(task)) })
    }

    async fn handle(
        &self,
        myself: ActorRef<TaskMessage>,
        message: TaskMessage,
        _: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TaskMessage::Ended(Ok(())) => {
                myself.stop(Some("its work came to an end".to_owned()));
                Ok(())
            }
            TaskMessage::Ended(Err(reason)) => Err(reason.into()),
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<TaskMessage>,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        running.stop.cancel();
        if let Some(task) = running.task.take() {
            // Its panic was caught and told; an abort is an end, too.
            let _ = task.await;
        }
        Ok(())
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use runtime::supervision::{Backoff, ChildState, SupervisorHandle};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn an_error_a_panic_and_an_end_are_each_repaired_and_told() {
        let starts = Arc::new(AtomicUsize::new(0));
        let counter = starts.clone();
        let spec = task("loop", move || {
            let nth = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                match nth {
                    0 => anyhow::bail!("no luck"),
                    1 => panic!("dropped it"),
                    2 => Ok(()),
                    _ => std::future::pending().await,
                }
            }
            .boxed()
        })
        .backoff(Backoff { first: Duration::from_millis(1), most: Duration::from_millis(1) });
        let (supervisor, _join) = SupervisorHandle::start(vec![spec]).await.unwrap();
        let mut status = supervisor.status();
        let repaired = status.wait_for(|children| {
            children[0].restarts == 3 && children[0].state == ChildState::Running
        });
        let last = tokio::time::timeout(DEADLINE, repaired).await.unwrap().unwrap()[0].clone();
        assert!(last.last_error.is_some());
        assert_eq!(starts.load(Ordering::SeqCst), 4);
        tokio::time::timeout(DEADLINE, supervisor.stop("test over")).await.unwrap();
    }
}
