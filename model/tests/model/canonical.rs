//! The canonical bytes of each kind, and of what came later, as stored and pushed. The fixtures are never edited: bytes
//! that a cluster has stored must be read, and written back, the same by every later version.

use crate::checking::objects;
use model::parse;

const CASES: [(&str, &[u8]); 22] = [
    ("Listener", include_bytes!("../fixtures/canonical-v1/listener.json")),
    ("Listener/edge/partners", include_bytes!("../fixtures/canonical-v1/listener_clients.json")),
    ("Listener/edge/secrets", include_bytes!("../fixtures/canonical-v1/listener_tls.json")),
    ("HTTPRoute", include_bytes!("../fixtures/canonical-v1/http_route.json")),
    ("GRPCRoute", include_bytes!("../fixtures/canonical-v1/grpc_route.json")),
    ("TLSRoute", include_bytes!("../fixtures/canonical-v1/tls_route.json")),
    ("TCPRoute", include_bytes!("../fixtures/canonical-v1/tcp_route.json")),
    ("UDPRoute", include_bytes!("../fixtures/canonical-v1/udp_route.json")),
    ("Service", include_bytes!("../fixtures/canonical-v1/service.json")),
    ("PacketFilter", include_bytes!("../fixtures/canonical-v1/packet_filter.json")),
    ("PrefixList", include_bytes!("../fixtures/canonical-v1/prefix_list.json")),
    ("QoSPolicy", include_bytes!("../fixtures/canonical-v1/qos_policy.json")),
    ("AuthPolicy", include_bytes!("../fixtures/canonical-v1/auth_policy.json")),
    ("RolloutPolicy", include_bytes!("../fixtures/canonical-v1/rollout_policy.json")),
    ("Certificate", include_bytes!("../fixtures/canonical-v1/certificate.json")),
    ("Issuer", include_bytes!("../fixtures/canonical-v1/issuer.json")),
    (
        "AuthPolicy/default/tokens",
        include_bytes!("../fixtures/canonical-v1/auth_policy_tokens.json"),
    ),
    ("AuthPolicy/default/keys", include_bytes!("../fixtures/canonical-v1/auth_policy_keys.json")),
    ("AuthPolicy/default/login", include_bytes!("../fixtures/canonical-v1/auth_policy_login.json")),
    ("RateLimit", include_bytes!("../fixtures/canonical-v1/rate_limit.json")),
    (
        "RolloutPolicy/default/packets",
        include_bytes!("../fixtures/canonical-v1/rollout_policy_drops.json"),
    ),
    ("FilterModule", include_bytes!("../fixtures/canonical-v1/filter_module.json")),
];

#[test]
fn the_canonical_form_is_what_it_was() {
    let written = objects(include_str!("../fixtures/canonical-v1/objects.yaml"));
    for (name, bytes) in CASES {
        let object = written
            .iter()
            .find(|object| object.key().to_string().starts_with(name))
            .unwrap_or_else(|| panic!("{name} has no document"));
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(String::from_utf8_lossy(&object.to_canonical()), text, "{name}");
        let read = parse::object_from_slice(bytes).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(read, *object, "{name}");
    }
}
