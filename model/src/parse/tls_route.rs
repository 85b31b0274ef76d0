//! Reads the spec of a `TLSRoute`.

use std::net::IpAddr;

use super::{
    backend::{backends, listeners, unique},
    name::host_pattern,
    reader::{Node, Read},
};
use crate::{limits::MAX_HOSTS, route::TlsRoute};

pub(super) fn tls_route(node: &Node<'_>, namespace: &str) -> Read<TlsRoute> {
    let fields = node.fields()?;
    let listeners =
        fields.required("listeners", "a list of {name: …}", |node| listeners(node, namespace));
    let hosts = fields.required("hosts", "a list of hosts, or [\"*\"] for every host", hosts);
    let backends = fields
        .required("backends", "a list of {service: {name: …}}", |node| backends(node, namespace));
    let known = fields.finish();
    let route = TlsRoute { listeners: listeners?, hosts: hosts?, backends: backends? };
    known.map(|()| route)
}

fn hosts(node: &Node<'_>) -> Read<Vec<String>> {
    let items = node.items(1, MAX_HOSTS, |node| {
        let host = host_pattern(node)?;
        if host.parse::<IpAddr>().is_ok() {
            let problem = "is an address, and clients ask for hosts by name only";
            return Err(node.error(problem, "write a host, or \"*\" for clients that name none"));
        }
        Ok(host)
    })?;
    unique(node, &items, |host| host)?;
    items.into_iter().collect()
}
