//! Reads `healthCheck`.

use std::time::Duration;

use crate::{
    limits::{
        MAX_INTERVAL, MAX_NAME_BYTES, MAX_STATUSES, MAX_THRESHOLD, MIN_INTERVAL, MIN_TIMEOUT,
    },
    object::format_duration,
    parse::{
        backend::unique,
        name::host,
        pattern::target_path,
        reader::{Fields, Node, Read},
        scalar::{bounded, duration, port, status, whole, word},
    },
    service::{CheckedBy, HealthCheck, HttpProtocol, Probe, Service},
};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_UNHEALTHY_THRESHOLD: u32 = 3;
const DEFAULT_HEALTHY_THRESHOLD: u32 = 2;

const CHECKED_BY: [(&str, CheckedBy); 2] =
    [("Probes", CheckedBy::Probes), ("Envoy", CheckedBy::Envoy)];

/// A probe of ours speaks plain HTTP/1.1, and a gRPC check needs HTTP/2.
pub(super) fn fits(fields: &Fields<'_>, service: &Service) -> Read<()> {
    let Some(check) = &service.health_check else { return Ok(()) };
    let http2 = service.upstream.protocol == Some(HttpProtocol::Http2);
    let (problem, remedy) = match (&check.probe, check.by, check.port) {
        (Probe::Http { .. }, CheckedBy::Probes, None) if service.proxy_protocol.is_some() => (
            "asks by http for what waits for a PROXY header, which probes do not send",
            "write tcp: {} for http, or the port of one that takes plain HTTP",
        ),
        (Probe::Http { .. }, CheckedBy::Probes, None) if service.upstream.tls.is_some() => (
            "asks by plain http for what speaks TLS, which probes do not",
            "write by: Envoy, or tcp: {} for http, or the port of one that takes plain HTTP",
        ),
        (Probe::Http { .. }, CheckedBy::Probes, None) if http2 => (
            "asks by HTTP/1.1 for what speaks HTTP/2, which probes do not",
            "write by: Envoy, or tcp: {} for http, or the port of one that takes HTTP/1.1",
        ),
        (Probe::Grpc { .. }, CheckedBy::Envoy, _) if !http2 => {
            ("asks by gRPC, which needs HTTP/2", "write protocol: HTTP2 in the service")
        }
        _ => return Ok(()),
    };
    Err(fields.error("healthCheck", problem, remedy))
}

pub(super) fn health_check(node: &Node<'_>) -> Read<HealthCheck> {
    let fields = node.fields()?;
    let by = fields.or("by", CheckedBy::default(), |node| word(node, &CHECKED_BY));
    let probe = probe(&fields);
    let port = fields.optional("port", port);
    let interval =
        fields.or("interval", DEFAULT_INTERVAL, |node| duration(node, MIN_INTERVAL, MAX_INTERVAL));
    let timeout = fields.optional("timeout", |node| duration(node, MIN_TIMEOUT, MAX_INTERVAL));
    let threshold = |node: &Node<'_>| whole(node, 1..=MAX_THRESHOLD);
    let unhealthy = fields.or("unhealthyThreshold", DEFAULT_UNHEALTHY_THRESHOLD, threshold);
    let healthy = fields.or("healthyThreshold", DEFAULT_HEALTHY_THRESHOLD, threshold);
    let fits = match (interval, timeout) {
        (Ok(interval), Ok(Some(timeout))) if timeout > interval => {
            let message = format!("is longer than the interval of {}", format_duration(interval));
            Err(fields.error("timeout", message, "write at most the interval"))
        }
        _ => Ok(()),
    };
    let jitter = fields.optional("jitterPercent", |node| whole(node, 1..=100));
    let by_fits = match (by, &jitter, &probe) {
        (Ok(CheckedBy::Probes), Ok(Some(_)), _) => {
            let problem = "is of Envoy's own checks; probes spread by themselves";
            Err(fields.error("jitterPercent", problem, "write by: Envoy, or remove it"))
        }
        (Ok(CheckedBy::Probes), _, Ok(Probe::Grpc { .. })) => {
            let problem = "is what Envoy's own checks can send, and our probes cannot";
            Err(fields.error("grpc", problem, "write by: Envoy, or tcp: {}"))
        }
        _ => Ok(()),
    };
    let known = fields.finish();
    let interval = interval?;
    let health_check = HealthCheck {
        by: by?,
        probe: probe?,
        port: port?,
        interval,
        timeout: timeout?.unwrap_or(DEFAULT_PROBE_TIMEOUT.min(interval)),
        unhealthy_threshold: unhealthy?,
        healthy_threshold: healthy?,
        jitter_percent: jitter?,
    };
    fits.and(by_fits).and(known).map(|()| health_check)
}

fn probe(fields: &Fields<'_>) -> Read<Probe> {
    let http = fields.optional("http", http_probe);
    let tcp = fields.optional("tcp", |node| node.fields()?.finish().map(|()| Probe::Tcp {}));
    let grpc = fields.optional("grpc", grpc_probe);
    let (http, tcp, grpc) = (http?, tcp?, grpc?);
    match (http, tcp, grpc) {
        (Some(probe), None, None) | (None, Some(probe), None) | (None, None, Some(probe)) => {
            Ok(probe)
        }
        (None, None, None) => {
            let remedy = "add http: {path: /healthz} or tcp: {}";
            Err(fields.node().error("says not what to send", remedy))
        }
        (Some(_), Some(_), _) => {
            Err(fields.error("tcp", "stands beside http", "keep one of http and tcp"))
        }
        (_, _, Some(_)) => {
            Err(fields.error("grpc", "stands beside another", "keep one of http, tcp and grpc"))
        }
    }
}

fn grpc_probe(node: &Node<'_>) -> Read<Probe> {
    let fields = node.fields()?;
    let service = fields.optional("service", |node| bounded(node, 1, MAX_NAME_BYTES));
    let authority = fields.optional("authority", host);
    let known = fields.finish();
    let probe = Probe::Grpc { service: service?, authority: authority? };
    known.map(|()| probe)
}

fn http_probe(node: &Node<'_>) -> Read<Probe> {
    let fields = node.fields()?;
    let path = fields.required("path", "a path such as /healthz", target_path);
    let host = fields.optional("host", host);
    let expected_statuses = fields.or("expectedStatuses", vec![200], statuses);
    let known = fields.finish();
    let probe = Probe::Http { path: path?, host: host?, expected_statuses: expected_statuses? };
    known.map(|()| probe)
}

fn statuses(node: &Node<'_>) -> Read<Vec<u16>> {
    let items = node.items(1, MAX_STATUSES, status)?;
    unique(node, &items, |status| status)?;
    items.into_iter().collect()
}
