//! Forming a cluster: alone, or together with declared peers.
//!
//! Alone ([`genesis`]): the first node makes the CA, the cluster id, itself as node 1 and the
//! administrator's token.
//!
//! Together (`up --expect N --peers …`): every founder runs the same command with the same shared
//! secret. The peer with the lowest address is the founder; the others listen. The founder asks all
//! for a promise ([`promise`]) and forms a cluster of one only when N of them, itself included, have
//! durably promised *this* cluster id; then it invites each with a join line of its own, and keeps
//! inviting until all declared peers are members, also after a restart.
//!
//! **Never two clusters.** Only the lowest address forms, and only once (its cluster id is durable
//! before the first promise); a peer promises one cluster id for ever; a peer that already belongs
//! to a cluster does not answer with the shared secret's TLS, and its sight keeps the founder from
//! forming. There is no time-out after which anything is formed.

pub(crate) mod founder;
pub(crate) mod genesis;
pub(crate) mod listener;
pub(crate) mod promise;
pub(crate) mod secret;

use std::{collections::BTreeSet, net::SocketAddr};

use tokio::net::lookup_host;

pub(crate) use promise::Declared;

/// Founders of a cluster; more join by lines.
const FOUNDERS_MAX: usize = 7;

/// Why the declared peers are no founders.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeclareError {
    /// A name does not resolve.
    #[error("cannot resolve the peer {peer:?}")]
    Resolve {
        peer: String,
        #[source]
        source: std::io::Error,
    },
    /// The numbers do not fit.
    #[error(
        "--expect {expect} with {peers} peers (this host included): expect more than half of the \
         peers, at most all, and at most {FOUNDERS_MAX}"
    )]
    Expect { expect: usize, peers: usize },
}

/// Resolves the declared peers and adds this host.
pub(crate) async fn declare(
    expect: usize,
    peers: &[String],
    own: SocketAddr,
) -> Result<Declared, DeclareError> {
    let mut found = BTreeSet::from([own]);
    for peer in peers {
        let failed = |source| DeclareError::Resolve { peer: peer.clone(), source };
        if let Ok(address) = peer.parse::<SocketAddr>() {
            found.insert(address);
        } else if let Ok(ip) = peer.trim_matches(['[', ']']).parse() {
            found.insert(SocketAddr::new(ip, own.port()));
        } else if peer.contains(':') {
            found.extend(lookup_host(peer).await.map_err(failed)?);
        } else {
            found.extend(lookup_host((peer.as_str(), own.port())).await.map_err(failed)?);
        }
    }
    let peers = found.len();
    if expect > peers || expect * 2 <= peers || expect > FOUNDERS_MAX {
        return Err(DeclareError::Expect { expect, peers });
    }
    Ok(Declared { expect, peers: found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn peers_are_addresses_with_and_without_port_and_this_host_is_one() {
        let own: SocketAddr = "10.0.0.2:7800".parse().unwrap();
        let peers = ["10.0.0.1".to_owned(), "10.0.0.2:7800".to_owned(), "[fd00::3]".to_owned()];
        let declared = declare(3, &peers, own).await.unwrap();
        let expected: Vec<SocketAddr> =
            ["10.0.0.1:7800", "10.0.0.2:7800", "[fd00::3]:7800"].map(|a| a.parse().unwrap()).into();
        assert_eq!(declared.peers.iter().copied().collect::<Vec<_>>(), expected);
        assert_eq!(declared.founder(), expected[0]);
        for expect in [0, 1, 4] {
            assert!(declare(expect, &peers, own).await.is_err(), "{expect}");
        }
    }
}
