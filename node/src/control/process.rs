//! Starting and ending a control process.
//!
//! The order of a start: take the data directory, look at what is in it, take the run directory
//! and the ports, become a member (restart, form or join), open the store, finish what forming
//! began, start the tree. What fails on the way leaves nothing running, and nothing on disk that
//! keeps the same command from being run again.

use std::{sync::Arc, time::Duration};

use consensus::{Consensus, StartError};
use futures::future::BoxFuture;
use quinn::{Endpoint, VarInt};
use runtime::{supervision::SupervisorHandle, tls::LiveIdentity};
use tokio::{net::TcpListener, signal::unix, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    Control,
    data_dir::DataDir,
    dataplane,
    entry::{Became, Entry, Start, enter, inspect, stranger},
    ports::Ports,
    raft,
    run_dir::RunDir,
    tree::{self, Invitation, Materials},
};
use crate::{
    certificates::{Certificates, Places},
    formation::{founder, genesis, secret},
    membership::removal::Removed,
    settings::Settings,
};

/// Time for the last packets of push sessions: three round trips between regions.
const PUSH_CLOSES_WITHIN: Duration = Duration::from_secs(1);
/// Serves the API on a listener until the token is cancelled; an error makes the supervisor start
/// it again with a clone of the same listener. TLS is in [`Control::api_tls`].
pub type ServeApi = Arc<
    dyn Fn(Control, TcpListener, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>>
        + Send
        + Sync,
>;

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
    _run_dir: RunDir,
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
        if self.removed() {
            return anyhow::Error::new(self.control.removal());
        }
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

    /// Whether this node was taken out of its cluster.
    fn removed(&self) -> bool {
        self.control.removed().contains(self.control.node().0)
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
            if running.removed() {
                // Out for good, and the data plane with it: its identity is worth nothing any more.
                running.shutdown().await;
                return Err(failure);
            }
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
    inspect(&settings)?;
    let run_dir = RunDir::open(&settings.run_dir, &settings.data_dir)?;
    let ports = Ports::bind(&settings)?;
    let mut entry = Box::pin(enter(&settings, &start, &data_dir, &ports)).await?;
    let settings = settings.of(entry.identity.peer());
    if entry.became != Became::Restarted {
        settings.save()?;
    }
    let live = LiveIdentity::new(&entry.identity)?;
    let push = crate::publisher::endpoint::server(&live, &entry.identity, ports.push)?;
    let removed = Removed::default();
    let options = raft::options(&settings, &entry.identity, &live, removed.clone())?;
    let consensus = match Consensus::start(options).await {
        Ok(consensus) => consensus,
        Err(error @ StartError::ForeignDirectory { .. }) => {
            return Err(anyhow::Error::new(error).context(stranger(&settings, &entry.identity)));
        }
        Err(error) => return Err(error.into()),
    };
    let admin_token = entry.admin_token.take();
    let became = entry.became;
    let started = async {
        // Only a start that works keeps the flags it was given.
        settings.save()?;
        let tls = entry.founders.take();
        let control = assemble(&settings, entry, live, &consensus, removed).await?;
        let invitation = invitation(&settings, tls)?;
        let listener = ports.api;
        let materials =
            Materials { control: control.clone(), api, listener, push: push.clone(), invitation };
        let (supervisor, ended) = SupervisorHandle::start(tree::children(materials)).await?;
        control.show_children(supervisor.status());
        anyhow::Ok((control, supervisor, ended))
    };
    match Box::pin(started).await {
        Ok((control, supervisor, ended)) => Ok(Running {
            control,
            became,
            admin_token,
            supervisor,
            ended,
            push,
            _data_dir: data_dir,
            _run_dir: run_dir,
        }),
        Err(error) => {
            consensus.shutdown().await;
            Err(error)
        }
    }
}

async fn assemble(
    settings: &Settings,
    entry: Entry,
    live: LiveIdentity,
    consensus: &Consensus,
    removed: Removed,
) -> anyhow::Result<Control> {
    let node = entry.node();
    genesis::finish(consensus, settings.addresses(), &settings.identity_dir()).await?;
    if entry.became == Became::Joined {
        raft::catch_up(consensus, node).await?;
    }
    let places =
        Places { identity: settings.identity_dir(), dataplane: settings.dataplane_identity_dir() };
    let lifetime = settings.certificate_lifetime;
    let certificates = Certificates::new(consensus.clone(), entry.key, live, places, lifetime);
    Ok(Control::new(settings.clone(), consensus.clone(), certificates, removed)?)
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
    crate::ledger::delay::describe();
    crate::probes::describe();
    crate::announce::describe();
    crate::shares::describe();
    crate::quotas::describe();
    crate::rollout::describe();
    crate::issuing::describe();
    crate::membership::describe();
}
