//! The data plane's process beside the control process.
//!
//! It runs in a session of its own and outlives this process, whatever ends it: the supervisor's
//! child leaves it running, and the next control process adopts it through its lock. Only an orderly
//! shutdown ends it ([`stop`]).

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use model::cluster::NodeAddresses;
use nix::sys::signal::{Signal, kill};
use runtime::{
    process::{LockError, Output, PidLock, ProcessActor, ProcessArguments, ProcessSpec, Tie},
    supervision::ChildSpec,
};
use tokio::time::Instant;

use crate::settings::Settings;

/// Held by a running data plane, in the run directory.
pub(super) const LOCK: &str = "dataplane.lock";
/// Where the program is that the data plane runs: this one.
const SELF: &str = "/proc/self/exe";
/// Time to end when asked: Envoy's drain is part of it.
const GRACE: Duration = Duration::from_secs(15);
/// How often the lock is looked at while the process ends.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The child of the root supervisor.
pub(super) fn child(settings: &Settings, addresses: &NodeAddresses) -> ChildSpec {
    let arguments = ProcessArguments {
        spec: ProcessSpec {
            name: "dataplane".to_owned(),
            program: program(),
            arguments: arguments(settings, addresses),
            environment: Vec::new(),
            tie: Tie::Outlives,
            output: Output::Appended(settings.run_dir.join("dataplane.log")),
        },
        adopt: Some(settings.run_dir.join(LOCK)),
        grace: GRACE,
        leave_running: true,
    };
    ChildSpec::actor("dataplane", move || (ProcessActor, arguments.clone()))
}

/// Whether a data plane runs in a run directory; one that has not written its pid yet does.
pub(super) fn runs(run_dir: &Path) -> Result<bool, LockError> {
    match PidLock::holder(&run_dir.join(LOCK)) {
        Ok(holder) => Ok(holder.is_some()),
        Err(LockError::Held { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Asks a running data plane to end, and waits for it; kills it when it does not.
pub(super) async fn stop(settings: &Settings) {
    let lock = settings.run_dir.join(LOCK);
    let deadline = Instant::now() + GRACE;
    let mut signal = Some(Signal::SIGTERM);
    loop {
        let pid = match PidLock::holder(&lock) {
            Ok(Some(pid)) => pid,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot tell whether the data plane runs");
                return;
            }
        };
        if let Some(signal) = signal.take() {
            tracing::info!(%pid, "stopping the data plane");
            // It may have ended in this moment; the next look tells.
            let _ = kill(pid, signal);
        } else if Instant::now() >= deadline {
            tracing::warn!(%pid, "the data plane does not stop; killing it");
            let _ = kill(pid, Signal::SIGKILL);
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// This program's file; after an upgrade in place the new one under the same path.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from(SELF))
}

fn arguments(settings: &Settings, addresses: &NodeAddresses) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["dataplane".into()];
    let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    flag("--data-dir", settings.dataplane_dir().into());
    flag("--run-dir", settings.run_dir.clone().into());
    flag("--push", addresses.push.to_string().into());
    if let Some(envoy) = &settings.envoy {
        flag("--envoy", envoy.into());
    }
    if let Some(memory) = settings.envoy_memory {
        flag("--envoy-memory", memory.to_string().into());
    }
    for interface in &settings.xdp {
        flag("--xdp", interface.into());
    }
    if let Some(flows) = settings.xdp_flows {
        flag("--xdp-flows", flows.to_string().into());
    }
    if let Some(connections) = settings.xdp_connections {
        flag("--xdp-connections", connections.to_string().into());
    }
    if let Some(sampling) = settings.flow_sampling {
        flag("--flow-sampling", sampling.to_string().into());
    }
    if let Some(priority) = settings.worker_priority {
        flag("--worker-priority", priority.to_string().into());
    }
    if let Some(address) = settings.listen_address {
        flag("--listen-address", address.to_string().into());
    }
    arguments
}
