//! A child process as an actor, so that a supervisor restarts it under a budget.
//!
//! Owns one process. Fails when the process ends, with the way it ended as its reason. Stopping the
//! actor stops the process, unless it is told to leave it running. When the actor itself dies, a
//! tied process dies with it; one that outlives is adopted by the next start, through its lock.

use std::{path::PathBuf, time::Duration};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Exit, LockError, Process, ProcessSpec, running::AdoptError};

/// Looks at a lock whose holder has not written its pid yet, each after [`ADOPT_WAIT`].
const ADOPT_TRIES: usize = 50;

/// Wait between two looks at a lock; together with the tries one second.
const ADOPT_WAIT: Duration = Duration::from_millis(20);

/// What the actor hears.
#[derive(Debug)]
pub enum ProcessMessage {
    /// The process ended.
    Ended(Exit),
}

/// What to run, and how to end it.
#[derive(Debug, Clone)]
pub struct ProcessArguments {
    /// What to start.
    pub spec: ProcessSpec,
    /// The lock file by which a running one is found and adopted.
    pub adopt: Option<PathBuf>,
    /// How long it may take to end when asked.
    pub grace: Duration,
    /// Leaves the process running when the actor is stopped.
    pub leave_running: bool,
}

/// The actor.
#[derive(Debug)]
pub struct ProcessActor;

/// Its process.
#[derive(Debug)]
pub struct ProcessState {
    process: Process,
    arguments: ProcessArguments,
}

impl Actor for ProcessActor {
    type Msg = ProcessMessage;
    type State = ProcessState;
    type Arguments = ProcessArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ProcessMessage>,
        arguments: ProcessArguments,
    ) -> Result<ProcessState, ActorProcessingErr> {
        let process = match adopt(&arguments).await? {
            Some(process) => process,
            None => Process::spawn(&arguments.spec).await?,
        };
        let mut exit = process.exit();
        tokio::spawn(async move {
            let exit = exit.wait_for(Option::is_some).await.map(|exit| *exit);
            if let Ok(Some(exit)) = exit {
                // The actor may have been stopped meanwhile.
                let _ = myself.cast(ProcessMessage::Ended(exit));
            }
        });
        Ok(ProcessState { process, arguments })
    }

    async fn handle(
        &self,
        _myself: ActorRef<ProcessMessage>,
        message: ProcessMessage,
        state: &mut ProcessState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ProcessMessage::Ended(exit) => {
                Err(format!("{} (pid {}) {exit}", state.process.name(), state.process.pid()).into())
            }
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<ProcessMessage>,
        state: &mut ProcessState,
    ) -> Result<(), ActorProcessingErr> {
        if !state.arguments.leave_running {
            let exit = state.process.stop(state.arguments.grace).await;
            tracing::info!(process = state.process.name(), %exit, "process stopped");
        }
        Ok(())
    }
}

async fn adopt(arguments: &ProcessArguments) -> Result<Option<Process>, AdoptError> {
    let Some(lock) = &arguments.adopt else { return Ok(None) };
    let mut tries = 1;
    loop {
        match Process::adopt(&arguments.spec.name, lock) {
            Err(AdoptError::Lock(LockError::Held { .. })) if tries < ADOPT_TRIES => {
                tries += 1;
                tokio::time::sleep(ADOPT_WAIT).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    use super::*;
    use crate::{
        process::{Output, PidLock, Tie},
        supervision::{Backoff, ChildSpec, SupervisorHandle},
    };

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_killed_process_is_started_again_and_one_left_running_is_adopted() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("lock");
        let script =
            format!("exec 9>>{0}; flock -n 9; echo $$ > {0}; exec sleep 60", lock.display());
        let arguments = ProcessArguments {
            spec: ProcessSpec {
                name: "sleeper".to_owned(),
                program: "/bin/sh".into(),
                arguments: vec!["-c".into(), script.into()],
                environment: vec![],
                tie: Tie::Outlives,
                output: Output::Discarded,
            },
            adopt: Some(lock.clone()),
            grace: DEADLINE,
            leave_running: true,
        };
        let child = |arguments: &ProcessArguments| {
            let arguments = arguments.clone();
            let quick = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(1) };
            ChildSpec::actor("sleeper", move || (ProcessActor, arguments.clone())).backoff(quick)
        };
        // A new holder has the lock before its number stands in the file.
        let holder = async |before: Option<Pid>| {
            let read = async {
                loop {
                    if let Ok(Some(pid)) = PidLock::holder(&lock)
                        && Some(pid) != before
                    {
                        break pid;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(DEADLINE, read).await.expect("somebody holds the lock")
        };

        let (first, _join) = SupervisorHandle::start(vec![child(&arguments)]).await.unwrap();
        let pid = holder(None).await;
        kill(pid, Signal::SIGKILL).unwrap();
        let mut status = first.status();
        let restarted = status.wait_for(|all| all[0].restarts == 1);
        let seen = tokio::time::timeout(DEADLINE, restarted).await.unwrap().unwrap()[0].clone();
        assert!(seen.last_error.unwrap().contains("killed by SIGKILL"));
        let second_pid = holder(Some(pid)).await;
        first.stop("test over").await;

        let last = ProcessArguments { leave_running: false, ..arguments };
        let (second, _join) = SupervisorHandle::start(vec![child(&last)]).await.unwrap();
        assert_eq!(holder(None).await, second_pid);
        assert_eq!(second.status().borrow()[0].restarts, 0);
        second.stop("test over").await;
        assert_eq!(PidLock::holder(&lock).unwrap(), None);
    }
}
