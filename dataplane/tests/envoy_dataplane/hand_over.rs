//! A data plane is replaced, or killed, while Envoy serves.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use model::{AckState, Revision};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use runtime::process::PidLock;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{
    control::{Control, Session},
    host::{Host, ask, eventually, free_port, nobody, until_answered},
    process::{LINGER, Process},
};

/// Clients that ask without a pause.
const CLIENTS: usize = 3;

fn objects(port: u16, answer: &str) -> Vec<Value> {
    let route = json!({
        "kind": "HTTPRoute",
        "metadata": {"name": "hello"},
        "spec": {
            "listeners": [{"name": "web"}],
            "hosts": ["shop.example"],
            "rules": [{"directResponse": {"status": 200, "body": answer}}],
        },
    });
    let listener = json!({
        "kind": "Listener",
        "metadata": {"name": "web"},
        "spec": {"protocol": "HTTP", "port": port},
    });
    vec![listener, route]
}

/// Requests, each on a connection of its own, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(port: u16) -> Self {
        let (stop, answers, failed) = (
            Arc::<AtomicBool>::default(),
            Arc::<AtomicU64>::default(),
            Arc::<AtomicU64>::default(),
        );
        let client = || {
            let (stop, answers, failed) = (stop.clone(), answers.clone(), failed.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let counter = if ask(port).await.is_some() { &answers } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..CLIENTS).map(|_| client()).collect();
        Self { stop, answers, failed, tasks }
    }

    /// Waits for some more answers.
    async fn more(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        eventually("answers", async || {
            (self.answers.load(Ordering::Relaxed) > before + 200).then_some(())
        })
        .await;
    }

    async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.answers.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// A connection that stays.
struct Kept(TcpStream);

impl Kept {
    async fn open(port: u16) -> Self {
        Self(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap())
    }

    async fn asks(&mut self) {
        self.0.write_all(b"GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        self.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        // The rest of the answer; the next one begins after it.
        let mut rest = [0; 4096];
        let _ = self.0.read(&mut rest).await.unwrap();
    }
}

struct Running {
    host: Host,
    control: Control,
    port: u16,
    plane: Process,
    session: Session,
}

impl Running {
    async fn start() -> Self {
        let host = Host::new();
        let control = Control::start(&host, "127.0.0.1:0".parse().unwrap());
        let plane = Process::start(&host, control.address(), 1);
        let mut session = control.session().await;
        let port = free_port();
        session.push(Revision(1), objects(port, "first")).await;
        assert_eq!(session.answer(Revision(1)).await, AckState::Applied);
        until_answered(port, "first").await;
        Self { host, control, port, plane, session }
    }

    /// Pushes a change, which the Envoy that serves has to take.
    async fn changes(&mut self, revision: u64, answer: &str) {
        self.session.push(Revision(revision), objects(self.port, answer)).await;
        assert_eq!(self.session.answer(Revision(revision)).await, AckState::Applied);
        until_answered(self.port, answer).await;
    }

    fn envoy(&self) -> Pid {
        Pid::from_raw(self.host.envoy_pid().expect("Envoy's pid"))
    }

    fn keeper(&self) -> Option<Pid> {
        PidLock::holder(&self.host.place("run/envoy-0.lock")).unwrap()
    }

    async fn ends_orderly(mut self) {
        self.plane.signal(Signal::SIGTERM);
        self.plane.ended().await;
        assert_eq!(ask(self.port).await, None, "a stopped data plane leaves no Envoy behind");
        assert_eq!(self.keeper(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_goes_on_while_its_data_plane_is_replaced_and_no_request_fails() {
    let mut running = Running::start().await;
    let envoy = running.envoy();
    let load = Load::start(running.port);
    let mut kept = Kept::open(running.port).await;
    kept.asks().await;
    for revision in 2..5 {
        load.more().await;
        running.plane.signal(Signal::SIGHUP);
        running.plane.ended().await;
        load.more().await;
        running.plane = Process::start(&running.host, running.control.address(), 1);
        running.session = running.control.session().await;
        running.changes(revision, &format!("answer {revision}")).await;
        assert_eq!(running.envoy(), envoy, "the same Envoy goes on");
        kept.asks().await;
    }
    let (answers, failed) = load.stop().await;
    println!("{answers} answers, {failed} failed");
    assert_eq!(failed, 0);
    running.ends_orderly().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_replaced_without_a_failed_request_when_its_settings_have_changed() {
    let mut running = Running::start().await;
    let envoy = running.envoy();
    let load = Load::start(running.port);
    running.plane.signal(Signal::SIGHUP);
    running.plane.ended().await;
    // The next data plane wants another number of workers.
    running.plane = Process::start(&running.host, running.control.address(), 2);
    running.session = running.control.session().await;
    eventually("another envoy", async || (running.envoy() != envoy).then_some(())).await;
    running.changes(2, "second").await;
    load.more().await;
    eventually("the end of the one before", async || kill(envoy, None).is_err().then_some(()))
        .await;
    let (answers, failed) = load.stop().await;
    println!("{answers} answers, {failed} failed");
    assert_eq!(failed, 0);
    running.ends_orderly().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_of_a_killed_data_plane_goes_on_until_the_next_one_adopts_it() {
    let mut running = Running::start().await;
    let envoy = running.envoy();
    let load = Load::start(running.port);
    for revision in 2..4 {
        load.more().await;
        running.plane.killed().await;
        load.more().await;
        running.plane = Process::start(&running.host, running.control.address(), 1);
        running.session = running.control.session().await;
        running.changes(revision, &format!("answer {revision}")).await;
        assert_eq!(running.envoy(), envoy, "the same Envoy goes on");
    }
    let (answers, failed) = load.stop().await;
    println!("{answers} answers, {failed} failed");
    assert_eq!(failed, 0);
    running.ends_orderly().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_that_no_data_plane_comes_back_for_is_ended_in_time() {
    let mut running = Running::start().await;
    let (envoy, keeper) = (running.envoy(), running.keeper().expect("a keeper"));
    let killed = std::time::Instant::now();
    running.plane.killed().await;
    assert!(ask(running.port).await.is_some(), "it goes on for a time");
    eventually("its end", async || kill(envoy, None).is_err().then_some(())).await;
    let lived = killed.elapsed();
    assert!(lived >= LINGER && lived < LINGER * 3, "{lived:?}");
    eventually("the keeper's end", async || kill(keeper, None).is_err().then_some(())).await;
    assert_eq!(ask(running.port).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_ends_with_its_keeper_and_the_next_data_plane_starts_another() {
    let mut running = Running::start().await;
    let (envoy, keeper) = (running.envoy(), running.keeper().expect("a keeper"));
    running.plane.killed().await;
    kill(keeper, Signal::SIGKILL).unwrap();
    eventually("its end", async || kill(envoy, None).is_err().then_some(())).await;
    assert_eq!(ask(running.port).await, None);
    running.plane = Process::start(&running.host, nobody(), 1);
    until_answered(running.port, "first").await;
    assert_ne!(running.envoy(), envoy);
    running.ends_orderly().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_that_hangs_without_keeper_and_data_plane_is_ended_before_another_starts() {
    let mut running = Running::start().await;
    let (envoy, keeper) = (running.envoy(), running.keeper().expect("a keeper"));
    // Stopped, it can't take the signal by which it ends with its keeper, and keeps its port.
    kill(envoy, Signal::SIGSTOP).unwrap();
    running.plane.killed().await;
    kill(keeper, Signal::SIGKILL).unwrap();
    running.plane = Process::start(&running.host, nobody(), 1);
    until_answered(running.port, "first").await;
    eventually("its end", async || kill(envoy, None).is_err().then_some(())).await;
    let mut all = 0;
    for _ in 0..50 {
        all += usize::from(ask(running.port).await.is_some());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(all, 50, "no connection comes to one that does not answer");
    running.ends_orderly().await;
}
