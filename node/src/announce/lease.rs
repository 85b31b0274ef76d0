//! A node's hold on its addresses: renewed by reading the owners with the leader's confirmation.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use consensus::{Consensus, Consistency};
use model::{announce, cluster::NodeId};
use runtime::push::Grant;
use tokio::{sync::watch, time::Instant};

use super::owners_in;
use crate::control::configuration::Configuration;

/// How long a node has its addresses without another confirmation: an election, or the restart of a
/// control process, takes less.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// Between two confirmations: what a move waits for at most, on the node that it leads to.
const RENEW_EVERY: Duration = Duration::from_millis(500);
/// How long a confirmation may take: beyond, the next one has a better chance.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);

/// The addresses that are this node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    addresses: BTreeSet<IpAddr>,
    until: Instant,
}

impl Lease {
    /// Returns what the data plane is told, as of now.
    pub(crate) fn grant(&self) -> Grant {
        let left = self.until.saturating_duration_since(Instant::now());
        // At most LEASE.
        Grant {
            addresses: self.addresses.iter().copied().collect(),
            lease_ms: left.as_millis() as u64,
        }
    }
}

/// Renews the lease again and again while there is something to announce, until it is dropped.
pub(crate) async fn hold(
    consensus: Consensus,
    configuration: Configuration,
    node: NodeId,
    lease: watch::Sender<Option<Lease>>,
) -> anyhow::Result<()> {
    loop {
        let wanted = match configuration.read(Consistency::Stale).await {
            Ok(config) => announce::wanted(&config),
            Err(_) => BTreeSet::new(),
        };
        let holds = lease.borrow().as_ref().is_some_and(|lease| !lease.addresses.is_empty());
        if !wanted.is_empty() || holds {
            // The confirmation is as old as the question.
            let asked = Instant::now();
            let read = consensus.read(Consistency::Linearizable);
            if let Ok(Ok(view)) = tokio::time::timeout(CONFIRM_WITHIN, read).await {
                let owned = owners_in(&view).into_iter().filter(|(_, owner)| *owner == node);
                let addresses: BTreeSet<IpAddr> =
                    owned.map(|(address, _)| address).filter(|it| wanted.contains(it)).collect();
                metrics::gauge!("marchproxy_announce_granted_addresses")
                    .set(addresses.len() as f64);
                lease.send_replace(Some(Lease { addresses, until: asked + LEASE }));
            }
        }
        tokio::time::sleep(RENEW_EVERY).await;
    }
}
