//! Starting and ending a control process.
//!
//! The order of a start: take the data directory, take the ports, become a member (restart, form or
//! join), open the store, finish what forming began, start the tree. What fails on the way leaves
//! nothing running, and nothing on disk that keeps the same command from being run again.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use consensus::{Consensus, Consistency, Options, Profile, RaftTls};
use futures::future::BoxFuture;
use model::cluster::NodeId;
use quinn::{Endpoint, VarInt};
use runtime::{
    durable,
    identity::{ClusterId, NodeIdentity, Role},
    supervision::SupervisorHandle,
    tls::{LiveIdentity, peer_identity},
};
use tokio::{net::TcpListener, signal::unix, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    Control,
    data_dir::DataDir,
    dataplane,
    ports::Ports,
    store::AUTHORITY,
    tree::{self, Invitation, Materials},
};
use crate::{
    certificates::{Certificates, ClusterKey},
    formation::{self, founder, genesis, listener, secret},
    joining::{JoinLine, joiner},
    settings::Settings,
};

/// How long a joiner waits to receive what the cluster knows: a snapshot of 10,000 objects takes
/// seconds, a leader may change meanwhile.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
/// Time for the last packets of push sessions: three round trips between regions.
const PUSH_CLOSES_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at what has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
        /// Addresses (`ip`, `ip:port`) or DNS names; this node may be among them.
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

/// How a process became a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It was one before.
    Restarted,
    /// It made the cluster.
    Formed,
    /// It was let in.
    Joined,
}

/// A control process that runs inside this one.
pub struct Running {
    /// Its handle.
    pub control: Control,
    /// How it became a member.
    pub became: Became,
    /// The administrator's token, on the node that made the cluster; for the context file.
    pub admin_token: Option<Zeroizing<String>>,
    supervisor: SupervisorHandle,
    ended: JoinHandle<()>,
    push: Endpoint,
    _data_dir: DataDir,
}

impl Running {
    /// Ends it in order: API, sessions, data plane, consensus.
    pub async fn shutdown(self) {
        self.supervisor.stop("shutdown").await;
        if self.control.settings().dataplane {
            dataplane::stop(self.control.settings()).await;
        }
        self.close_push().await;
        self.control.consensus().shutdown().await;
    }

    /// Ends it as a crash does, but for the files: the data plane stays.
    pub async fn abandon(self) {
        self.supervisor.stop("abandoned").await;
        self.close_push().await;
        self.control.consensus().shutdown().await;
    }

    /// Closes the QUIC endpoint, so that its port is free soon after.
    async fn close_push(&self) {
        self.push.close(VarInt::from_u32(0), b"shutdown");
        // Sessions have taken leave by now; what is left is the wait for lost packets.
        let _ = tokio::time::timeout(PUSH_CLOSES_WITHIN, self.push.wait_idle()).await;
    }

    /// Waits until it ended by itself, which is always a failure, and tells why.
    pub async fn failed(&mut self) -> anyhow::Error {
        // The root supervisor's task ends; how is in its children's status.
        let _ = (&mut self.ended).await;
        if let Some(fatal) = self.control.consensus().failed().borrow().clone() {
            return anyhow::Error::new(fatal).context("the replicated store failed");
        }
        let status = self.supervisor.status();
        let reasons: Vec<String> = status
            .borrow()
            .iter()
            .filter_map(|child| Some(format!("{}: {}", child.name, child.last_error.as_ref()?)))
            .collect();
        anyhow::anyhow!("an actor failed too often: {}", reasons.join("; "))
    }

    /// The root supervisor, so that tests can look at actors and end them.
    #[must_use]
    pub fn supervisor(&self) -> &SupervisorHandle {
        &self.supervisor
    }
}

/// Runs a control process until SIGTERM or SIGINT, or until it fails. `ready` is called once, when
/// the node is a member and serves.
///
/// # Errors
/// Why it did not start, or what failed.
pub async fn run(
    settings: Settings,
    start: Start,
    api: ServeApi,
    ready: impl AsyncFnOnce(&Running) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    let mut running = tokio::select! {
        started = self::start(settings, start, api) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if let Err(error) = ready(&running).await {
        running.shutdown().await;
        return Err(error);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        failure = running.failed() => {
            running.control.consensus().shutdown().await;
            return Err(failure);
        }
    }
    tracing::info!("shutting down");
    running.shutdown().await;
    Ok(())
}

/// Starts a control process and returns when it is a member and serves.
///
/// # Errors
/// Why it did not start; nothing is left running.
pub async fn start(settings: Settings, start: Start, api: ServeApi) -> anyhow::Result<Running> {
    Box::pin(begin(settings, start, api)).await
}

async fn begin(settings: Settings, start: Start, api: ServeApi) -> anyhow::Result<Running> {
    describe_metrics();
    let data_dir = DataDir::open(&settings.data_dir)?;
    durable::private_directory(&settings.run_dir)?;
    let ports = Ports::bind(&settings)?;
    let (identity, became, tls) =
        Box::pin(become_member(&settings, &start, &data_dir, &ports)).await?;
    settings.save()?;
    let live = LiveIdentity::new(&identity)?;
    let push = crate::publisher::endpoint::server(&live, &identity, ports.push)?;
    let consensus = Consensus::start(options(&settings, &identity, &live)?).await?;
    let started = async {
        let control = assemble(&settings, identity, live, &consensus, became).await?;
        let invitation = invitation(&settings, tls)?;
        let listener = ports.api;
        let materials =
            Materials { control: control.clone(), api, listener, push: push.clone(), invitation };
        let (supervisor, ended) = SupervisorHandle::start(tree::children(materials)).await?;
        control.show_children(supervisor.status());
        anyhow::Ok((control, supervisor, ended))
    };
    match Box::pin(started).await {
        Ok((control, supervisor, ended)) => {
            let admin_token = genesis::admin_token(&settings.identity_dir());
            Ok(Running {
                control,
                became,
                admin_token,
                supervisor,
                ended,
                push,
                _data_dir: data_dir,
            })
        }
        Err(error) => {
            consensus.shutdown().await;
            Err(error)
        }
    }
}

async fn assemble(
    settings: &Settings,
    identity: NodeIdentity,
    live: LiveIdentity,
    consensus: &Consensus,
    became: Became,
) -> anyhow::Result<Control> {
    let identity_dir = settings.identity_dir();
    genesis::finish(consensus, settings.addresses(), &identity_dir).await?;
    if became == Became::Joined {
        catch_up(consensus, NodeId(identity.node().0)).await?;
    }
    let certificates = Certificates::new(
        consensus.clone(),
        ClusterKey::load(&identity_dir)?,
        live,
        identity,
        identity_dir,
        dataplane_identity(settings),
    );
    Ok(Control::new(settings.clone(), consensus.clone(), certificates)?)
}

/// The identity of this node: the one it has, a founder's, or a joiner's.
async fn become_member(
    settings: &Settings,
    start: &Start,
    data_dir: &DataDir,
    ports: &Ports,
) -> anyhow::Result<(NodeIdentity, Became, Option<secret::FounderTls>)> {
    let identity_dir = settings.identity_dir();
    let tls = match start {
        Start::Expect { secret_file, .. } => Some(secret::load(secret_file)?),
        _ => None,
    };
    if let Some(identity) = NodeIdentity::load(&identity_dir)? {
        check_line(settings, start, &identity)?;
        ensure!(
            identity.role() == Role::Control,
            "{} is the identity of a data plane",
            identity_dir.display()
        );
        joiner::forget(&identity_dir);
        listener::forget(&identity_dir);
        return Ok((identity, Became::Restarted, tls));
    }
    data_dir.check_unused()?;
    let join = async |line: &JoinLine| {
        let places = joiner::Places {
            identity: identity_dir.clone(),
            dataplane: dataplane_identity(settings),
        };
        joiner::join(line, settings.addresses(), &places).await.context("this host did not join")
    };
    match (start, &tls) {
        (Start::Join { line }, _) => Ok((join(line).await?, Became::Joined, tls)),
        (Start::Expect { expect, peers, .. }, Some(founder_tls)) => {
            let own = settings.addresses().api;
            let declared = formation::declare(*expect, peers, own).await?;
            if declared.founder() == own {
                let genesis = founder::begin(&identity_dir, &declared)?;
                founder::gather_promises(&genesis, own, founder_tls.client.clone()).await?;
                let identity = found(settings, genesis.cluster)?;
                return Ok((identity, Became::Formed, tls));
            }
            let api = TcpListener::from_std(ports.api.try_clone()?)?;
            let server = founder_tls.server.clone();
            let line = listener::wait_for_invitation(&api, server, declared, &identity_dir).await?;
            let identity = join(&line).await?;
            listener::forget(&identity_dir);
            Ok((identity, Became::Joined, tls))
        }
        _ => {
            ensure!(
                !identity_dir.join("joining.json").exists(),
                "{} holds an unfinished join: run the same `marchproxy join` again, or remove \
                 that directory to form a new cluster",
                identity_dir.display()
            );
            Ok((found(settings, ClusterId::random())?, Became::Formed, tls))
        }
    }
}

fn found(settings: &Settings, cluster: ClusterId) -> anyhow::Result<NodeIdentity> {
    genesis::found(cluster, &settings.identity_dir(), &dataplane_identity(settings))
}

fn dataplane_identity(settings: &Settings) -> PathBuf {
    settings.dataplane_dir().join("identity")
}

/// A member that is given a join line of another cluster is in the wrong directory.
fn check_line(settings: &Settings, start: &Start, identity: &NodeIdentity) -> anyhow::Result<()> {
    if let Start::Join { line } = start
        && (line.pin != identity.pin() || line.cluster != *identity.cluster())
    {
        bail!(
            "{} belongs to node {} of cluster {}, the join line to cluster {}: give another \
             --data-dir",
            settings.data_dir.display(),
            identity.node(),
            identity.cluster(),
            line.cluster
        );
    }
    Ok(())
}

fn options(
    settings: &Settings,
    identity: &NodeIdentity,
    live: &LiveIdentity,
) -> anyhow::Result<Options> {
    let tls = RaftTls {
        server: live.server_mtls(&[Role::Control])?,
        client: live.client_mtls(Role::Control)?,
        server_name: identity.cluster().server_name(Role::Control),
        peer_check: Arc::new(|chain| {
            let peer = peer_identity(chain).map_err(|error| error.to_string())?;
            match peer.role {
                Role::Control => Ok(NodeId(peer.node.0)),
                Role::DataPlane => Err(format!("{peer} has no business with Raft")),
            }
        }),
    };
    let mut options = Options::new(
        NodeId(identity.node().0),
        identity.cluster().as_str(),
        &settings.data_dir,
        settings.addresses().raft,
        tls,
    );
    options.profile = if settings.wan { Profile::Wan } else { Profile::Lan };
    Ok(options)
}

/// Waits until the cluster's state has arrived on a node that was just let in.
async fn catch_up(consensus: &Consensus, node: NodeId) -> anyhow::Result<()> {
    let arrived = async {
        loop {
            let member = consensus.status().borrow().members.contains_key(&node);
            let view = consensus.read(Consistency::Stale).await?;
            if member && view.get(AUTHORITY).is_some() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(CATCH_UP_WITHIN, arrived).await.with_context(|| {
        format!(
            "this host was let in as node {node}, but no member's data arrived within \
             {CATCH_UP_WITHIN:?}: see that the members reach its Raft port, then run `marchproxy up`"
        )
    })?
}

fn invitation(
    settings: &Settings,
    tls: Option<secret::FounderTls>,
) -> anyhow::Result<Option<Invitation>> {
    let unfinished = founder::unfinished(&settings.identity_dir())?;
    match (unfinished, tls) {
        (Some(genesis), Some(tls)) => Ok(Some(Invitation { genesis, tls: tls.client })),
        (Some(_), None) => {
            tracing::warn!(
                "not all founders have joined: run the same `up --expect` again to invite them, \
                 or join them by lines"
            );
            Ok(None)
        }
        (None, _) => Ok(None),
    }
}

fn describe_metrics() {
    super::configuration::describe();
    crate::publisher::describe();
    crate::probes::describe();
    crate::membership::describe();
}
