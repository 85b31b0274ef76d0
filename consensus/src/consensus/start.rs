//! Starting a member: directory, log, state, Raft, then the port.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::confirm::Confirmations;
use super::{Consensus, Inner, status};
use crate::directory::Directory;
use crate::errors::{Fatal, StartError};
use crate::failure::Failure;
use crate::options::{Options, Profile, Tuning};
use crate::raft::Raft;
use crate::raft::leader_calls::LeaderCalls;
use crate::raft::log_storage::LogStorage;
use crate::raft::network::Network;
use crate::raft::peers::Peers;
use crate::raft::recovery::recover;
use crate::raft::server::Server;
use crate::raft::service::RaftService;
use crate::raft::state_machine::{Replica, StateMachine};
use crate::raft::transport::Transport;
use crate::snap::Snapshots;
use crate::status::RaftStatus;
use crate::store::Store;
use crate::telemetry;
use crate::wal::Wal;
use crate::wal::log::WalOptions;

/// A snapshot of the largest state crosses a slow link in this time.
const SNAPSHOT_TIMEOUT_MS: u64 = 120_000;

/// The timers of a profile, in milliseconds.
struct Timers {
    heartbeat: u64,
    election_min: u64,
    election_max: u64,
}

impl Timers {
    fn of(profile: Profile) -> Self {
        match profile {
            Profile::Lan => Self { heartbeat: 50, election_min: 300, election_max: 500 },
            Profile::Wan => Self { heartbeat: 250, election_min: 1_500, election_max: 2_500 },
        }
    }

    fn config(&self, cluster: &str, tuning: &Tuning) -> Config {
        Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: self.heartbeat,
            election_timeout_min: self.election_min,
            election_timeout_max: self.election_max,
            enable_pre_vote: Some(true),
            // An entry can be committed by the others before the leader has synced it. A leader
            // that lost it in a power cut must not go on in the same term: it would put another
            // entry in its place. (Found by the test that cuts the power of all nodes at once.)
            enable_leader_restore: Some(false),
            install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(tuning.snapshot_after),
            max_in_snapshot_log_to_keep: tuning.keep_after_snapshot,
            ..Config::default()
        }
    }
}

/// What was opened before anything runs.
struct Opened {
    directory: Directory,
    wal: Wal,
    snapshots: Snapshots,
    replica: Replica,
    store: Option<Store>,
}

pub(super) async fn start(options: Options) -> Result<Consensus, StartError> {
    telemetry::describe();
    let listener = TcpListener::bind(options.raft_address)
        .await
        .map_err(|source| StartError::Listen { address: options.raft_address, source })?;
    let failure = Failure::default();
    let (for_open, opening) = (options.clone(), failure.clone());
    let opened = tokio::task::spawn_blocking(move || open(&for_open, opening)).await;
    let opened = opened.map_err(|e| StartError::Raft { reason: e.to_string() })??;
    let Opened { directory, wal, snapshots, replica, store } = opened;

    let timers = Timers::of(options.profile);
    let config = timers.config(&options.cluster, &options.tuning).validate();
    let config = config.map_err(|e| StartError::Raft { reason: e.to_string() })?;
    let transport = Transport::new(options.tls.clone());
    let peers = Peers::new(transport.clone(), &options.cluster, options.node);
    let (published_sender, published) = watch::channel(replica.state.publish());
    let machine = StateMachine {
        replica,
        store: store.clone(),
        snapshots: snapshots.clone(),
        published: published_sender,
    };
    let network = Network {
        peers: peers.clone(),
        append_timeout: Duration::from_millis(timers.election_min),
    };
    let log = LogStorage(wal.clone());
    let raft = Raft::new(options.node.0, Arc::new(config), network, log, machine).await;
    let raft = raft.map_err(|fatal| StartError::Raft { reason: fatal.to_string() })?;

    let calls = LeaderCalls {
        raft: raft.clone(),
        contact_max: Duration::from_millis(2 * timers.election_max),
    };
    let stop = watch::Sender::new(false);
    let server = Server {
        node: options.node,
        cluster: options.cluster.as_str().into(),
        node_check: options.tls.node_check.clone(),
        raft: raft.clone(),
        calls: calls.clone(),
        snapshots,
        failure: failure.clone(),
    };
    let initial = status::first(&raft).await?;
    // Not before openraft has told the membership, so that a restarted member never looks new.
    let (status_sender, status): (_, watch::Receiver<RaftStatus>) = watch::channel(initial);
    let follow = status::follow(raft.clone(), status_sender, failure.clone(), stop.subscribe());
    let tasks = vec![
        tokio::spawn(serve(transport, listener, server, failure.clone(), stop.subscribe())),
        tokio::spawn(follow),
    ];
    let inner = Inner {
        node: options.node,
        raft,
        calls,
        peers,
        wal,
        store,
        published,
        status,
        failure,
        stop,
        tasks: tokio::sync::Mutex::new(tasks),
        confirmations: Confirmations::default(),
        request_timeout: options.tuning.request_timeout,
        // A leader that hangs is given up in time to find its successor.
        attempt_timeout: Duration::from_millis(4 * timers.election_max),
        directory: std::sync::Mutex::new(Some(directory)),
    };
    Ok(Consensus { inner: Arc::new(inner) })
}

/// Opens everything on disk; blocking.
fn open(options: &Options, failure: Failure) -> Result<Opened, StartError> {
    let disk = options.disk.clone();
    let directory = Directory::open(&*disk, &options.dir, &options.cluster, options.node)?;
    let wal = Wal::open(WalOptions {
        disk: disk.clone(),
        folder: directory.wal.clone(),
        cluster: options.cluster.clone(),
        node: options.node.0,
        segment_bytes: options.tuning.segment_bytes,
        failure,
    })?;
    let snapshots =
        Snapshots { disk, folder: directory.snap.clone(), cluster: options.cluster.clone() };
    let (replica, store) = recover(&wal, &snapshots, &directory.store, &options.cluster)?;
    let store = store.map(|s| Store::start(directory.store.clone(), options.cluster.clone(), s));
    let store = store.transpose().map_err(|source| StartError::Io {
        action: "start the thread of",
        path: directory.store.clone(),
        source,
    })?;
    Ok(Opened { directory, wal, snapshots, replica, store })
}

/// Serves peers until the node stops.
async fn serve(
    transport: Transport,
    listener: TcpListener,
    server: Server,
    failure: Failure,
    mut stop: watch::Receiver<bool>,
) {
    let accepted = transport.listen(listener, stop.clone());
    let incoming = tokio_stream::wrappers::ReceiverStream::new(accepted);
    let stopped = {
        let mut stop = stop.clone();
        async move {
            // A dropped sender means that the node is gone.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    };
    let served = tonic::transport::Server::builder().serve_with_incoming_shutdown(
        RaftService(server),
        incoming,
        stopped,
    );
    // Open connections of peers would keep a graceful shutdown waiting.
    let result = tokio::select! {
        result = served => result,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    if let Err(error) = result {
        failure.report(Fatal { part: "raft", reason: format!("serving peers: {error}") });
    }
}
