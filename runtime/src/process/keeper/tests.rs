//! Real keepers: this test's own program, started again, with owners that die.

use std::{process::Command, time::Instant};

use super::*;
use crate::process::Process;

const DEADLINE: Duration = Duration::from_secs(10);

/// The keeper's process, when this program is started as one.
#[tokio::test]
#[ignore = "a part of the other tests, which start it"]
async fn keeper_process() {
    let Ok(keep) = Keep::parse(after_dashes()) else { return };
    let _ = keep.run().await;
}

/// A place with an owner: a shell that starts a keeper and waits.
struct Place {
    directory: tempfile::TempDir,
    owner: std::process::Child,
}

impl Place {
    fn new(script: &str, linger: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let keep = Keep {
            owner: path("owner"),
            lock: path("lock"),
            pid_file: path("pid"),
            output: path("output"),
            linger,
            grace: Duration::from_millis(300),
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
        };
        assert_eq!(Keep::parse(keep.to_arguments()).unwrap(), keep);
        let keeper = Keeper {
            program: std::env::current_exe().unwrap(),
            arguments: ["--exact", "process::keeper::tests::keeper_process", "--ignored"]
                .map(OsString::from)
                .to_vec(),
        };
        let spec = keeper.spec("kept", &keep);
        let owner = Command::new("/bin/sh")
            .args(["-c", "echo $$ > \"$0\"; \"$@\" & wait"])
            .arg(path("owner"))
            .arg(&spec.program)
            .args(&spec.arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { directory, owner }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn kept(&self) -> Pid {
        until("the pid file", || written_pid(&self.path("pid")).is_some()).await;
        Pid::from_raw(written_pid(&self.path("pid")).unwrap())
    }

    fn kill_owner(&mut self) {
        self.owner.kill().unwrap();
        self.owner.wait().unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.owner.kill().and_then(|()| self.owner.wait());
    }
}

fn alive(pid: Pid) -> bool {
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
async fn what_nobody_takes_over_is_ended_also_when_it_does_not_want_to() {
    let mut place = Place::new("trap '' TERM; while :; do sleep 0.05; done", DEADLINE / 100);
    let kept = place.kept().await;
    place.kill_owner();
    until("its end", || !alive(kept)).await;
    until("the keeper's end", || PidLock::holder(&place.path("lock")).unwrap().is_none()).await;
}

#[tokio::test]
async fn what_the_next_owner_takes_over_goes_on_and_is_adopted_and_stopped() {
    let mut place = Place::new("exec sleep 60", DEADLINE);
    let kept = place.kept().await;
    place.kill_owner();
    // The next owner: this process.
    std::fs::write(place.path("owner"), std::process::id().to_string()).unwrap();
    let adopted = Process::adopt("kept", &place.path("lock")).unwrap().expect("a keeper");
    assert!(alive(kept));
    adopted.stop(DEADLINE).await;
    assert!(!alive(kept), "a stopped keeper leaves nothing");
}

#[tokio::test]
async fn a_killed_keeper_leaves_nothing() {
    let place = Place::new("exec sleep 60", DEADLINE);
    let kept = place.kept().await;
    let keeper = PidLock::holder(&place.path("lock")).unwrap().unwrap();
    kill(keeper, Signal::SIGKILL).unwrap();
    until("its end", || !alive(kept)).await;
}

#[tokio::test]
async fn without_an_owner_nothing_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let keep = Keep {
        owner: path("owner"),
        lock: path("lock"),
        pid_file: path("pid"),
        output: path("output"),
        linger: DEADLINE,
        grace: DEADLINE,
        program: "/bin/true".into(),
        arguments: vec![],
    };
    let error = keep.run().await.unwrap_err();
    assert!(matches!(error, KeepError::NoOwner { .. }), "{error}");
    assert!(!path("pid").exists());
}
