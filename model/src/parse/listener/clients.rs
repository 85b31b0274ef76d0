//! Reads `tls.clients` of a `Listener`.

use std::path::Path;

use super::super::{
    backend::unique,
    name::host,
    reader::{Fields, Node, Read},
    scalar::{bounded, file, unicast, word},
};
use crate::{
    limits::{MAX_NAME_BYTES, MAX_SUBJECT_ALT_NAMES, MAX_URI_BYTES},
    listener::{ClientCertificateMode, ClientCertificates, ClientName, ForwardedDetail, NameMatch},
};

const MODES: [(&str, ClientCertificateMode); 2] =
    [("Required", ClientCertificateMode::Required), ("Optional", ClientCertificateMode::Optional)];

const DETAILS: [(&str, ForwardedDetail); 6] = [
    ("Hash", ForwardedDetail::Hash),
    ("Subject", ForwardedDetail::Subject),
    ("DNS", ForwardedDetail::Dns),
    ("URI", ForwardedDetail::Uri),
    ("Certificate", ForwardedDetail::Certificate),
    ("Chain", ForwardedDetail::Chain),
];

pub(super) fn clients(node: &Node<'_>) -> Read<ClientCertificates> {
    let fields = node.fields()?;
    let ca_file = fields.required("caFile", "the path of the authorities to trust (PEM)", file);
    let crl_file = fields.optional("crlFile", file);
    let mode = fields.or("mode", ClientCertificateMode::default(), |node| word(node, &MODES));
    let subject_alt_names =
        fields.or("subjectAltNames", Vec::new(), |node| list(node, MAX_SUBJECT_ALT_NAMES, name));
    let forward = fields
        .or("forward", Vec::new(), |node| list(node, DETAILS.len(), |node| word(node, &DETAILS)));
    let together = match (&ca_file, &crl_file) {
        (Ok(ca), Ok(Some(crl))) if Path::new(ca).parent() != Path::new(crl).parent() => {
            let problem = "is in another directory than caFile, whose renames alone are seen";
            Err(fields.error("crlFile", problem, "put it beside caFile"))
        }
        _ => Ok(()),
    };
    // Envoy lets nobody in without one of the names.
    let names_fit = match mode {
        Ok(ClientCertificateMode::Optional) if fields.has("subjectAltNames") => {
            let problem = "is what every client must have, and mode is Optional";
            Err(fields.error("subjectAltNames", problem, "remove it, or write mode: Required"))
        }
        _ => Ok(()),
    };
    let known = fields.finish();
    let clients = ClientCertificates {
        ca_file: ca_file?,
        crl_file: crl_file?,
        mode: mode?,
        subject_alt_names: subject_alt_names?,
        forward: forward?,
    };
    together.and(names_fit).and(known).map(|()| clients)
}

/// Reads at least one item, none twice.
fn list<T: PartialEq>(
    node: &Node<'_>,
    most: usize,
    item: impl Fn(&Node<'_>) -> Read<T>,
) -> Read<Vec<T>> {
    let items = node.items(1, most, item)?;
    unique(node, &items, |item| item)?;
    items.into_iter().collect()
}

fn name(node: &Node<'_>) -> Read<ClientName> {
    let fields = node.fields()?;
    let dns = fields.optional("dns", |node| matching(node, host, MAX_NAME_BYTES, dns_part));
    let uri = fields.optional("uri", |node| matching(node, uri, MAX_URI_BYTES, uri_part));
    let email = fields.optional("email", |node| matching(node, email, MAX_NAME_BYTES, email_part));
    let ip = fields.optional("ip", unicast);
    let known = fields.finish();
    let given = [
        dns?.map(ClientName::Dns),
        uri?.map(ClientName::Uri),
        email?.map(ClientName::Email),
        ip?.map(ClientName::Ip),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(name), None) => known.map(|()| name),
        _ => Err(node.error(
            "is not exactly one of dns, uri, email and ip",
            "write one, such as {uri: {prefix: \"spiffe://shop.example/\"}}",
        )),
    }
}

/// Says what is wrong with a part of a name, and what to write: nobody else's names may fit it.
type Fault = (&'static str, &'static str);

fn matching(
    node: &Node<'_>,
    whole: impl Fn(&Node<'_>) -> Read<String>,
    most: usize,
    fault: impl Fn(&NameMatch) -> Option<Fault>,
) -> Read<NameMatch> {
    let fields = node.fields()?;
    let part = |field: &'static str, make: fn(String) -> NameMatch| {
        fields.optional(field, |node| {
            let part = make(bounded(node, 1, most)?);
            match fault(&part) {
                Some((problem, remedy)) => Err(node.error(problem, remedy)),
                None => Ok(part),
            }
        })
    };
    let exact = fields.optional("exact", whole);
    let prefix = part("prefix", NameMatch::Prefix);
    let suffix = part("suffix", NameMatch::Suffix);
    let known = fields.finish();
    let mut given = [exact?.map(NameMatch::Exact), prefix?, suffix?].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(name), None) => known.map(|()| name),
        _ => Err(one_of(&fields)),
    }
}

fn one_of(fields: &Fields<'_>) -> super::super::reader::Reported {
    let problem = "is not exactly one of exact, prefix and suffix";
    fields.node().error(problem, "write one, such as {exact: …}")
}

fn dns_part(part: &NameMatch) -> Option<Fault> {
    match part {
        NameMatch::Suffix(suffix) if !suffix.starts_with('.') => {
            Some(("does not begin with a dot, so other domains end with it", "write .shop.example"))
        }
        _ => None,
    }
}

fn uri_part(part: &NameMatch) -> Option<Fault> {
    match part {
        NameMatch::Prefix(prefix) => match prefix.split_once("://") {
            Some((_, rest)) if rest.contains('/') => None,
            None if prefix.contains(':') => None,
            _ => Some((
                "does not hold a whole trust domain, so others begin with it",
                "write a slash behind it, such as spiffe://shop.example/",
            )),
        },
        _ => None,
    }
}

fn email_part(part: &NameMatch) -> Option<Fault> {
    match part {
        NameMatch::Suffix(suffix) if !suffix.contains('@') => {
            Some(("has no @, so other domains end with it", "write @shop.example"))
        }
        _ => None,
    }
}

fn uri(node: &Node<'_>) -> Read<String> {
    let text = bounded(node, 1, MAX_URI_BYTES)?;
    if text.contains(':') {
        return Ok(text);
    }
    Err(node.error("has no scheme", "write a URI such as spiffe://shop.example/cart"))
}

fn email(node: &Node<'_>) -> Read<String> {
    let text = bounded(node, 1, MAX_NAME_BYTES)?;
    if text.contains('@') {
        return Ok(text);
    }
    Err(node.error("has no @", "write an address such as ops@shop.example"))
}
