//! What a node's XDP program has counted for each endpoint.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{cluster::NodeId, key::ObjectKey, revision::Revision};

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// It gets new flows.
    Active,
    /// It keeps the flows that it has and gets no new ones: its weight is 0.
    Draining,
}

impl std::fmt::Display for EndpointState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Draining => "draining",
        })
    }
}

/// Packets and bytes, since the endpoint came to the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficCounters {
    /// TCP connections and UDP flows begun.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes of these packets, from their IP headers on.
    pub bytes_in: u64,
    /// Packets to clients. Those of endpoints that answer clients directly pass no node.
    pub packets_out: u64,
    /// Bytes of these packets, from their IP headers on.
    pub bytes_out: u64,
}

/// An endpoint, over all listeners by which the node forwards to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointTraffic {
    /// Its address.
    pub endpoint: SocketAddr,
    /// How it stands; active when it is for one of the listeners.
    pub state: EndpointState,
    /// The listeners, sorted.
    pub listeners: Vec<ObjectKey>,
    /// The services of these listeners' routes that have it, sorted.
    pub services: Vec<ObjectKey>,
    /// What was counted; absent for one beyond the 32,767 that are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<TrafficCounters>,
}

/// The endpoints of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointList {
    /// The node.
    pub node: NodeId,
    /// The revision that its program runs.
    pub revision: Revision,
    /// The endpoints of the listeners that it carries, by their addresses.
    pub endpoints: Vec<EndpointTraffic>,
}

/// Which endpoints a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointQuery {
    /// Of this service: `name` or `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Of this listener: `name` or `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
}

impl EndpointQuery {
    /// Tells whether an endpoint is wanted.
    #[must_use]
    pub fn wants(&self, endpoint: &EndpointTraffic) -> bool {
        let named = |wanted: &Option<String>, keys: &[ObjectKey]| {
            wanted.as_ref().is_none_or(|wanted| keys.iter().any(|key| key.is_named(wanted)))
        };
        named(&self.service, &endpoint.services) && named(&self.listener, &endpoint.listeners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_wants_what_fits_all_of_it() {
        let endpoint = EndpointTraffic {
            endpoint: "10.0.0.1:80".parse().unwrap(),
            state: EndpointState::Active,
            listeners: vec!["Listener/default/web".parse().unwrap()],
            services: vec![
                "Service/default/one".parse().unwrap(),
                "Service/shop/two".parse().unwrap(),
            ],
            counters: Some(TrafficCounters { packets_in: 3, ..TrafficCounters::default() }),
        };
        let check = |query: &str, expected: bool| {
            let query: EndpointQuery = serde_json::from_str(query).unwrap();
            assert_eq!(query.wants(&endpoint), expected, "{query:?}");
        };
        check("{}", true);
        check(r#"{"service": "shop/two", "listener": "web"}"#, true);
        check(r#"{"service": "one"}"#, true);
        check(r#"{"service": "two"}"#, false);
        check(r#"{"service": "one", "listener": "other"}"#, false);
        assert!(serde_json::from_str::<EndpointQuery>(r#"{"servcie": "web"}"#).is_err());
        let text = serde_json::to_string(&endpoint).unwrap();
        assert_eq!(serde_json::from_str::<EndpointTraffic>(&text).unwrap(), endpoint, "{text}");
    }
}
