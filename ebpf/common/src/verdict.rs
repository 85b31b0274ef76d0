//! Why a packet was not forwarded, and what happens to it then.
//!
//! The rule: what may belong to the kernel is passed to it untouched; what belongs to a service
//! and cannot be forwarded is dropped. Each reason is counted by name.

/// What the kernel does with a packet that is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The network stack gets it.
    Pass,
    /// It is dropped.
    Drop,
}

/// Why a packet was not forwarded.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Neither IPv4 nor IPv6; two VLAN tags count as that, a provider's, and
    /// any tag on a host without VLANs.
    NotIp = 0,
    /// Neither TCP nor UDP, nor an ICMP error about a known flow.
    NotTransport = 1,
    /// A fragment of a datagram: only the kernel reassembles.
    Fragment = 2,
    /// IPv4 options or IPv6 extension headers.
    IpOptions = 3,
    /// Shorter than its headers say, or headers that contradict each other.
    Malformed = 4,
    /// No configuration is in force.
    NoConfiguration = 5,
    /// For no service, and part of no connection.
    NotService = 6,
    /// A new connection to a service that is being removed.
    Draining = 7,
    /// The service has no backend of the packet's address family that gets anything new: the kernel
    /// refuses it.
    NoBackend = 8,
    /// The hop limit is used up.
    HopLimit = 9,
    /// UDP over IPv6 without a checksum (RFC 8200 section 8.1).
    NoChecksum = 10,
    /// The node has no address of the family that replies could come back to.
    NoSource = 11,
    /// No route to where the packet goes.
    NoRoute = 12,
    /// The link address of the next hop is not known yet.
    NoNeighbour = 13,
    /// Forwarding on the loopback interface is off, so that routes cannot be looked up.
    ForwardingOff = 14,
    /// Larger than the route takes, and its sender was not told: too many were.
    TooBig = 15,
    /// Every source port tried towards the backend is in use.
    PortsExhausted = 16,
    /// The table of connections has no room for one more.
    TableRefused = 17,
    /// The configuration in force contradicts itself.
    BrokenConfiguration = 18,
    /// The endpoint is behind a gateway, where another Ethernet address does not lead.
    NotOnLink = 19,
    /// The frame has no room for an outer header.
    NoHeadroom = 20,
    /// A rule of the packet filter denies it.
    Filtered = 21,
    /// The program that goes on with such packets is not in place.
    NoTask = 22,
    /// Over the limit of a QoS policy.
    OverLimit = 23,
    /// Over the rate of a rule of the packet filter.
    RateLimited = 24,
    /// Part of no connection, and no answer to a SYN cookie.
    CookieRefused = 25,
    /// The client has answered a SYN cookie, and the backend has not answered the client's SYN yet: the
    /// client sends it again.
    BackendPending = 26,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 27] = [
        Self::NotIp,
        Self::NotTransport,
        Self::Fragment,
        Self::IpOptions,
        Self::Malformed,
        Self::NoConfiguration,
        Self::NotService,
        Self::Draining,
        Self::NoBackend,
        Self::HopLimit,
        Self::NoChecksum,
        Self::NoSource,
        Self::NoRoute,
        Self::NoNeighbour,
        Self::ForwardingOff,
        Self::TooBig,
        Self::PortsExhausted,
        Self::TableRefused,
        Self::BrokenConfiguration,
        Self::NotOnLink,
        Self::NoHeadroom,
        Self::Filtered,
        Self::NoTask,
        Self::OverLimit,
        Self::RateLimited,
        Self::CookieRefused,
        Self::BackendPending,
    ];

    /// Returns what happens to the packet.
    #[inline(always)]
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::NotIp
            | Self::NotTransport
            | Self::Fragment
            | Self::IpOptions
            | Self::Malformed
            | Self::NoConfiguration
            | Self::NotService
            | Self::Draining
            | Self::NoBackend => Action::Pass,
            Self::HopLimit
            | Self::NoChecksum
            | Self::NoSource
            | Self::NoRoute
            | Self::NoNeighbour
            | Self::ForwardingOff
            | Self::TooBig
            | Self::PortsExhausted
            | Self::TableRefused
            | Self::BrokenConfiguration
            | Self::NotOnLink
            | Self::NoHeadroom
            | Self::Filtered
            | Self::NoTask
            | Self::OverLimit
            | Self::RateLimited
            | Self::CookieRefused
            | Self::BackendPending => Action::Drop,
        }
    }

    /// Returns the name that metrics use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::NotTransport => "not_transport",
            Self::Fragment => "fragment",
            Self::IpOptions => "ip_options",
            Self::Malformed => "malformed",
            Self::NoConfiguration => "no_configuration",
            Self::NotService => "not_service",
            Self::Draining => "draining",
            Self::NoBackend => "no_backend",
            Self::HopLimit => "hop_limit",
            Self::NoChecksum => "no_checksum",
            Self::NoSource => "no_source",
            Self::NoRoute => "no_route",
            Self::NoNeighbour => "no_neighbour",
            Self::ForwardingOff => "forwarding_off",
            Self::TooBig => "too_big",
            Self::PortsExhausted => "ports_exhausted",
            Self::TableRefused => "table_refused",
            Self::BrokenConfiguration => "broken_configuration",
            Self::NotOnLink => "not_on_link",
            Self::NoHeadroom => "no_headroom",
            Self::Filtered => "filtered",
            Self::NoTask => "no_task",
            Self::OverLimit => "over_limit",
            Self::RateLimited => "rate_limited",
            Self::CookieRefused => "cookie_refused",
            Self::BackendPending => "backend_pending",
        }
    }
}

const _: () = assert!(Reason::ALL.len() <= crate::layout::stat::FLOWS_MOVED);

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn reasons_are_listed_in_the_order_of_their_numbers() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
