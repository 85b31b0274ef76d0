//! Reads the access logs of a listener.

use std::collections::BTreeMap;

use crate::{
    limits::MAX_LOG_FIELDS,
    listener::{
        AccessLog,
        access_log::{LogTarget, Otlp},
    },
    parse::{
        header::logged_name,
        name::reference,
        pattern::target_path,
        reader::{Fields, Node, Read},
        scalar::{file, whole},
    },
};

const DEFAULT_PATH: &str = "/v1/logs";

pub(super) fn access_log(node: &Node<'_>, namespace: &str) -> Read<AccessLog> {
    let fields = node.fields()?;
    let to = target(&fields, namespace);
    let headers = fields.or("headers", BTreeMap::new(), headers);
    let min_status = fields.optional("minStatus", |node| whole(node, 100..=599));
    let sample_percent = fields.or("samplePercent", 100, |node| whole(node, 1..=100));
    let known = fields.finish();
    let min_status =
        min_status?.map(|status| u16::try_from(status).expect("the range is that of statuses"));
    let log = AccessLog { to: to?, headers: headers?, min_status, sample_percent: sample_percent? };
    known.map(|()| log)
}

fn target(fields: &Fields<'_>, namespace: &str) -> Read<LogTarget> {
    let file = fields.optional("file", |node| file(node).map(LogTarget::File));
    let stdout =
        fields.optional("stdout", |node| node.fields()?.finish().map(|()| LogTarget::Stdout {}));
    let otlp = fields.optional("otlp", |node| otlp(node, namespace).map(LogTarget::Otlp));
    let mut targets = [file?, stdout?, otlp?].into_iter().flatten();
    let one = targets.next();
    if targets.next().is_some() {
        let remedy = "keep one of file, stdout and otlp, and write another log for the other";
        return Err(fields.node().error("goes to several places", remedy));
    }
    one.ok_or_else(|| {
        let remedy = "add file: /var/log/…, stdout: {} or otlp: {service: {name: …}}";
        fields.node().error("goes nowhere", remedy)
    })
}

fn otlp(node: &Node<'_>, namespace: &str) -> Read<Otlp> {
    let fields = node.fields()?;
    let service = fields.required("service", "{name: …}, the service of the collector", |node| {
        reference(node, namespace)
    });
    let path = fields.or("path", DEFAULT_PATH.to_owned(), target_path);
    let known = fields.finish();
    let otlp = Otlp { service: service?, path: path? };
    known.map(|()| otlp)
}

/// Reads field names with the headers that they show.
fn headers(node: &Node<'_>) -> Read<BTreeMap<String, String>> {
    let entries = node.entries(|name, node| {
        let header = logged_name(node)?;
        let plain = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !plain {
            let remedy = "name the field with up to 64 letters, digits, _ and -";
            return Err(node.error("stands under a name that is none of a field", remedy));
        }
        Ok((name.to_owned(), header))
    })?;
    if entries.len() > MAX_LOG_FIELDS {
        let message = format!("has {} fields", entries.len());
        return Err(node.error(message, format!("write at most {MAX_LOG_FIELDS}")));
    }
    Ok(entries.into_iter().collect())
}
