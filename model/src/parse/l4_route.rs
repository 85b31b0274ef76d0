//! Reads the spec of a `TCPRoute` or `UDPRoute`.

use super::{
    backend::{backends, listeners},
    reader::{Node, Read},
};
use crate::route::L4Route;

pub(super) fn l4_route(node: &Node<'_>, namespace: &str) -> Read<L4Route> {
    let fields = node.fields()?;
    let listeners =
        fields.required("listeners", "a list of {name: …}", |node| listeners(node, namespace));
    let backends = fields
        .required("backends", "a list of {service: {name: …}}", |node| backends(node, namespace));
    let known = fields.finish();
    let route = L4Route { listeners: listeners?, backends: backends? };
    known.map(|()| route)
}
