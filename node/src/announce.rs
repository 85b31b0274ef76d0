//! Which node announces which address: decided by the leader, kept in the replicated store, and held
//! by each node for a lease.
//!
//! ```text
//! data planes ─▶ ledger ─▶ leader: owners (pure) ─▶ store ─▶ each node: lease ─▶ its data plane
//! ```
//! **One owner.** The owners are one value of the store. A node has an address while it has read
//! that value within [`lease::LEASE`], with the leader's confirmation that it is the newest; so a
//! node in a minority, or one whose control process hangs, loses its addresses when the lease ends.
//! The leader does not wait for that end: until then two nodes may answer, both of which forward.
//!
//! **Who is fit** is what data planes say of themselves, in the ledger. What is decided is a value
//! of the store, since all must agree on it; what is fit is not.

mod lease;
mod owners;

use std::time::Duration;

use consensus::{Compare, Consensus, Consistency, Op, ProposeError, RaftState, Transaction, View};
use model::announce::{self, Owners};
use tokio::time::Instant;

pub(crate) use lease::{Lease, hold};

use self::owners::Judge;
use crate::{
    control::{configuration::Configuration, store::OWNERS},
    ledger::Ledger,
};

/// How often the leader looks when nothing was told, for waits that end.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time after its start in which a process decides nothing: it must hear of the others first.
const SETTLE: Duration = Duration::from_secs(3);

/// Decides, while this node leads, which node announces which address; until it is dropped.
pub(crate) async fn decide(
    consensus: Consensus,
    configuration: Configuration,
    ledger: Ledger,
) -> anyhow::Result<()> {
    tokio::time::sleep(SETTLE).await;
    let mut judge = Judge::default();
    let mut table = ledger.subscribe();
    loop {
        table.borrow_and_update();
        let leads = consensus.status().borrow().state == RaftState::Leader;
        if leads {
            look(&consensus, &configuration, &ledger, &mut judge).await;
        } else {
            // Who leads next judges by what it has seen itself.
            judge = Judge::default();
        }
        tokio::select! {
            changed = table.changed() => changed?,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn look(
    consensus: &Consensus,
    configuration: &Configuration,
    ledger: &Ledger,
    judge: &mut Judge,
) {
    // Stale is good enough: what is written demands that the value is still the one seen.
    let Ok(view) = consensus.read(Consistency::Stale).await else { return };
    let Ok(config) = configuration.read(Consistency::Stale).await else { return };
    let wanted = announce::wanted(&config);
    let present = owners_in(&view);
    if wanted.is_empty() && present.is_empty() {
        return;
    }
    let next = judge.assign(&wanted, &present, &ledger.reports(), Instant::now());
    if next == present {
        return;
    }
    let compare = Compare::KeyRevision {
        key: OWNERS.to_owned(),
        revision: view.get(OWNERS).map(|stored| stored.mod_revision),
    };
    let value = serde_json::to_vec(&next).expect("addresses are text");
    let put = Op::Put { key: OWNERS.to_owned(), value: value.into() };
    let mut transaction = Transaction::new("the leader", "announce addresses", vec![put]);
    transaction.compare = vec![compare];
    match consensus.propose(transaction).await {
        Ok(_) => {
            for (address, node) in &next {
                let before = present.get(address);
                if before != Some(node) {
                    tracing::info!(%address, %node, ?before, "an address falls to a node");
                    metrics::counter!("marchproxy_announce_moves_total").increment(1);
                }
            }
            for address in present.keys().filter(|address| !next.contains_key(address)) {
                tracing::warn!(%address, "no node announces an address any more");
            }
        }
        // Another look is 250 ms away.
        Err(ProposeError::Conflict { .. }) => {}
        Err(error) => tracing::debug!(%error, "the owners of addresses are not written yet"),
    }
}

/// Reads the owners out of the store; what this version does not understand is nobody's.
fn owners_in(view: &View) -> Owners {
    let stored = view.get(OWNERS);
    stored.and_then(|stored| serde_json::from_slice(&stored.value).ok()).unwrap_or_default()
}

/// The metrics that are written here, with their meaning.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "marchproxy_announce_moves_total",
        metrics::Unit::Count,
        "Addresses that this node, as the leader, gave to another node to announce"
    );
    metrics::describe_gauge!(
        "marchproxy_announce_granted_addresses",
        metrics::Unit::Count,
        "Addresses that are this node's to announce, by its lease"
    );
}
