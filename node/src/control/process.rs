//! Starting and ending a control process.

use std::{path::PathBuf, sync::Arc};

use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Control;
use crate::{joining::JoinLine, settings::Settings};

/// Serves the API on a listener until the token is cancelled; an error makes the supervisor start
/// it again with a clone of the same listener. TLS is in [`Control::api_tls`].
pub type ServeApi = Arc<
    dyn Fn(Control, TcpListener, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>>
        + Send
        + Sync,
>;

/// How this process comes to be in a cluster.
#[derive(Clone, Debug)]
pub enum Start {
    /// Restarts from the data directory, or forms a cluster of one in an empty one.
    Up,
    /// Restarts from the data directory, or forms one cluster with the declared peers.
    Expect {
        /// How many nodes form the cluster.
        expect: usize,
        /// Addresses (`ip`, `ip:port`) or DNS names, this node's among them.
        peers: Vec<String>,
        /// The file with the secret that the peers share.
        secret_file: PathBuf,
    },
    /// Joins by a line, or goes on with that join; on a member of that cluster, restarts.
    Join {
        /// The line.
        line: JoinLine,
    },
}

/// A control process that runs inside this one.
pub struct Running {
    /// Its handle.
    pub control: Control,
}

impl Running {
    /// Ends it in order: API, sessions, data plane (unless it was told to stay), consensus.
    pub async fn shutdown(self) {
        todo!()
    }

    /// Waits until it ended by itself, which is always a failure.
    pub async fn failed(&self) -> anyhow::Error {
        todo!()
    }
}

/// Runs a control process until SIGTERM or SIGINT, or until it fails.
///
/// # Errors
/// Why it did not start, or what failed.
pub async fn run(settings: Settings, start: Start, api: ServeApi) -> anyhow::Result<()> {
    let _ = (settings, start, api);
    todo!()
}

/// Starts a control process and returns when it is a member and serves.
///
/// # Errors
/// Why it did not start; nothing is left running.
pub async fn start(settings: Settings, start: Start, api: ServeApi) -> anyhow::Result<Running> {
    let _ = (settings, start, api);
    todo!()
}
