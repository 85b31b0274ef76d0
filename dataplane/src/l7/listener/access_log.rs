//! Access logs: which fields a line has, and where it goes.
//!
//! The fields and their names are the same for files, the standard output and OTLP.

use std::sync::Arc;

use model::listener::{
    AccessLog, Protocol,
    access_log::{LogTarget, Otlp},
};

use crate::l7::{
    names,
    pb::{self, access_log, access_log_file, access_log_otlp, access_log_stream, core, otlp},
};

/// How long a collector may take for a batch; what it does not take in time is lost.
const COLLECTOR_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Fields of HTTP requests and of TCP connections, with Envoy's commands.
const COMMON: [(&str, &str); 10] = [
    ("time", "%START_TIME%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("local", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration_ms", "%DURATION%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("service", "%UPSTREAM_CLUSTER%"),
    ("endpoint", "%UPSTREAM_HOST%"),
    ("failure", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];
/// Further ones of HTTP requests. Paths are logged with their queries, headers with secrets never.
const OF_HTTP: [(&str, &str); 10] = [
    ("method", "%REQ(:METHOD)%"),
    ("host", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("status", "%RESPONSE_CODE%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("route", "%ROUTE_NAME%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("response_ms", "%RESPONSE_DURATION%"),
];
/// Further ones where TLS ends.
const OF_TLS: [(&str, &str); 2] =
    [("tls_version", "%DOWNSTREAM_TLS_VERSION%"), ("sni", "%REQUESTED_SERVER_NAME%")];
/// Further ones where TLS passes through; a chain has the name of its route.
const OF_PASSED_TLS: [(&str, &str); 2] =
    [("route", "%FILTER_CHAIN_NAME%"), ("sni", "%REQUESTED_SERVER_NAME%")];

/// Makes the access log of a listener; `listener` is what its lines call it.
pub(super) fn access_log(
    log: &AccessLog,
    listener: &str,
    protocol: Protocol,
) -> access_log::AccessLog {
    let fields = fields(log, listener, protocol);
    let (name, config) = match &log.to {
        LogTarget::File(path) => {
            let format = json(fields);
            let file = access_log_file::FileAccessLog {
                path: path.clone(),
                access_log_format: Some(
                    access_log_file::file_access_log::AccessLogFormat::LogFormat(format),
                ),
            };
            ("file", pb::any(&file))
        }
        LogTarget::Stdout {} => {
            let stream = access_log_stream::StdoutAccessLog {
                access_log_format: Some(
                    access_log_stream::stdout_access_log::AccessLogFormat::LogFormat(json(fields)),
                ),
            };
            ("stdout", pb::any(&stream))
        }
        LogTarget::Otlp(to) => ("open_telemetry", pb::any(&open_telemetry(to, fields))),
    };
    access_log::AccessLog {
        name: format!("envoy.access_loggers.{name}"),
        filter: filter(log),
        config_type: Some(access_log::access_log::ConfigType::TypedConfig(config)),
    }
}

/// The services that logs go to.
pub(super) fn clusters(logs: &[AccessLog]) -> impl Iterator<Item = Arc<str>> {
    logs.iter().filter_map(|log| match &log.to {
        LogTarget::Otlp(otlp) => Some(names::reference(&otlp.service)),
        LogTarget::File(_) | LogTarget::Stdout {} => None,
    })
}

type Fields = Vec<(String, String)>;

fn fields(log: &AccessLog, listener: &str, protocol: Protocol) -> Fields {
    let own = |fields: &[(&str, &str)]| -> Fields {
        fields.iter().map(|(name, command)| ((*name).to_owned(), (*command).to_owned())).collect()
    };
    let mut all = own(&COMMON);
    all.push(("listener".to_owned(), listener.to_owned()));
    if protocol.is_http() {
        all.extend(own(&OF_HTTP));
    }
    match protocol {
        Protocol::Https => all.extend(own(&OF_TLS)),
        Protocol::Tls => all.extend(own(&OF_PASSED_TLS)),
        Protocol::Http | Protocol::Tcp | Protocol::Udp => {}
    }
    let header = |(name, header): (&String, &String)| (name.clone(), format!("%REQ({header})%"));
    all.extend(log.headers.iter().map(header));
    all
}

/// A line of JSON; numbers are numbers, and what is not there is null.
fn json(fields: Fields) -> core::SubstitutionFormatString {
    let text = |command| pb::Value { kind: Some(pb::value::Kind::StringValue(command)) };
    let fields = fields.into_iter().map(|(name, command)| (name, text(command)));
    core::SubstitutionFormatString {
        format: Some(core::substitution_format_string::Format::JsonFormat(pb::Struct {
            fields: fields.collect(),
        })),
        ..Default::default()
    }
}

fn open_telemetry(to: &Otlp, fields: Fields) -> access_log_otlp::OpenTelemetryAccessLogConfig {
    let text = |command: String| otlp::AnyValue {
        value: Some(otlp::any_value::Value::StringValue(command)),
    };
    let attributes = fields.into_iter().map(|(key, command)| otlp::KeyValue {
        key,
        value: Some(text(command)),
        ..Default::default()
    });
    let cluster = names::reference(&to.service).to_string();
    access_log_otlp::OpenTelemetryAccessLogConfig {
        http_service: Some(core::HttpService {
            http_uri: Some(core::HttpUri {
                uri: format!("http://{}{}", to.service.name, to.path),
                timeout: Some(pb::duration(COLLECTOR_TIMEOUT)),
                http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster)),
            }),
            ..Default::default()
        }),
        attributes: Some(otlp::KeyValueList { values: attributes.collect() }),
        body: Some(text("access".to_owned())),
        ..Default::default()
    }
}

/// Which requests are written.
fn filter(log: &AccessLog) -> Option<access_log::AccessLogFilter> {
    use access_log::{
        AccessLogFilter, AndFilter, ComparisonFilter, RuntimeFilter, StatusCodeFilter,
        access_log_filter::FilterSpecifier, comparison_filter::Op,
    };
    let status = log.min_status.map(|status| {
        FilterSpecifier::StatusCodeFilter(StatusCodeFilter {
            comparison: Some(ComparisonFilter {
                op: Op::Ge as i32,
                // Envoy wants a name under which its runtime could override it; nothing does.
                value: Some(core::RuntimeUInt32 {
                    default_value: status.into(),
                    runtime_key: "marchproxy.access_log.min_status".into(),
                }),
            }),
        })
    });
    let sample = (log.sample_percent < 100).then(|| {
        FilterSpecifier::RuntimeFilter(RuntimeFilter {
            runtime_key: "marchproxy.access_log.sample".into(),
            percent_sampled: Some(pb::percent(log.sample_percent)),
            use_independent_randomness: true,
        })
    });
    let mut filters: Vec<AccessLogFilter> = [status, sample]
        .into_iter()
        .flatten()
        .map(|specifier| AccessLogFilter { filter_specifier: Some(specifier) })
        .collect();
    match filters.len() {
        0 | 1 => filters.pop(),
        _ => Some(AccessLogFilter {
            filter_specifier: Some(FilterSpecifier::AndFilter(AndFilter { filters })),
        }),
    }
}
