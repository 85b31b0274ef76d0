//! What an Envoy is started with: settings, files, command line.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use model::EngineReport;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{binary::Binary, bootstrap::Bootstrap, life::Life, overload, shared_memory};

/// How much longer than its drain an Envoy lives that has handed over: for what began last.
const AFTER_DRAIN: Duration = Duration::from_secs(2);
/// How long lines of access logs may lie in memory.
const LOG_FLUSH: Duration = Duration::from_secs(1);
/// Envoys of a node that may run at once: one that takes traffic, one that drains, one to come.
pub(super) const SLOTS: u32 = 3;

/// What an Envoy is started with.
#[derive(Clone, Debug)]
pub struct EnvoyArguments {
    /// The executable, by flag; looked for when absent.
    pub binary: Option<PathBuf>,
    /// Where the sockets, the bootstrap file and the pid file stand; exists, for the owner only.
    pub run_dir: PathBuf,
    /// The configuration server's socket.
    pub xds_socket: PathBuf,
    /// The node's name in Envoy's eyes.
    pub node: String,
    /// The cluster's.
    pub cluster: String,
    /// Worker threads; the number of cores when absent.
    pub concurrency: Option<u32>,
    /// The most memory that it may allocate, in bytes; three quarters of what there is when absent.
    pub memory: Option<u64>,
    /// How long open requests may take at a shutdown.
    pub drain: Duration,
    /// Where unavailability goes; acknowledgements come from `xds`.
    pub reports: mpsc::Sender<EngineReport>,
    /// What outlives the actor.
    pub life: Life,
}

/// Returns where the Envoy of a run directory makes the socket of its admin interface. One that
/// takes over makes it anew.
#[must_use]
pub fn admin_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("envoy-admin.sock")
}

impl EnvoyArguments {
    /// Returns where Envoy makes the socket of its admin interface.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.run_dir)
    }

    pub(super) fn bootstrap_file(&self) -> PathBuf {
        self.run_dir.join("envoy-bootstrap.json")
    }

    /// Names the Envoy that takes traffic.
    pub(super) fn pid_file(&self) -> PathBuf {
        self.run_dir.join("envoy.pid")
    }

    pub(super) fn slot(&self, slot: u32, extension: &str) -> PathBuf {
        self.run_dir.join(format!("envoy-{slot}.{extension}"))
    }

    pub(super) fn output(&self) -> PathBuf {
        self.run_dir.join("envoy.out")
    }

    /// How long an Envoy that has handed over goes on.
    pub(super) fn parent_shutdown(&self) -> Duration {
        self.drain.max(Duration::from_secs(1)) + AFTER_DRAIN
    }

    pub(super) fn base_id(&self) -> io::Result<u32> {
        shared_memory::base_id(&self.run_dir)
    }

    pub(super) fn bootstrap<'a>(
        &'a self,
        instance: &'a str,
        admin_socket: &'a Path,
    ) -> Bootstrap<'a> {
        Bootstrap {
            node: &self.node,
            cluster: &self.cluster,
            instance,
            xds_socket: &self.xds_socket,
            admin_socket,
            heap_bytes_max: self.memory.unwrap_or_else(overload::default_memory),
        }
    }

    /// Returns the command line of an Envoy.
    pub(super) fn command_line(&self, epoch: u32, base_id: u32) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec!["--config-path".into(), self.bootstrap_file().into()];
        line.extend(["--log-level", "warning", "--log-format"].map(OsString::from));
        line.push("[%l][%n] %v".into());
        let mut option = |name: &str, value: OsString| line.extend([name.into(), value]);
        option("--concurrency", self.workers().to_string().into());
        option("--drain-time-s", self.drain.as_secs().max(1).to_string().into());
        let shutdown = self.parent_shutdown().as_secs();
        option("--parent-shutdown-time-s", shutdown.to_string().into());
        option("--file-flush-interval-msec", LOG_FLUSH.as_millis().to_string().into());
        option("--base-id", base_id.to_string().into());
        // In the run directory: the abstract name that is Envoy's default takes orders from anybody.
        option("--socket-path", self.run_dir.join("hot").into());
        option("--socket-mode", "600".into());
        option("--restart-epoch", epoch.to_string().into());
        line
    }

    fn workers(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        self.concurrency.unwrap_or_else(cores).max(1)
    }

    /// Returns what is another one when an Envoy that runs is to be replaced: by the file of the
    /// program, the command line and the bootstrap.
    pub(super) fn fingerprint(&self, binary: &Binary) -> io::Result<String> {
        let bootstrap = self.bootstrap("", &self.admin_socket()).to_json().to_string();
        let mut hash = Sha256::new();
        for part in [&binary.path.as_os_str().to_owned(), &binary.file.clone().into()] {
            hash.update(part.as_encoded_bytes());
            hash.update([0]);
        }
        for part in self.command_line(0, self.base_id()?) {
            hash.update(part.as_encoded_bytes());
            hash.update([0]);
        }
        hash.update(bootstrap);
        Ok(hex::encode(&hash.finalize()[..16]))
    }
}
