//! What a data plane tells of single packets: who, to whom, what became of it, and by what.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{cluster::NodeId, key::ObjectKey, revision::Revision};

/// Why a packet is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is one of the sample.
    Sampled,
    /// A connection or flow begins with it.
    Begun,
    /// A connection ends with it.
    Ended,
    /// It is dropped.
    Dropped,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was sent on.
    Forwarded,
    /// It was answered: a SYN by a SYN cookie.
    Answered,
    /// The kernel has it.
    Passed,
    /// It was dropped.
    Dropped,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Passed => "passed",
            Self::Dropped => "dropped",
        })
    }
}

/// Which way a packet of a service goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a client to an endpoint.
    In,
    /// From an endpoint to a client.
    Out,
}

/// A packet, and what was decided about it. What is absent was not read, or not decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowEvent {
    /// When, in microseconds since 1970-01-01 UTC, by the node's clock.
    pub time_us: u64,
    /// The node that saw it.
    pub node: NodeId,
    /// Why it is told of.
    pub why: Vec<Why>,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether it waits in a worker, which sends it when its limit allows it, or drops it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// Why it was not sent on, as metrics name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `TCP` or `UDP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Where it came from; port 0 when it has none that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SocketAddr>,
    /// Where it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<SocketAddr>,
    /// Where it goes: the endpoint, or for answers the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<SocketAddr>,
    /// Names of the TCP flags that are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp_flags: Vec<String>,
    /// Length of the IP packet in bytes, or of the frame where it was not read.
    pub length: u16,
    /// The interface that it came in by.
    pub interface: String,
    /// The interface that it left by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_interface: Option<String>,
    /// Which way it goes, of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The listener that it is for, or from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<ObjectKey>,
    /// The service of the endpoint; that of the listener's route when it has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ObjectKey>,
    /// The endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// The rule of a packet filter that fits, `kind/namespace/name rules[index]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The revision that the packet filter was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_revision: Option<Revision>,
    /// The revision that the services were made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The generation of the kernel's tables.
    pub generation: u64,
}

/// One message of the stream of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum FlowMessage {
    /// A packet.
    Flow(Box<FlowEvent>),
    /// Events that are missing here.
    Lost(LostEvents),
}

/// Events that a reader did not get, since the message of this kind before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LostEvents {
    /// The node.
    pub node: NodeId,
    /// The kernel's ring had no room for them.
    pub ring: u64,
    /// They were more than a CPU makes of a kind in a moment.
    pub held_back: u64,
    /// This reader was too slow for them.
    pub slow: u64,
}

/// Which events a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowQuery {
    /// Goes on after those that are kept.
    #[serde(default)]
    pub follow: bool,
    /// Of this service: `name` or `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Of this listener: `name` or `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// With this verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// From or to this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl FlowQuery {
    /// Tells whether an event is wanted.
    #[must_use]
    pub fn wants(&self, event: &FlowEvent) -> bool {
        let named = |wanted: &Option<String>, key: &Option<ObjectKey>| match (wanted, key) {
            (None, _) => true,
            (Some(wanted), Some(key)) => key.is_named(wanted),
            (Some(_), None) => false,
        };
        let ends = [event.source, event.destination, event.to];
        named(&self.service, &event.service)
            && named(&self.listener, &event.listener)
            && self.verdict.is_none_or(|verdict| verdict == event.verdict)
            && self
                .address
                .is_none_or(|address| ends.into_iter().flatten().any(|end| end.ip() == address))
    }
}

/// Returns the names of the flags in a TCP header (RFC 9293 section 3.1), the lowest bit first.
#[must_use]
pub fn tcp_flags(byte: u8) -> Vec<String> {
    TCP_FLAGS
        .iter()
        .enumerate()
        .filter(|(bit, _)| byte >> bit & 1 != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// The flags of a TCP header by their bits.
pub const TCP_FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> FlowEvent {
        FlowEvent {
            time_us: 1,
            node: NodeId(2),
            why: vec![Why::Sampled],
            verdict: Verdict::Dropped,
            waits: false,
            reason: Some("filtered".to_owned()),
            protocol: Some("TCP".to_owned()),
            source: Some("10.0.0.1:4242".parse().unwrap()),
            destination: Some("10.0.0.2:80".parse().unwrap()),
            to: None,
            tcp_flags: tcp_flags(0x12),
            length: 60,
            interface: "eth0".to_owned(),
            out_interface: None,
            direction: Some(Direction::In),
            listener: Some("Listener/default/web".parse().unwrap()),
            service: Some("Service/shop/web".parse().unwrap()),
            endpoint: None,
            rule: None,
            filter_revision: None,
            revision: Some(Revision(7)),
            generation: 3,
        }
    }

    #[test]
    fn a_query_wants_what_fits_all_of_it() {
        let check = |query: &str, expected: bool| {
            let query: FlowQuery = serde_json::from_str(query).unwrap();
            assert_eq!(query.wants(&event()), expected, "{query:?}");
        };
        check("{}", true);
        check(r#"{"listener": "web"}"#, true);
        check(r#"{"listener": "default/web", "service": "shop/web"}"#, true);
        check(r#"{"service": "web"}"#, false);
        check(r#"{"verdict": "dropped", "address": "10.0.0.1"}"#, true);
        check(r#"{"verdict": "passed"}"#, false);
        check(r#"{"address": "10.0.0.3"}"#, false);
        assert!(serde_json::from_str::<FlowQuery>(r#"{"servcie": "web"}"#).is_err());
    }

    #[test]
    fn flags_have_their_names() {
        assert_eq!(tcp_flags(0x12), ["SYN", "ACK"]);
        assert_eq!(tcp_flags(0x81), ["FIN", "CWR"]);
        assert!(tcp_flags(0).is_empty());
    }

    #[test]
    fn messages_come_back_from_json() {
        let lost = LostEvents { node: NodeId(2), ring: 1, held_back: 0, slow: 4 };
        for message in [FlowMessage::Flow(Box::new(event())), FlowMessage::Lost(lost)] {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<FlowMessage>(&text).unwrap(), message, "{text}");
        }
    }
}
