//! Real processes: their ends, their stops, and who survives whom.

use std::{os::unix::process::CommandExt, process::Command, time::Instant};

use super::*;
use crate::process::Output;

const DEADLINE: Duration = Duration::from_secs(10);

fn shell(script: &str, tie: Tie) -> ProcessSpec {
    ProcessSpec {
        name: "test".to_owned(),
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![],
        tie,
        output: Output::Discarded,
    }
}

fn alive(pid: i32) -> bool {
    // A zombie has ended: only its entry is left.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn ends_are_told_apart() {
    let check = async |script: &str, expected: Exit, words: &str| {
        let process = Process::spawn(&shell(script, Tie::DiesWithParent)).await.unwrap();
        let exit = tokio::time::timeout(DEADLINE, process.wait()).await.unwrap();
        assert_eq!(exit, expected);
        assert_eq!(exit.to_string(), words);
        assert!(!alive(process.pid().as_raw()));
    };
    check("exit 0", Exit::Code(0), "exited with code 0").await;
    check("exit 3", Exit::Code(3), "exited with code 3").await;
    check("kill -9 $$", Exit::Signal(9), "killed by SIGKILL").await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let mut spec = shell("", Tie::DiesWithParent);
    spec.program = "/no/such/program".into();
    let error = Process::spawn(&spec).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}

#[tokio::test]
async fn stop_asks_first_and_kills_after_the_grace() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let script = |trap: &str| {
        format!("trap '{trap}' TERM; touch {}; while :; do sleep 0.01; done", ready.display())
    };
    let started = async |trap: &str| {
        let _ = std::fs::remove_file(&ready);
        let process = Process::spawn(&shell(&script(trap), Tie::DiesWithParent)).await.unwrap();
        until("the trap", || ready.exists()).await;
        process
    };
    assert_eq!(started("exit 7").await.stop(DEADLINE).await, Exit::Code(7));
    let stubborn = started("").await;
    assert_eq!(stubborn.stop(Duration::from_millis(30)).await, Exit::Signal(9));
    assert_eq!(stubborn.stop(Duration::from_millis(30)).await, Exit::Signal(9));
}

#[tokio::test]
async fn dropping_kills_a_tied_process_and_no_other() {
    let tied = Process::spawn(&shell("sleep 60", Tie::DiesWithParent)).await.unwrap();
    let free = Process::spawn(&shell("exec sleep 60", Tie::Outlives)).await.unwrap();
    let (tied_pid, free_pid) = (tied.pid().as_raw(), free.pid().as_raw());
    drop(tied);
    until("the tied one's end", || !alive(tied_pid)).await;
    let pidfd = Arc::clone(&free.pidfd);
    drop(free);
    assert!(alive(free_pid));
    send_signal(&pidfd, Signal::SIGKILL).unwrap();
    until("the other's end", || !alive(free_pid)).await;
}

/// The kernel sends the parent-death signal when the forking thread ends (prctl(2)).
#[test]
fn a_tied_process_outlives_the_thread_that_asked_for_it() {
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Process::spawn(&shell("exec sleep 60", Tie::DiesWithParent))).unwrap()
    };
    let process = std::thread::spawn(ask).join().unwrap();
    // The thread's end and the signal, if there were one, are not simultaneous: a signal that is
    // sent now would be delivered after it.
    send_signal(&process.pidfd, Signal::SIGCONT).unwrap();
    std::thread::yield_now();
    assert!(alive(process.pid().as_raw()));
}

#[tokio::test]
async fn output_goes_to_the_end_of_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut spec = shell("echo out; echo err >&2", Tie::DiesWithParent);
    spec.output = Output::Appended(path.clone());
    for _ in 0..2 {
        Process::spawn(&spec).await.unwrap().wait().await;
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), "out\nerr\nout\nerr\n");
}

#[tokio::test]
async fn the_holder_of_a_lock_is_adopted_and_its_end_seen() {
    let directory = tempfile::tempdir().unwrap();
    let lock = directory.path().join("lock");
    assert!(Process::adopt("test", &lock).unwrap().is_none());
    // flock(1) is in util-linux, which every Debian has; it keeps the lock while its child runs.
    let script = format!("exec 9>>{0}; flock -n 9; echo $$ > {0}; exec sleep 60", lock.display());
    let holder = Process::spawn(&shell(&script, Tie::Outlives)).await.unwrap();
    until("the lock", || matches!(PidLock::holder(&lock), Ok(Some(_)))).await;
    let adopted = Process::adopt("test", &lock).unwrap().unwrap();
    assert_eq!(adopted.pid(), holder.pid());
    assert!(adopted.exit().borrow().is_none());
    assert_eq!(adopted.stop(DEADLINE).await, Exit::Unknown);
    assert_eq!(holder.wait().await, Exit::Signal(15));
    assert!(Process::adopt("test", &lock).unwrap().is_none());
}

/// Runs itself as a program that starts one tied and one free process, tells their pids, and is
/// then killed: the kernel must end the one and leave the other.
#[tokio::test]
async fn when_the_parent_is_killed_the_tied_process_dies_and_the_free_one_lives() {
    const TELL: &str = "TEST_TELL_PIDS_TO";
    if let Some(path) = std::env::var_os(TELL) {
        let tied = Process::spawn(&shell("exec sleep 60", Tie::DiesWithParent)).await.unwrap();
        let free = Process::spawn(&shell("exec sleep 60", Tie::Outlives)).await.unwrap();
        std::fs::write(path, format!("{} {}.", tied.pid(), free.pid())).unwrap();
        return std::future::pending().await;
    }
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let name = "process::running::tests::\
                when_the_parent_is_killed_the_tied_process_dies_and_the_free_one_lives";
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(TELL, &pids)
        .process_group(0)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&pids).unwrap_or_default();
    until("the pids", || read().ends_with('.')).await;
    let text = read();
    let (tied, free) = text.trim_end_matches('.').split_once(' ').unwrap();
    let (tied, free): (i32, i32) = (tied.parse().unwrap(), free.parse().unwrap());
    assert!(alive(tied) && alive(free));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("the tied one's end", || !alive(tied)).await;
    assert!(alive(free));
    nix::sys::signal::kill(Pid::from_raw(free), Signal::SIGKILL).unwrap();
}
