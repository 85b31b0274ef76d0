//! The founder's side: promises first, then the cluster, then an invitation to each peer.

use std::{
    collections::BTreeSet, net::SocketAddr, path::Path, path::PathBuf, sync::Arc, time::Duration,
};

use consensus::Consensus;
use runtime::identity::ClusterId;
use rustls::ClientConfig;

use super::{
    listener::{Answer, Ask, PATH},
    promise::{Declared, Genesis, keep, read},
    secret::server_name,
};
use crate::joining::{
    admission::Admissions,
    http::{CallError, Peer, post},
};

const FILE: &str = "genesis.json";
/// Between two rounds over the peers.
const ROUND_EVERY: Duration = Duration::from_millis(500);
/// Rounds between two lines in the log about who is missing.
const REMIND_ROUNDS: u32 = 20;
/// Time for an invited peer to show up as a member before it is invited again.
const JOIN_WITHIN: Duration = Duration::from_secs(20);

/// The genesis that this host began, from its file or new; durable when it returns.
pub(crate) fn begin(identity_dir: &Path, declared: &Declared) -> anyhow::Result<Genesis> {
    let path = file(identity_dir);
    let kept: Option<Genesis> = read(&path)?;
    if let Some(kept) = kept {
        anyhow::ensure!(
            kept.declared == *declared,
            "this host began to form a cluster with other peers: give the same --expect and \
             --peers, or remove {} if no peer has promised",
            path.display()
        );
        return Ok(kept);
    }
    let genesis = Genesis { cluster: ClusterId::random(), declared: declared.clone() };
    keep(&path, &genesis)?;
    Ok(genesis)
}

/// The genesis whose peers are still to be invited, if this host founded one.
pub(crate) fn unfinished(identity_dir: &Path) -> anyhow::Result<Option<Genesis>> {
    read(&file(identity_dir))
}

fn file(identity_dir: &Path) -> PathBuf {
    identity_dir.join(FILE)
}

/// Waits until enough peers have promised.
pub(crate) async fn gather_promises(
    genesis: &Genesis,
    own: SocketAddr,
    tls: Arc<ClientConfig>,
) -> anyhow::Result<()> {
    let others: Vec<SocketAddr> =
        genesis.declared.peers.iter().copied().filter(|peer| *peer != own).collect();
    let mut promised: BTreeSet<SocketAddr> = BTreeSet::from([own]);
    for round in 0_u32.. {
        let mut foreign = None;
        let mut missing = Vec::new();
        for address in &others {
            let peer = Peer { address: *address, tls: tls.clone(), name: server_name() };
            match post::<Answer>(&peer, PATH, None, &Ask::Promise(genesis.clone())).await {
                Ok(Answer::Promised) => {
                    promised.insert(*address);
                }
                Ok(other) => anyhow::bail!("{address} answered {other:?} to a request to promise"),
                Err(error @ CallError::Tls { .. }) => {
                    promised.remove(address);
                    foreign = Some(format!("{address}: {error}"));
                }
                Err(error) => {
                    promised.remove(address);
                    missing.push(format!("{address}: {error}"));
                }
            }
        }
        // One that may be in a cluster already keeps this host from forming a second one.
        if foreign.is_none() && promised.len() >= genesis.declared.expect {
            return Ok(());
        }
        if round % REMIND_ROUNDS == 0 {
            if let Some(foreign) = foreign {
                tracing::warn!(
                    peer = foreign,
                    "a peer has another cluster secret or is in a cluster already; to be its \
                     member, join by a line of `marchproxy token join`"
                );
            }
            tracing::info!(
                promised = promised.len(),
                expected = genesis.declared.expect,
                missing = missing.join("; "),
                "waiting for the peers to form the cluster"
            );
        }
        tokio::time::sleep(ROUND_EVERY).await;
    }
    unreachable!("the rounds end with a return")
}

/// Invites every declared peer until all are members.
pub(crate) async fn invite(
    genesis: Genesis,
    tls: Arc<ClientConfig>,
    consensus: Consensus,
    admissions: Admissions,
    identity_dir: PathBuf,
) -> anyhow::Result<()> {
    loop {
        let status = consensus.status();
        let members: BTreeSet<SocketAddr> =
            status.borrow().members.values().map(|member| member.addresses.api).collect();
        let missing: Vec<SocketAddr> =
            genesis.declared.peers.difference(&members).copied().collect();
        if missing.is_empty() && !members.is_empty() {
            std::fs::remove_file(file(&identity_dir))?;
            tracing::info!("all founders are members");
            return Ok(());
        }
        for address in missing {
            let line = admissions.create_line("formation", None).await?;
            let peer = Peer { address, tls: tls.clone(), name: server_name() };
            match post::<Answer>(&peer, PATH, None, &Ask::Invite(line.to_string())).await {
                Ok(_) => {
                    let mut status = consensus.status();
                    let joined = status.wait_for(|status| {
                        status.members.values().any(|member| member.addresses.api == address)
                    });
                    // One that does not join in time is invited again.
                    let _ = tokio::time::timeout(JOIN_WITHIN, joined).await;
                }
                Err(error) => tracing::info!(%address, %error, "a founder cannot be invited yet"),
            }
        }
        tokio::time::sleep(ROUND_EVERY).await;
    }
}
