//! The chain of an HTTPS listener that answers challenges of ACME by a handshake (TLS-ALPN-01, RFC 8737):
//! it shows the certificate of the challenge to who speaks the protocol of challenges, and serves nothing.

use std::{path::Path, time::Duration};

use model::ObjectKey;

use crate::{
    certificates,
    l7::{
        Resource, ResourceId, ResourceType, common_tls, filters, http_listener, names,
        pb::{self, core, hcm, listener, route, tls},
        secret,
        version::Version,
    },
};

/// Authorities close the connection at once.
const IDLE: Duration = Duration::from_secs(5);
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
        filters: vec![http_listener::filter(&nothing())],
        transport_socket: Some(common_tls::socket(&context)),
        ..Default::default()
    }
}

/// Serves nothing, for as long as it takes to end a handshake. (A filter that ends connections by itself
/// does so before the handshake.)
fn nothing() -> hcm::HttpConnectionManager {
    use hcm::http_connection_manager::RouteSpecifier;
    hcm::HttpConnectionManager {
        stat_prefix: "challenge".into(),
        route_specifier: Some(RouteSpecifier::RouteConfig(route::RouteConfiguration::default())),
        http_filters: vec![filters::router()],
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(pb::duration(IDLE)),
            ..Default::default()
        }),
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
