//! TLS of HTTPS listeners. What is in files comes by SDS, so that another path, a renewed
//! certificate, or another authority touches no listener.

use model::{ObjectKey, listener::ListenerTls, tls::TlsVersion};
use serde::Serialize;

use super::{
    ResourceType, common_tls, names,
    pb::{self, core, quic, tls},
    resource::ResourceId,
};

/// Lists the secrets of a listener.
pub(super) fn wants(key: &ObjectKey, spec: &ListenerTls) -> impl Iterator<Item = ResourceId> {
    let certificates = (0..spec.shown().count()).map(|index| names::certificate(key, index));
    certificates.map(|name| ResourceId::new(ResourceType::Secret, name))
}

/// Returns what of `spec` is the listener's own: all but what the secrets hold.
pub(super) fn version_part(spec: &ListenerTls) -> impl Serialize {
    (spec.shown().count(), spec.min_version, spec.max_version)
}

/// Makes the transport socket of a listener over TCP.
pub(super) fn socket(key: &ObjectKey, spec: &ListenerTls) -> core::TransportSocket {
    common_tls::socket(&context(key, spec, &["h2", "http/1.1"]))
}

/// Makes the transport socket of a listener over QUIC. Requests in the first flight are not taken:
/// they may be somebody else's, sent again (RFC 8470).
pub(super) fn quic_socket(key: &ObjectKey, spec: &ListenerTls) -> core::TransportSocket {
    let transport = quic::QuicDownstreamTransport {
        downstream_tls_context: Some(context(key, spec, &["h3"])),
        enable_early_data: Some(pb::boolean(false)),
        ..Default::default()
    };
    core::TransportSocket {
        name: "envoy.transport_sockets.quic".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pb::any(&transport))),
    }
}

fn context(key: &ObjectKey, spec: &ListenerTls, protocols: &[&str]) -> tls::DownstreamTlsContext {
    tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(common_tls::versions(
                spec.min_version.unwrap_or(TlsVersion::V1_2),
                spec.max_version.unwrap_or(TlsVersion::V1_3),
            )),
            alpn_protocols: protocols.iter().map(|protocol| (*protocol).into()).collect(),
            // Envoy chooses among them by the names inside the certificates.
            tls_certificate_sds_secret_configs: (0..spec.shown().count())
                .map(|index| common_tls::secret(names::certificate(key, index)))
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}
