//! The chain of an HTTPS listener that answers challenges of ACME by a handshake (TLS-ALPN-01, RFC 8737):
//! it shows the certificate of the challenge to who speaks the protocol of challenges, and nothing follows.

use std::path::Path;

use model::ObjectKey;

use crate::{
    certificates,
    l7::{
        Resource, ResourceId, ResourceType, common_tls, names,
        pb::{self, direct_response, listener, tls},
        secret,
        version::Version,
    },
};

/// What the authority asks for (RFC 8737, section 6.2).
const PROTOCOL: &str = "acme-tls/1";

/// Makes the chain.
pub(super) fn chain(key: &ObjectKey) -> listener::FilterChain {
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            alpn_protocols: vec![PROTOCOL.into()],
            tls_certificate_sds_secret_configs: vec![common_tls::secret(names::challenge(key))],
            ..Default::default()
        }),
        ..Default::default()
    };
    listener::FilterChain {
        name: "challenge".into(),
        filter_chain_match: Some(listener::FilterChainMatch {
            application_protocols: vec![PROTOCOL.into()],
            ..Default::default()
        }),
        // It closes the connection.
        filters: vec![listener::Filter {
            name: "envoy.filters.network.direct_response".into(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(pb::any(
                &direct_response::Config::default(),
            ))),
        }],
        transport_socket: Some(common_tls::socket(&context)),
        ..Default::default()
    }
}

/// Names the secret that the chain needs.
pub(super) fn want(key: &ObjectKey) -> ResourceId {
    ResourceId::new(ResourceType::Secret, names::challenge(key))
}

/// Makes the secret: the file in which the data plane has the certificate of the present challenge.
pub(in crate::l7) fn secret(key: &ObjectKey, issued: &Path) -> Resource {
    let file = certificates::challenge_file(issued).display().to_string();
    let name = names::challenge(key);
    let secret = tls::Secret {
        name: name.clone(),
        r#type: Some(tls::secret::Type::TlsCertificate(secret::certificate(&file, &file))),
    };
    Resource {
        version: Version::of(ResourceType::Secret).part(&name).part(&file).finish(),
        name: name.into(),
        body: pb::any(&secret),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: key.clone(),
        origins: Vec::new(),
    }
}
