//! Listeners that are nobody's to reach, made of those that are.

use std::net::Ipv4Addr;

use envoy_types::pb::{
    envoy::config::{
        core::v3::{
            address::Address as Kind,
            socket_address::{PortSpecifier, Protocol},
        },
        listener::v3::Listener,
    },
    google::protobuf::BoolValue,
};
use prost::Message;

use crate::l7::{Resource, ResourceType, World};

/// Takes the ports off the listeners of a world; everything else stays as it is, and the versions
/// too, by which a canary is told only what has changed.
///
/// A UDP listener is on a free port of the loopback: Envoy 1.39 crashes on one that binds none.
pub(crate) fn portless(world: &mut World) {
    let listeners: Vec<Resource> =
        world.of_kind(ResourceType::Listener).filter_map(|(_, it)| without_port(it)).collect();
    for listener in listeners {
        let name = listener.name.clone();
        world.set(ResourceType::Listener, &name, Some(listener));
    }
}

fn without_port(resource: &Resource) -> Option<Resource> {
    let mut listener = Listener::decode(resource.body.value.as_slice()).ok()?;
    match listener.address.as_mut().and_then(|address| address.address.as_mut()) {
        Some(Kind::SocketAddress(address)) if address.protocol == Protocol::Udp as i32 => {
            address.address = Ipv4Addr::LOCALHOST.to_string();
            address.port_specifier = Some(PortSpecifier::PortValue(0));
        }
        _ => listener.bind_to_port = Some(BoolValue { value: false }),
    }
    let mut portless = resource.clone();
    portless.body.value = listener.encode_to_vec();
    Some(portless)
}
