//! Reads `tls`.

use std::net::IpAddr;

use crate::{
    limits::{MAX_ALPN, MAX_ALPN_BYTES, MAX_SUBJECT_ALT_NAMES, MAX_URI_BYTES},
    parse::{
        backend::unique,
        name::host,
        reader::{Fields, Node, Read},
        scalar::{boolean, bounded, file, tls_version, unicast},
    },
    service::{SubjectAltName, UpstreamTls},
    tls::TlsVersion,
};

/// Reads TLS; `name` is what endpoints are found by, which is asked for unless another name is given.
pub(super) fn tls(node: &Node<'_>, name: Option<&str>) -> Read<UpstreamTls> {
    let fields = node.fields()?;
    let server_name = fields.optional("serverName", host);
    let ca_file = fields.optional("caFile", file);
    let subject_alt_names = fields.or("subjectAltNames", Vec::new(), subject_alt_names);
    let certificate_file = fields.optional("certificateFile", file);
    let private_key_file = fields.optional("privateKeyFile", file);
    let min_version = fields.or("minVersion", TlsVersion::default(), tls_version);
    let alpn = fields.or("alpn", Vec::new(), alpn);
    let any = fields.or("dangerouslyAcceptAnyCertificate", false, boolean);
    let pair = pair_fits(&fields);
    let trust = match any {
        Ok(any) => trust_fits(&fields, any, name.is_some()),
        Err(_) => Ok(()),
    };
    let known = fields.finish();
    let tls = UpstreamTls {
        server_name: server_name?.or_else(|| name.map(str::to_owned)),
        ca_file: ca_file?,
        subject_alt_names: subject_alt_names?,
        certificate_file: certificate_file?,
        private_key_file: private_key_file?,
        min_version: min_version?,
        alpn: alpn?,
        dangerously_accept_any_certificate: any?,
    };
    pair.and(trust).and(known).map(|()| tls)
}

fn pair_fits(fields: &Fields<'_>) -> Read<()> {
    match (fields.has("certificateFile"), fields.has("privateKeyFile")) {
        (true, false) => Err(fields.missing("privateKeyFile", "the key of certificateFile")),
        (false, true) => Err(fields.missing("certificateFile", "the chain of privateKeyFile")),
        _ => Ok(()),
    }
}

/// Whom to believe is said, or else that nobody is checked; never both and never neither.
fn trust_fits(fields: &Fields<'_>, any: bool, has_name: bool) -> Read<()> {
    if !any {
        let named = has_name || fields.has("serverName") || fields.has("subjectAltNames");
        return if named {
            Ok(())
        } else {
            let wanted = "the name that the certificate must be for, or subjectAltNames";
            Err(fields.missing("serverName", wanted))
        };
    }
    let mut fits = Ok(());
    for field in ["caFile", "subjectAltNames"] {
        if fields.has(field) {
            let problem = "says whom to believe, beside dangerouslyAcceptAnyCertificate";
            fits = Err(fields.error(field, problem, "keep one of them"));
        }
    }
    fits
}

fn subject_alt_names(node: &Node<'_>) -> Read<Vec<SubjectAltName>> {
    let items = node.items(1, MAX_SUBJECT_ALT_NAMES, subject_alt_name)?;
    unique(node, &items, |name| name)?;
    items.into_iter().collect()
}

fn subject_alt_name(node: &Node<'_>) -> Read<SubjectAltName> {
    let fields = node.fields()?;
    let dns = fields.optional("dns", host);
    let uri = fields.optional("uri", |node| bounded(node, 1, MAX_URI_BYTES));
    let ip = fields.optional("ip", unicast);
    let known = fields.finish();
    let given = [
        dns?.map(SubjectAltName::Dns),
        uri?.map(SubjectAltName::Uri),
        ip?.map(|ip: IpAddr| SubjectAltName::Ip(ip)),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(name), None) => known.map(|()| name),
        _ => Err(node.error(
            "is not exactly one of dns, uri and ip",
            "write one, such as {dns: payments.internal}",
        )),
    }
}

fn alpn(node: &Node<'_>) -> Read<Vec<String>> {
    let items = node.items(1, MAX_ALPN, |node| bounded(node, 1, MAX_ALPN_BYTES))?;
    unique(node, &items, |name| name)?;
    items.into_iter().collect()
}
