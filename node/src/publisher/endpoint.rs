//! The QUIC server's endpoint, on a socket that is bound before anything is formed or joined.

use std::net::UdpSocket;

use quinn::Endpoint;
use runtime::{
    identity::{NodeIdentity, Role},
    push::serve_on,
    tls::LiveIdentity,
};

/// Makes the endpoint; renewed certificates show up in it by themselves.
pub(crate) fn server(
    live: &LiveIdentity,
    identity: &NodeIdentity,
    socket: UdpSocket,
) -> anyhow::Result<Endpoint> {
    Ok(serve_on(&*live.server_mtls(&Role::ALL)?, identity.certified_key().key(), socket)?)
}
