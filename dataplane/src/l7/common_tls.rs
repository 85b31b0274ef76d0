//! What TLS from clients and TLS to endpoints have in common.

use std::time::Duration;

use model::tls::TlsVersion;
use prost::Name;

use super::pb::{self, core, matcher, tls};

/// How long a listener or cluster waits for its secrets before it goes on without them, refusing
/// connections.
const SECRET_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds the versions that are spoken.
pub(super) fn versions(least: TlsVersion, most: TlsVersion) -> tls::TlsParameters {
    use tls::tls_parameters::TlsProtocol;
    let version = |version| match version {
        TlsVersion::V1_2 => TlsProtocol::TlSv12 as i32,
        TlsVersion::V1_3 => TlsProtocol::TlSv13 as i32,
    };
    tls::TlsParameters {
        tls_minimum_protocol_version: version(least),
        tls_maximum_protocol_version: version(most),
        ..Default::default()
    }
}

/// Refers to a secret that comes by the aggregated stream.
pub(super) fn secret(name: String) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name, sds_config: Some(pb::ads(SECRET_TIMEOUT)) }
}

/// Makes a name that a certificate may have.
pub(super) fn name(
    kind: tls::subject_alt_name_matcher::SanType,
    pattern: matcher::string_matcher::MatchPattern,
    ignore_case: bool,
) -> tls::SubjectAltNameMatcher {
    tls::SubjectAltNameMatcher {
        san_type: kind as i32,
        matcher: Some(matcher::StringMatcher { match_pattern: Some(pattern), ignore_case }),
        ..Default::default()
    }
}

/// Makes a socket with a context of TLS.
pub(super) fn socket(context: &impl Name) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pb::any(context))),
    }
}
