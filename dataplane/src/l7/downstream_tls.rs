//! TLS of HTTPS listeners. What is in files comes by SDS, so that another path, a renewed
//! certificate, or another authority touches no listener.

use std::time::Duration;

use model::{
    ObjectKey,
    listener::{ListenerTls, TlsVersion},
};
use serde::Serialize;

use super::{
    ResourceType, names,
    pb::{self, core, tls},
    resource::ResourceId,
};

/// How long a listener waits for its certificates before it opens without them, refusing
/// handshakes.
const SECRET_TIMEOUT: Duration = Duration::from_secs(5);

/// Lists the secrets of a listener.
pub(super) fn wants(key: &ObjectKey, spec: &ListenerTls) -> impl Iterator<Item = ResourceId> {
    let certificates = (0..spec.certificates().count()).map(|index| names::certificate(key, index));
    certificates.map(|name| ResourceId::new(ResourceType::Secret, name))
}

/// Returns what of `spec` is the listener's own: all but what the secrets hold.
pub(super) fn version_part(spec: &ListenerTls) -> impl Serialize {
    (spec.certificates().count(), spec.min_version, spec.max_version)
}

/// Makes the transport socket of a listener over TCP.
pub(super) fn socket(key: &ObjectKey, spec: &ListenerTls) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pb::any(&context(
            key,
            spec,
            &["h2", "http/1.1"],
        )))),
    }
}

fn context(key: &ObjectKey, spec: &ListenerTls, protocols: &[&str]) -> tls::DownstreamTlsContext {
    tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(tls::TlsParameters {
                tls_minimum_protocol_version: version(spec.min_version.unwrap_or(TlsVersion::V1_2)),
                tls_maximum_protocol_version: version(spec.max_version.unwrap_or(TlsVersion::V1_3)),
                ..Default::default()
            }),
            alpn_protocols: protocols.iter().map(|protocol| (*protocol).into()).collect(),
            // Envoy chooses among them by the names inside the certificates.
            tls_certificate_sds_secret_configs: (0..spec.certificates().count())
                .map(|index| secret(names::certificate(key, index)))
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn version(version: TlsVersion) -> i32 {
    use tls::tls_parameters::TlsProtocol;
    let version = match version {
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    };
    version as i32
}

fn secret(name: String) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name, sds_config: Some(pb::ads(SECRET_TIMEOUT)) }
}
