//! TLS of HTTPS listeners. What is in files comes by SDS, so that another path, a renewed
//! certificate, or another authority touches no listener.

use model::{
    ObjectKey,
    listener::{ClientCertificateMode, ListenerTls},
    tls::TlsVersion,
};
use serde::Serialize;

use super::{
    ResourceType, client_certificates, common_tls, names,
    pb::{self, core, quic, tls},
    resource::ResourceId,
};

/// Lists the secrets of a listener.
pub(super) fn wants(key: &ObjectKey, spec: &ListenerTls) -> impl Iterator<Item = ResourceId> {
    let certificates = (0..spec.shown().count()).map(|index| names::certificate(key, index));
    let clients = spec.clients.iter().map(|_| names::clients(key));
    certificates.chain(clients).map(|name| ResourceId::new(ResourceType::Secret, name))
}

/// Returns what of `spec` is the listener's own: all but what the secrets hold.
pub(super) fn version_part(spec: &ListenerTls) -> impl Serialize {
    let clients = spec.clients.as_ref().map(client_certificates::without_files);
    (spec.shown().count(), spec.min_version, spec.max_version, clients)
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
    use tls::downstream_tls_context::SessionTicketKeysType as Tickets;
    let clients = spec.clients.as_ref();
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
            validation_context_type: clients
                .map(|clients| client_certificates::validation(key, clients)),
            ..Default::default()
        }),
        require_client_certificate: clients
            .map(|clients| pb::boolean(clients.mode == ClientCertificateMode::Required)),
        // A resumed session would not be checked again: not by what the files hold by then.
        disable_stateful_session_resumption: clients.is_some(),
        session_ticket_keys_type: clients.map(|_| Tickets::DisableStatelessSessionResumption(true)),
        ..Default::default()
    }
}
