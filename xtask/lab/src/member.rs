//! One node of a cluster under test: its processes, its directories, and the command line against
//! it. It knows nothing of the other nodes (see `cluster`).

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::instance::Instance;
use crate::place::Place;
use crate::process::{self, Launch, Output, Process};
use crate::waiting::{wait_for, wait_until};

/// Port of the API.
pub const API_PORT: u16 = 7800;
/// Port of Raft.
pub const RAFT_PORT: u16 = 7801;
/// Port of the push.
pub const PUSH_PORT: u16 = 7802;

/// A start on two busy cores, in the dev profile, Envoy's included.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest run of a client command; `apply --wait` has a limit of its own below it.
const COMMAND_MAX: Duration = Duration::from_secs(90);

/// What is set for a node at its first start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name; also that of its directory and logs.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// Its address.
    pub address: IpAddr,
    /// What listeners on `*` bind; needed when several nodes share a host.
    pub listen_address: Option<IpAddr>,
    /// Interfaces that XDP is attached to.
    pub interfaces: Vec<String>,
    /// Its failure domain.
    pub zone: String,
    /// The program.
    pub binary: PathBuf,
    /// The Envoy to use.
    pub envoy: PathBuf,
    /// Whether a data plane runs beside.
    pub dataplane: bool,
}

/// A node.
#[derive(Debug)]
pub struct Member {
    settings: Settings,
    instance: String,
    logs: PathBuf,
    directory: PathBuf,
    context: PathBuf,
    control: Option<Process>,
}

impl Member {
    /// A node that was not started yet.
    #[must_use]
    pub fn new(instance: &Instance, settings: Settings) -> Self {
        let directory = instance.directory().join(&settings.name);
        Self {
            instance: instance.name().to_owned(),
            logs: instance.logs(),
            context: instance.directory().join("context.json"),
            directory,
            settings,
            control: None,
        }
    }

    /// What was set for it.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Its run directory.
    #[must_use]
    pub fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// The context file of the cluster's first administrator.
    #[must_use]
    pub fn context_file(&self) -> PathBuf {
        self.context.clone()
    }

    /// The address of its API.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        SocketAddr::new(self.settings.address, API_PORT)
    }

    /// An address of its data plane.
    #[must_use]
    pub fn listener(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.settings.listen_address.unwrap_or(self.settings.address), port)
    }

    /// First start as the first node of a cluster, with further arguments of `up`.
    ///
    /// # Errors
    /// When it does not serve its API in time, with its log.
    pub fn up(&mut self, further: &[&str]) -> Result<()> {
        self.spawn(&["up"], further)?;
        self.wait_serving()
    }

    /// First start with a join line.
    ///
    /// # Errors
    /// When it does not serve its API in time, with its log.
    pub fn join(&mut self, line: &str) -> Result<()> {
        self.spawn(&["join", line], &[])?;
        self.wait_serving()
    }

    /// Starts it, without waiting, as the first `words` say, with all flags of a first start.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn(&mut self, words: &[&str], further: &[&str]) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        let launch = self
            .launch()
            .args(words.iter().copied())
            .args(self.flags())
            .args(further.iter().copied());
        self.control = Some(launch.start(&self.settings.name, &self.logs)?);
        Ok(())
    }

    /// Starts it again from its data directory, without any other flag.
    ///
    /// # Errors
    /// When it does not serve its API in time, with its log.
    pub fn restart(&mut self) -> Result<()> {
        self.spawn_again()?;
        self.wait_serving()
    }

    /// As [`Member::restart`], without waiting.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_again(&mut self) -> Result<()> {
        let data = self.data().display().to_string();
        let launch = self.launch().args(["up", "--data-dir", &data]);
        self.control = Some(launch.start(&self.settings.name, &self.logs)?);
        Ok(())
    }

    /// Waits until its API answers.
    ///
    /// # Errors
    /// When the process ends or `limit` passes.
    pub fn wait_serving(&mut self) -> Result<()> {
        let what = format!("{} to serve its API", self.settings.name);
        wait_until(what, START_MAX, || {
            if let Some(status) = self.control.as_mut().and_then(Process::ended) {
                return Ok(Err(anyhow::anyhow!(
                    "{} ended ({status}):\n{}",
                    self.settings.name,
                    self.log()
                )));
            }
            let answer = curl(&self.settings.place, &format!("https://{}/healthz", self.api()));
            match answer {
                Ok(200) => Ok(Ok(())),
                Ok(status) => bail!("/healthz answered {status}; its log:\n{}", self.log()),
                Err(error) => bail!("{error:#}; its log:\n{}", self.log()),
            }
        })?
    }

    /// The join line that the first start printed.
    ///
    /// # Errors
    /// When it printed none in time.
    pub fn join_line(&mut self) -> Result<String> {
        let control = self.control.as_mut().context("not started")?;
        let line = control.line_with("marchproxy join mp1.", START_MAX)?;
        join_line_in(&line).context("a join line")
    }

    /// Its control process.
    ///
    /// # Errors
    /// When it was not started or was killed.
    pub fn control(&mut self) -> Result<&mut Process> {
        self.control.as_mut().with_context(|| format!("{} does not run", self.settings.name))
    }

    /// What its control process wrote to stderr, last lines.
    #[must_use]
    pub fn log(&self) -> String {
        let text = self.control.as_ref().map(|control| control.stdout() + &control.stderr());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Kills the control process with -9; the data plane goes on.
    pub fn kill_control(&mut self) {
        if let Some(mut control) = self.control.take() {
            control.kill();
        }
    }

    /// Kills control, data plane and Envoy with -9, all at once.
    pub fn kill_all(&mut self) {
        let pids: Vec<Pid> =
            self.dataplane_pid().ok().into_iter().chain(self.envoy_pid().ok()).collect();
        if let Some(control) = &self.control {
            let _ = kill(control.pid(), Signal::SIGKILL);
        }
        for pid in &pids {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        self.kill_control();
        let _ = wait_for("killed processes to go", Duration::from_secs(5), || {
            pids.iter().all(|pid| !process::alive(*pid))
        });
    }

    /// The pid of its data plane, from the lock file.
    ///
    /// # Errors
    /// When none runs.
    pub fn dataplane_pid(&self) -> Result<Pid> {
        self.pid_in("dataplane.lock")
    }

    /// The pid of the Envoy that takes its traffic, from the pid file.
    ///
    /// # Errors
    /// When none runs.
    pub fn envoy_pid(&self) -> Result<Pid> {
        self.pid_in("envoy.pid")
    }

    fn pid_in(&self, file: &str) -> Result<Pid> {
        let path = self.run_directory().join(file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let word = text.split_whitespace().next().unwrap_or_default();
        let pid =
            Pid::from_raw(word.parse().with_context(|| format!("no pid in {}", path.display()))?);
        ensure!(process::alive(pid), "{} names {pid}, which is dead", path.display());
        Ok(pid)
    }

    /// A launch of a client command against this node.
    #[must_use]
    pub fn client(&self, words: &[&str]) -> Launch {
        let server = format!("https://{}", self.api());
        self.launch().args(words.iter().copied()).args(["--server", &server])
    }

    /// Runs a client command against this node.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        self.client(words).output(COMMAND_MAX)
    }

    /// Runs a client command with text on stdin.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn run_with(&self, words: &[&str], input: &str) -> Result<Output> {
        self.client(words).output_with_input(COMMAND_MAX, input)
    }

    /// Starts a data plane alone, as its control would.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_dataplane(&self) -> Result<Process> {
        let data = self.data().join("dataplane").display().to_string();
        let run = self.run_directory().display().to_string();
        let launch = self.launch().args(["dataplane", "--data-dir", &data, "--run-dir", &run]);
        launch.start(&format!("{}-dataplane", self.settings.name), &self.logs)
    }

    /// The program, marked as a part of the instance, with the cluster's context file.
    #[must_use]
    pub fn launch(&self) -> Launch {
        Launch::new(&self.instance, &self.settings.place, &self.settings.binary)
            .env("MARCHPROXY_CONTEXT", self.context.display().to_string())
            .env("HOME", self.directory.display().to_string())
    }

    fn flags(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut flags: Vec<String> = [
            ("--data-dir", self.data().display().to_string()),
            ("--run-dir", self.run_directory().display().to_string()),
            ("--address", settings.address.to_string()),
            ("--name", settings.name.clone()),
            ("--zone", settings.zone.clone()),
            ("--envoy", settings.envoy.display().to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        if let Some(address) = settings.listen_address {
            flags.extend(["--listen-address".into(), address.to_string()]);
        }
        for interface in &settings.interfaces {
            flags.extend(["--xdp".into(), interface.clone()]);
        }
        if !settings.dataplane {
            flags.push("--no-dataplane".into());
        }
        flags
    }
}

/// The word that begins with `mp1.` in a text.
#[must_use]
pub fn join_line_in(text: &str) -> Option<String> {
    text.split_whitespace().find(|word| word.starts_with("mp1.")).map(str::to_owned)
}

/// The status that `curl -k`, without token or certificate, gets for a URL.
///
/// # Errors
/// When there was no HTTP answer.
pub fn curl(place: &Place, url: &str) -> Result<u16> {
    let arguments = ["-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url];
    let text = crate::tool::run(place, "curl", &arguments)?;
    text.trim().parse().with_context(|| format!("curl printed {text:?}"))
}
