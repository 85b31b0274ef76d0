//! The client's side of the exchange of ledgers: one connection to every other control node.
//!
//! The set of connections follows the membership. A peer that is out of reach takes the data planes
//! behind it out of the ledger; it is dialled again until it leaves the cluster. A peer that says
//! that this node was removed is believed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use consensus::Consensus;
use model::cluster::NodeId;
use quinn::{RecvStream, SendStream};
use runtime::{
    push::{FrameReader, FrameWriter, FromPlane, ToPlane, client_endpoint, connect},
    tls::LiveIdentity,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    ledger::Ledger,
    membership::removal::Removed,
    quotas::{self, Quotas},
    rollout::Traffic,
    shares::Shares,
};

/// Between two attempts to reach a peer: short beside the time that an operator waits for an ack.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What peers are listened to for. Clones share it.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) ledger: Ledger,
    pub(crate) shares: Shares,
    pub(crate) traffic: Traffic,
    pub(crate) quotas: Quotas,
    pub(crate) removed: Removed,
}

/// Keeps a connection to every other member until it is dropped.
pub(crate) async fn run(
    consensus: Consensus,
    identity: LiveIdentity,
    told: Told,
) -> anyhow::Result<()> {
    let mut status = consensus.status();
    let mut links: BTreeMap<NodeId, (SocketAddr, AbortOnDropHandle<()>)> = BTreeMap::new();
    loop {
        let wanted: BTreeMap<NodeId, SocketAddr> = {
            let status = status.borrow_and_update();
            let others = status.members.iter().filter(|(node, _)| Some(**node) != status.node);
            others.map(|(node, member)| (*node, member.addresses.push)).collect()
        };
        links.retain(|node, (address, _)| wanted.get(node) == Some(address));
        for (node, address) in wanted {
            links.entry(node).or_insert_with(|| {
                let link = keep(node, address, identity.clone(), told.clone());
                (address, AbortOnDropHandle::new(tokio::spawn(link)))
            });
        }
        status.changed().await?;
    }
}

async fn keep(node: NodeId, address: SocketAddr, identity: LiveIdentity, told: Told) {
    loop {
        if let Err(error) = follow(node, address, &identity, &told).await {
            tracing::debug!(%node, %address, %error, "the peer's ledger is out of reach");
        }
        told.ledger.peer_lost(node);
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn follow(
    node: NodeId,
    address: SocketAddr,
    identity: &LiveIdentity,
    told: &Told,
) -> anyhow::Result<()> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let endpoint = client_endpoint(identity, SocketAddr::new(any, 0))?;
    let identity = identity.identity();
    let connection = connect(&endpoint, identity.cluster(), address).await?;
    let (send, receive) = connection.open_bi().await?;
    let mut writer = FrameWriter::<_, FromPlane>::new(send);
    let mut reader = FrameReader::<_, ToPlane>::new(receive);
    writer.write(&FromPlane::PeerHello { node: identity.node() }).await?;
    told.ledger.peer_reached(node);
    // In a task of its own, so that nothing that is long to read is in its way.
    let asking = quotas::keep(connection, told.quotas.clone(), node);
    let _asking = AbortOnDropHandle::new(tokio::spawn(asking));
    hear(node, identity.node(), &mut reader, &mut writer, told).await
}

/// Takes in what the peer says, until it says no more.
async fn hear(
    node: NodeId,
    own: runtime::identity::NodeId,
    reader: &mut FrameReader<RecvStream, ToPlane>,
    writer: &mut FrameWriter<SendStream, FromPlane>,
    told: &Told,
) -> anyhow::Result<()> {
    while let Some(message) = reader.read().await? {
        match message {
            ToPlane::Ledger { reports } => told.ledger.peer(node, reports),
            // A node speaks for itself alone, and lends to the one that it speaks to.
            ToPlane::Uses { node: said, uses } if said == node => told.shares.used(node, uses),
            ToPlane::Shares(grant) => told.shares.lend(grant),
            ToPlane::Traffic { node, traffic } => told.traffic.counted(node, traffic, false),
            ToPlane::Ping => writer.write(&FromPlane::Pong).await?,
            ToPlane::Welcome { .. } => {}
            // A member says so of this node only, and has applied it.
            ToPlane::Removed { node } if node == own => {
                told.removed.note(NodeId(node.0));
            }
            ToPlane::Goodbye { reason } => anyhow::bail!(reason),
            other => anyhow::bail!("a control node sent {other:?} to a control node"),
        }
    }
    Ok(())
}
