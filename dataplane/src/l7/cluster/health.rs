//! Health checks that Envoy makes itself.

use model::{
    Service,
    service::{CheckedBy, HealthCheck, HttpProtocol, Probe},
};

use super::pb::{
    self,
    core::{
        self,
        health_check::{
            GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck, TlsOptions,
        },
    },
    kind::{CodecClientType, Int64Range},
};

/// All statuses: one that is not expected counts towards the threshold, where Envoy's own rule is
/// that it makes an endpoint unhealthy at once.
const ANY_STATUS: Int64Range = Int64Range { start: 100, end: 600 };

/// Makes the checks of a service: none where our probes tell.
pub(super) fn checks(service: &Service) -> Vec<core::HealthCheck> {
    let check = service.health_check.as_ref().filter(|check| check.by == CheckedBy::Envoy);
    check.map(|check| made(service, check)).into_iter().collect()
}

fn made(service: &Service, check: &HealthCheck) -> core::HealthCheck {
    let interval = Some(pb::duration(check.interval));
    let auto = service.upstream.protocol == Some(HttpProtocol::Auto);
    core::HealthCheck {
        timeout: Some(pb::duration(check.timeout)),
        interval,
        // Envoy's own minute would let a service that nobody has asked for yet look well.
        no_traffic_interval: interval,
        interval_jitter_percent: check.jitter_percent.unwrap_or(0),
        unhealthy_threshold: Some(pb::uint32(check.unhealthy_threshold)),
        healthy_threshold: Some(pb::uint32(check.healthy_threshold)),
        // The checker speaks one protocol, so it must not be offered another.
        tls_options: auto.then(|| TlsOptions { alpn_protocols: vec!["http/1.1".into()] }),
        health_checker: Some(checker(service, &check.probe)),
        ..Default::default()
    }
}

fn checker(service: &Service, probe: &Probe) -> HealthChecker {
    let named = || service.dns.as_ref().map(|dns| dns.name.clone());
    match probe {
        Probe::Tcp {} => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
        Probe::Http { path, host, expected_statuses } => {
            let http2 = service.upstream.protocol == Some(HttpProtocol::Http2);
            let codec = if http2 { CodecClientType::Http2 } else { CodecClientType::Http1 };
            let one = |status: &u16| Int64Range {
                start: i64::from(*status),
                end: i64::from(*status) + 1,
            };
            HealthChecker::HttpHealthCheck(HttpHealthCheck {
                host: host.clone().or_else(named).unwrap_or_default(),
                path: path.clone(),
                expected_statuses: expected_statuses.iter().map(one).collect(),
                retriable_statuses: vec![ANY_STATUS],
                codec_client_type: codec as i32,
                ..Default::default()
            })
        }
        Probe::Grpc { service, authority } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.clone().unwrap_or_default(),
            authority: authority.clone().or_else(named).unwrap_or_default(),
            ..Default::default()
        }),
    }
}

/// Makes what an endpoint's own checks need: another port, and the name that they ask for where the
/// service says none.
pub(in crate::l7) fn of_endpoint(
    service: &Service,
    address: Option<std::net::IpAddr>,
) -> Option<pb::endpoint::endpoint::HealthCheckConfig> {
    let check = service.health_check.as_ref().filter(|check| check.by == CheckedBy::Envoy)?;
    let unnamed = match &check.probe {
        Probe::Tcp {} => false,
        Probe::Http { host, .. } => host.is_none(),
        Probe::Grpc { authority, .. } => authority.is_none(),
    };
    let hostname = address.filter(|_| unnamed).map(|address| match address {
        std::net::IpAddr::V4(v4) => v4.to_string(),
        std::net::IpAddr::V6(v6) => format!("[{v6}]"),
    });
    (check.port.is_some() || hostname.is_some()).then(|| {
        pb::endpoint::endpoint::HealthCheckConfig {
            port_value: check.port.map(u32::from).unwrap_or_default(),
            hostname: hostname.unwrap_or_default(),
            ..Default::default()
        }
    })
}
