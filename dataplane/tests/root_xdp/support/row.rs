//! Three namespaces in a row: a client, a node, and an endpoint whose way back is the node.

use crate::support::namespaces::Namespace;

/// The namespaces. The node's interfaces are `nc`, towards the client, and `n0`; those of the others
/// are `eth0`, with 10.1.0.2 and 10.2.0.2.
pub(crate) struct Row {
    pub(crate) client: Namespace,
    pub(crate) node: Namespace,
    pub(crate) endpoint: Namespace,
}

impl Row {
    pub(crate) fn new() -> Self {
        let [client, node, endpoint] = ["c", "n", "e"].map(Namespace::new);
        for (name, v4, far, far_v4) in [
            ("nc", "10.1.0.1/24", &client, "10.1.0.2/24"),
            ("n0", "10.2.0.1/24", &endpoint, "10.2.0.2/24"),
        ] {
            node.run(&format!("ip link add {name} type veth peer name eth0 netns {}", far.0));
            for (place, device, address) in [(&node, name, v4), (far, "eth0", far_v4)] {
                place.run(&format!("ip link set {device} up"));
                place.run(&format!("ip addr add {address} dev {device}"));
                // Else XDP meets checksums that are not whole yet, and veth takes what a socket sends
                // another way than what XDP does, which is no order.
                place.run(&format!("ethtool -K {device} tx off tso off gso off gro on"));
            }
        }
        endpoint.run("ip route add default via 10.2.0.1");
        Self { client, node, endpoint }
    }
}
