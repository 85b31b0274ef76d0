//! How a host comes to be a member: it is one already, it forms a cluster, or it joins one.
//!
//! On a restart every file that makes the node who it is, is looked at before anything is started
//! or written: one that is damaged, or another node's, is named.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use model::cluster::NodeId;
use runtime::identity::{ClusterId, NodeIdentity, PeerIdentity, Role};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::{data_dir::DataDir, ports::Ports};
use crate::{
    certificates::ClusterKey,
    formation::{self, founder, genesis, listener, secret},
    joining::{JoinLine, joiner},
    settings::Settings,
};

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

/// What a member is and has.
pub(super) struct Entry {
    pub(super) identity: NodeIdentity,
    pub(super) key: ClusterKey,
    /// On the node that made the cluster.
    pub(super) admin_token: Option<Zeroizing<String>>,
    pub(super) became: Became,
    /// The TLS among founders, where this host was told to be one.
    pub(super) founders: Option<secret::FounderTls>,
}

impl Entry {
    pub(super) fn node(&self) -> NodeId {
        NodeId(self.identity.node().0)
    }
}

/// What is wrong when all else in the data directory is another node's.
pub(super) fn stranger(settings: &Settings, identity: &NodeIdentity) -> String {
    format!(
        "{} is of {}, but what lies beside it is another node's: restore the right file, or remove \
         that node from the cluster and join again with an empty --data-dir",
        NodeIdentity::file(&settings.identity_dir()).display(),
        identity.peer()
    )
}

/// Looks at every file that makes the host a member, if it is one.
pub(super) fn inspect(settings: &Settings) -> anyhow::Result<()> {
    let identity_dir = settings.identity_dir();
    let Some(identity) = NodeIdentity::load(&identity_dir)? else { return Ok(()) };
    match (settings.check_owner(identity.peer()), check_dataplane(settings, &identity)) {
        (Ok(()), checked) => checked?,
        (Err(foreign), Ok(())) => return Err(foreign.into()),
        (Err(_), Err(_)) => bail!(stranger(settings, &identity)),
    }
    ClusterKey::load(&identity_dir, identity.cluster())?;
    genesis::admin_token(&identity_dir, identity.cluster())?;
    Ok(())
}

/// Makes this host a member, or finds that it is one.
pub(super) async fn enter(
    settings: &Settings,
    start: &Start,
    data_dir: &DataDir,
    ports: &Ports,
) -> anyhow::Result<Entry> {
    let (identity, became, founders) =
        Box::pin(become_member(settings, start, data_dir, ports)).await?;
    let identity_dir = settings.identity_dir();
    let key = ClusterKey::load(&identity_dir, identity.cluster())?;
    let admin_token = genesis::admin_token(&identity_dir, identity.cluster())?;
    Ok(Entry { identity, key, admin_token, became, founders })
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
            "{} is the identity of a data plane: restore the node's own",
            NodeIdentity::file(&identity_dir).display()
        );
        joiner::forget(&identity_dir);
        listener::forget(&identity_dir);
        return Ok((identity, Became::Restarted, tls));
    }
    data_dir.check_unused()?;
    let join = async |line: &JoinLine| {
        let places = joiner::Places {
            identity: identity_dir.clone(),
            dataplane: settings.dataplane_identity_dir(),
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
    let lifetime = settings.certificate_lifetime;
    genesis::found(cluster, &settings.identity_dir(), &settings.dataplane_identity_dir(), lifetime)
}

/// Refuses a data plane's identity that is not that of this node's data plane.
fn check_dataplane(settings: &Settings, own: &NodeIdentity) -> anyhow::Result<()> {
    let directory = settings.dataplane_identity_dir();
    let file = NodeIdentity::file(&directory);
    let remedy = "restore it, or remove this node from the cluster and join again with an empty \
                  --data-dir";
    let Some(dataplane) = NodeIdentity::load(&directory)? else {
        bail!("{} is missing: {remedy}", file.display());
    };
    let expected = PeerIdentity { role: Role::DataPlane, ..own.peer().clone() };
    ensure!(
        *dataplane.peer() == expected && dataplane.pin() == own.pin(),
        "{} is of {}, this node's data plane is {expected}: {remedy}",
        file.display(),
        dataplane.peer()
    );
    Ok(())
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
