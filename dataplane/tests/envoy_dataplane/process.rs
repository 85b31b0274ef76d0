//! This test program, started again as a data plane or as Envoy's keeper: processes that can be
//! killed.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use dataplane::Config;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use runtime::{
    process::{Keep, Keeper, after_dashes},
    telemetry::Metrics,
};

use crate::host::{Host, eventually};

/// How long Envoy goes on without a data plane in these tests.
pub(crate) const LINGER: Duration = Duration::from_secs(4);

/// A data plane in a process of its own; killed when it is dropped.
pub(crate) struct Process(Child);

fn this(entry: &str) -> (PathBuf, Vec<OsString>) {
    let arguments = ["--exact", entry, "--ignored", "--nocapture"].map(OsString::from).to_vec();
    (std::env::current_exe().unwrap(), arguments)
}

fn config(directory: &Path, control: SocketAddr, concurrency: u32) -> Config {
    let place = |name| directory.join(name);
    let mut config = Config::new(vec![control], place("identity"), place("state"), place("run"));
    config.listen_address = Some(Ipv4Addr::LOCALHOST.into());
    config.drain = Duration::from_secs(1);
    config.envoy_concurrency = Some(concurrency);
    config.envoy_linger = LINGER;
    let (program, arguments) = this("process::keeper_process");
    config.keeper = Some(Keeper { program, arguments });
    config
}

impl Process {
    /// Starts a data plane on a host.
    pub(crate) fn start(host: &Host, control: SocketAddr, concurrency: u32) -> Self {
        let (program, arguments) = this("process::data_plane_process");
        let child = Command::new(program)
            .args(arguments)
            .arg("--")
            .arg(host.directory())
            .args([control.to_string(), concurrency.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) {
        eventually("the end of a data plane", async || self.0.try_wait().unwrap().map(drop)).await;
    }

    /// Kills it, and waits for its end.
    pub(crate) async fn killed(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the other tests, which start it"]
async fn data_plane_process() {
    let mut arguments = after_dashes().into_iter();
    let Some(directory) = arguments.next() else { return };
    let mut next = || arguments.next().unwrap().into_string().unwrap();
    let (control, concurrency) = (next().parse().unwrap(), next().parse().unwrap());
    let config = config(Path::new(&directory), control, concurrency);
    let metrics = Metrics::install("dataplane", "test").unwrap();
    dataplane::run(config, metrics).await.unwrap();
}

#[tokio::test]
#[ignore = "a part of the other tests, which start it"]
async fn keeper_process() {
    let Ok(keep) = Keep::parse(after_dashes()) else { return };
    keep.run().await.unwrap();
}
