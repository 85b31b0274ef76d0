//! What an Envoy without traffic runs in place of what others do: listeners that are nobody's to
//! reach, and clusters that ask nobody for health.

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
use model::Snapshot;
use prost::Message;

use crate::l7::{Resource, ResourceType, World};

/// Takes the ports off the listeners of a world, and Envoy's own health checks off its clusters, and
/// lets none wait for names; everything else stays as it is, and the versions too, by which a canary
/// is told only what has changed. A cluster with checks or names is taken when they have been
/// answered, which a verdict must not wait for, and endpoints are not to be checked twice.
///
/// A UDP listener is on a free port of the loopback: Envoy 1.39 crashes on one that binds none.
pub(crate) fn quiet(world: &mut World, config: &Snapshot) {
    let listeners: Vec<Resource> =
        world.of_kind(ResourceType::Listener).filter_map(|(_, it)| without_port(it)).collect();
    let clusters: Vec<Resource> = config
        .services()
        .filter(|(_, service)| service.is_checked_by_envoy() || service.dns.is_some())
        .filter_map(|(key, _)| {
            let name = format!("{}/{}", key.namespace, key.name);
            without_questions(world.get(ResourceType::Cluster, &name)?)
        })
        .collect();
    let quieter = [(ResourceType::Listener, listeners), (ResourceType::Cluster, clusters)];
    for (kind, resources) in quieter {
        for resource in resources {
            let name = resource.name.clone();
            world.set(kind, &name, Some(resource));
        }
    }
}

fn without_questions(resource: &Resource) -> Option<Resource> {
    let mut cluster = Cluster::decode(resource.body.value.as_slice()).ok()?;
    cluster.health_checks.clear();
    cluster.wait_for_warm_on_init = Some(BoolValue { value: false });
    let mut quiet = resource.clone();
    quiet.body.value = cluster.encode_to_vec();
    Some(quiet)
}

fn without_port(resource: &Resource) -> Option<Resource> {
    let mut listener = Listener::decode(resource.body.value.as_slice()).ok()?;
    match listener.address.as_mut().and_then(|address| address.address.as_mut()) {
        Some(Kind::SocketAddress(address)) if address.protocol == Protocol::Udp as i32 => {
            address.address = Ipv4Addr::LOCALHOST.to_string();
            // Only an IPv6 address may take IPv4 too.
            address.ipv4_compat = false;
            address.port_specifier = Some(PortSpecifier::PortValue(0));
        }
        _ => listener.bind_to_port = Some(BoolValue { value: false }),
    }
    let mut portless = resource.clone();
    portless.body.value = listener.encode_to_vec();
    Some(portless)
}
