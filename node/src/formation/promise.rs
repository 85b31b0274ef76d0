//! What founders agree on, and when a peer promises. Pure, but for the file of the promise.

use std::{collections::BTreeSet, fs, io, net::SocketAddr, path::Path};

use anyhow::Context;
use runtime::{durable, identity::ClusterId};
use serde::{Deserialize, Serialize};

/// What a host was told on its command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Declared {
    /// How many founders it takes.
    pub(crate) expect: usize,
    /// The APIs of all declared peers, this host included.
    pub(crate) peers: BTreeSet<SocketAddr>,
}

impl Declared {
    /// The one that forms: the lowest address.
    pub(crate) fn founder(&self) -> SocketAddr {
        *self.peers.first().expect("a host declares itself at least")
    }
}

/// A cluster to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Genesis {
    /// Its id.
    pub(crate) cluster: ClusterId,
    /// What its founder was told.
    pub(crate) declared: Declared,
}

/// Why a peer does not promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The command lines differ.
    #[error("this host was told --expect {} and peers {}, the founder --expect {} and peers {}: \
             run the same command on every host",
            .own.expect, list(&.own.peers), .asked.expect, list(&.asked.peers))]
    Disagree { own: Declared, asked: Declared },
    /// It promised another cluster.
    #[error(
        "this host has promised to be in cluster {kept}, not in {asked}: if the first one was \
             never formed, remove its data directory"
    )]
    Promised { kept: ClusterId, asked: ClusterId },
}

fn list(peers: &BTreeSet<SocketAddr>) -> String {
    peers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

/// Decides whether a host that was told `own` and has promised `kept` promises `asked`.
pub(crate) fn promise(
    own: &Declared,
    kept: Option<&ClusterId>,
    asked: &Genesis,
) -> Result<(), Refusal> {
    if *own != asked.declared {
        return Err(Refusal::Disagree { own: own.clone(), asked: asked.declared.clone() });
    }
    match kept {
        Some(kept) if *kept != asked.cluster => {
            Err(Refusal::Promised { kept: kept.clone(), asked: asked.cluster.clone() })
        }
        _ => Ok(()),
    }
}

/// Reads a JSON file; `None` where there is none.
pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| {
            format!(
                "{} is damaged: restore it, or begin anew with an empty --data-dir",
                path.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Keeps a JSON file, durable when it returns.
pub(super) fn keep(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        durable::private_directory(directory)?;
    }
    Ok(durable::replace(path, &serde_json::to_vec(value)?, 0o600)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(expect: usize, peers: &[&str]) -> Declared {
        Declared { expect, peers: peers.iter().map(|peer| peer.parse().unwrap()).collect() }
    }

    #[test]
    fn a_promise_is_given_to_one_cluster_and_to_the_same_command_only() {
        let (a, b) = ("10.0.0.1:7800", "10.0.0.2:7800");
        let own = declared(2, &[a, b]);
        let (one, other) = (ClusterId::random(), ClusterId::random());
        let genesis = |cluster: &ClusterId, declared: Declared| Genesis {
            cluster: cluster.clone(),
            declared,
        };
        let asked = genesis(&one, declared(2, &[b, a]));
        assert_eq!(promise(&own, None, &asked), Ok(()));
        assert_eq!(promise(&own, Some(&one), &asked), Ok(()));
        let refused = promise(&own, Some(&other), &asked);
        assert!(matches!(refused, Err(Refusal::Promised { .. })));
        for different in
            [declared(1, &[a, b]), declared(2, &[a]), declared(2, &[a, b, "10.0.0.3:1"])]
        {
            let refused = promise(&own, None, &genesis(&one, different));
            assert!(matches!(refused, Err(Refusal::Disagree { .. })));
        }
    }
}
