//! `Listener`: a port on which traffic enters.

pub mod access_log;
pub mod compression;
pub mod http_options;

mod clients;
mod tls;

use std::net::IpAddr;

use serde::Serialize;

pub use self::{
    access_log::AccessLog,
    clients::{ClientCertificateMode, ClientCertificates, ClientName, ForwardedDetail, NameMatch},
    compression::{Compression, CompressionAlgorithm},
    http_options::{Http3, HttpOptions},
    tls::{CertificateFiles, ListenerTls, Shown},
};

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2 without TLS.
    Http,
    /// HTTP/1.1 and HTTP/2 behind TLS that ends here.
    Https,
    /// TLS that passes through: endpoints have the certificates.
    Tls,
    /// TCP connections.
    Tcp,
    /// UDP flows.
    Udp,
}

impl Protocol {
    /// Tells whether the port is a UDP port; TCP otherwise.
    #[must_use]
    pub fn is_udp(self) -> bool {
        matches!(self, Self::Udp)
    }

    /// Tells whether HTTP routes may attach.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Tells whether XDP may carry it; Envoy alone carries what somebody has to look into.
    #[must_use]
    pub fn is_l4(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }
}

/// What a port is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Which data plane carries a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// Envoy for HTTP, HTTPS and TLS; XDP for TCP and UDP, or Envoy where XDP is not to be had.
    #[default]
    Auto,
    /// Envoy.
    Envoy,
    /// XDP; the listener reports an error where XDP is not to be had.
    Xdp,
}

/// How XDP brings a TCP or UDP listener's packets to an endpoint.
///
/// All but [`Self::Nat`] leave the packet as the client sent it, so that the endpoint answers the
/// client directly; the endpoint must then have the listener's address on an interface of its own
/// and serve the listener's port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Forwarding {
    /// Full NAT: the endpoint sees the node's address and answers by way of the node.
    #[default]
    Nat,
    /// Direct server return: only the Ethernet addresses are rewritten; the endpoint must be on
    /// the node's link.
    L2,
    /// Direct server return through an IP tunnel (RFC 2003; RFC 2473 for IPv6).
    Ipip,
    /// Direct server return through UDP port 6080: Generic UDP Encapsulation, variant 1
    /// (draft-ietf-intarea-gue), whose outer source port spreads flows over queues.
    Gue,
}

/// When XDP answers SYNs to a TCP listener with full NAT by SYN cookies (RFC 4987 section 3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum SynCookies {
    /// While many of a node's connections are half open.
    #[default]
    Auto,
    /// Never: each SYN begins a connection.
    Never,
    /// Always: a connection begins when its client has answered.
    Always,
}

/// The address that a listener takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// Every address of the node, IPv4 and IPv6; written `*`.
    #[default]
    Any,
    /// One address.
    Ip(IpAddr),
}

impl Serialize for ListenAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("*"),
            Self::Ip(ip) => serializer.collect_str(ip),
        }
    }
}

/// How the nodes draw an address's traffic to themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Announce {
    /// One node at a time has the address and answers for it on the link: ARP (RFC 826), or Neighbor
    /// Discovery (RFC 4861).
    L2,
}

/// Who tells a listener of the true client, before the first byte of each TCP connection
/// (HAProxy's proxy-protocol.txt, versions 1 and 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ClientProxyProtocol {
    /// Every connection begins with a PROXY header; others are closed.
    Required,
    /// Those that begin with one are believed.
    Optional,
}

impl Listener {
    /// Returns how HTTP/3 is spoken, where it is.
    #[must_use]
    pub fn http3(&self) -> Option<Http3> {
        self.http.as_ref()?.http3
    }

    /// Returns the transports whose port of the listener's number it takes.
    #[must_use]
    pub fn transports(&self) -> &'static [Transport] {
        match self.protocol {
            Protocol::Udp => &[Transport::Udp],
            _ if self.http3().is_some() => &[Transport::Tcp, Transport::Udp],
            _ => &[Transport::Tcp],
        }
    }

    /// Returns how XDP forwards; full NAT for what XDP does not carry.
    #[must_use]
    pub fn forwarding(&self) -> Forwarding {
        self.forwarding.unwrap_or_default()
    }

    /// Returns when SYNs are answered by cookies, where XDP carries the listener with full NAT.
    #[must_use]
    pub fn syn_cookies(&self) -> SynCookies {
        self.syn_cookies.unwrap_or_default()
    }

    /// Returns which answers are compressed, and how; nothing when none are.
    #[must_use]
    pub fn compression(&self) -> Option<&Compression> {
        self.http.as_ref()?.compression.as_ref()
    }
}

/// A port on which traffic enters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// What it speaks.
    pub protocol: Protocol,
    /// The address, `*` by default.
    pub address: ListenAddress,
    /// The port, 1 to 65535.
    pub port: u16,
    /// The data plane, `auto` by default.
    pub engine: EngineChoice,
    /// How XDP forwards, `NAT` by default; present for TCP and UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
    /// When SYNs are answered by cookies, `Auto` by default; for TCP with full NAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_cookies: Option<SynCookies>,
    /// How the nodes announce the address; they don't when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce: Option<Announce>,
    /// How TLS ends; present exactly when the protocol is HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Whether connections begin with a PROXY header; they don't when absent. Envoy alone reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ClientProxyProtocol>,
    /// Connections that Envoy keeps open at once on a node; as many as the node has room for when
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Options of HTTP and HTTPS listeners; all defaults when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpOptions>,
    /// What is written of each request or connection; nothing when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_logs: Vec<AccessLog>,
}
