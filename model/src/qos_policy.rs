//! `QoSPolicy`: how much of a listener's traffic goes on, what waits first, and how it is marked.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::{object::serialize_duration, route::Reference};

/// Whose turn it is among the packets that wait.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum TrafficClass {
    /// Before all others, within a cap.
    P0,
    /// By weight.
    P1,
    /// By weight.
    #[default]
    P2,
    /// By weight.
    P3,
}

impl TrafficClass {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::P0, Self::P1, Self::P2, Self::P3];

    /// Returns how long a packet of the class may wait when a policy does not say it.
    #[must_use]
    pub fn latency_limit(self) -> Duration {
        Duration::from_millis(match self {
            Self::P0 => 1,
            Self::P1 => 5,
            Self::P2 => 20,
            Self::P3 => 100,
        })
    }
}

/// How much may go in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// The rate in Mbit/s (1,000,000 bit) of IP packets, 1 to 100,000.
    pub bandwidth_mbps: u32,
    /// What may go at once after a pause, in KB (1,000 bytes): at least 10 ms of the bandwidth.
    #[serde(rename = "burstKB")]
    pub burst_kb: u32,
}

impl RateLimit {
    /// Returns the rate in bytes a second.
    #[must_use]
    pub fn bytes_per_s(&self) -> u64 {
        u64::from(self.bandwidth_mbps) * 125_000
    }

    /// Returns the burst in bytes.
    #[must_use]
    pub fn burst_bytes(&self) -> u64 {
        u64::from(self.burst_kb) * 1_000
    }

    /// Returns the KB that go in `ms` milliseconds at a rate, rounded up.
    #[must_use]
    pub fn kb_in(bandwidth_mbps: u32, ms: u32) -> u32 {
        // 1 Mbit/s is 125 bytes a millisecond.
        (bandwidth_mbps.saturating_mul(ms)).div_ceil(8)
    }
}

/// A differentiated-services code point (RFC 2474), 0 to 63.
///
/// Written by name where it has one: `EF` (RFC 3246), `AF11` to `AF43` (RFC 2597), `CS0` to `CS7`
/// (RFC 2474).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// The names with their values.
    pub const NAMES: [(&'static str, Self); 21] = [
        ("EF", Self(46)),
        ("AF11", Self(10)),
        ("AF12", Self(12)),
        ("AF13", Self(14)),
        ("AF21", Self(18)),
        ("AF22", Self(20)),
        ("AF23", Self(22)),
        ("AF31", Self(26)),
        ("AF32", Self(28)),
        ("AF33", Self(30)),
        ("AF41", Self(34)),
        ("AF42", Self(36)),
        ("AF43", Self(38)),
        ("CS0", Self(0)),
        ("CS1", Self(8)),
        ("CS2", Self(16)),
        ("CS3", Self(24)),
        ("CS4", Self(32)),
        ("CS5", Self(40)),
        ("CS6", Self(48)),
        ("CS7", Self(56)),
    ];

    /// Makes a code point; none above 63.
    #[must_use]
    pub fn new(value: u8) -> Option<Self> {
        (value < 64).then_some(Self(value))
    }

    /// Returns the six bits.
    #[must_use]
    pub fn value(self) -> u8 {
        self.0
    }

    /// Returns its name, if it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(_, known)| *known == self).map(|(name, _)| *name)
    }
}

impl Serialize for Dscp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_u8(self.0),
        }
    }
}

/// What becomes of the explicit congestion notification of packets (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Ecn {
    /// It stays.
    #[default]
    Preserve,
    /// Packets of senders that understand it are marked before others have to be dropped.
    Mark,
}

/// What happens with what exceeds a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Excess {
    /// It waits, by class.
    #[default]
    Queue,
    /// It is dropped.
    Drop,
}

/// Whose traffic a limit is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum LimitScope {
    /// Each node has the limit for itself.
    #[default]
    Node,
    /// All nodes of the cluster share it.
    Cluster,
}

/// A policy for the traffic of listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QosPolicy {
    /// The listeners, TCP or UDP; each has the limits for itself.
    pub listeners: Vec<Reference>,
    /// Whose turn it is, `P2` by default.
    pub class: TrafficClass,
    /// How long a packet may wait; by default [`TrafficClass::latency_limit`].
    #[serde(serialize_with = "serialize_duration")]
    pub latency_limit: Duration,
    /// The share among the classes that go by weight, 1 to 100, 10 by default; none for P0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The limit from clients to endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<RateLimit>,
    /// The limit from endpoints to clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<RateLimit>,
    /// What exceeds a limit, `Queue` by default.
    pub excess: Excess,
    /// The code point that packets get; they keep theirs when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<Dscp>,
    /// Congestion notification, `Preserve` by default.
    pub ecn: Ecn,
    /// Whose traffic a limit is for, `Node` by default.
    pub scope: LimitScope,
}
