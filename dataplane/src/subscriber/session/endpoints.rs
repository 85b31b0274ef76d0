//! Where sessions begin on this side.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use quinn::Endpoint;
use runtime::{push, tls::LiveIdentity};

use super::SessionError;

/// Local endpoints, one for each address family that is used.
#[derive(Debug)]
pub(super) struct Endpoints {
    identity: LiveIdentity,
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Endpoints {
    pub(super) fn new(identity: &LiveIdentity) -> Self {
        Self { identity: identity.clone(), v4: None, v6: None }
    }

    pub(super) fn toward(&mut self, address: SocketAddr) -> Result<&Endpoint, SessionError> {
        let (place, any): (_, SocketAddr) = match address {
            SocketAddr::V4(_) => (&mut self.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&mut self.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        if place.is_none() {
            let endpoint = push::client_endpoint(&self.identity, any)
                .map_err(|source| SessionError::Endpoint { address, source })?;
            *place = Some(endpoint);
        }
        Ok(place.as_ref().expect("filled above"))
    }
}
