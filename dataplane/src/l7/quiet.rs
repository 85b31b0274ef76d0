//! What an Envoy that takes no traffic runs in place of what others do: listeners that are nobody's to
//! reach, and clusters that ask nobody for health or names. The versions stay, by which it is told
//! only what has changed.

use std::net::Ipv4Addr;

use envoy_types::pb::{
    envoy::config::{
        cluster::v3::Cluster,
        core::v3::{
            address::Address as Kind,
            socket_address::{PortSpecifier, Protocol},
        },
        listener::v3::Listener,
    },
    google::protobuf::BoolValue,
};
use model::Service;
use prost::Message as _;

use super::Resource;

/// Takes Envoy's own health checks off the cluster of a service, and lets it not wait for names: else
/// it is taken when they have been answered, which a verdict must not wait for, and endpoints are not
/// to be checked twice.
pub(super) fn without_questions(mut cluster: Resource, service: &Service) -> Resource {
    if (service.is_checked_by_envoy() || service.dns.is_some())
        && let Ok(mut body) = Cluster::decode(cluster.body.value.as_slice())
    {
        body.health_checks.clear();
        body.wait_for_warm_on_init = Some(BoolValue { value: false });
        cluster.body.value = body.encode_to_vec();
    }
    cluster
}

/// Takes the port off a listener. A UDP listener is on a free port of the loopback: Envoy 1.39
/// crashes on one that binds none.
pub(super) fn without_port(mut listener: Resource) -> Resource {
    let Ok(mut body) = Listener::decode(listener.body.value.as_slice()) else { return listener };
    match body.address.as_mut().and_then(|address| address.address.as_mut()) {
        Some(Kind::SocketAddress(address)) if address.protocol == Protocol::Udp as i32 => {
            address.address = Ipv4Addr::LOCALHOST.to_string();
            // Only an IPv6 address may take IPv4 too.
            address.ipv4_compat = false;
            address.port_specifier = Some(PortSpecifier::PortValue(0));
        }
        _ => body.bind_to_port = Some(BoolValue { value: false }),
    }
    listener.body.value = body.encode_to_vec();
    listener
}
