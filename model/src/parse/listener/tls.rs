//! Reads `tls` of a `Listener`.

use std::collections::HashSet;

use super::{
    super::{
        backend::unique,
        certificate::files,
        name::reference,
        reader::{Fields, Node, Read},
        scalar::tls_version,
    },
    clients::clients,
};
use crate::{
    limits::MAX_CERTIFICATES,
    listener::{CertificateFiles, ListenerTls, Protocol},
    route::Reference,
    tls::TlsVersion,
};

pub(super) fn tls(node: &Node<'_>, namespace: &str) -> Read<ListenerTls> {
    let fields = node.fields()?;
    let named = fields.has("certificates");
    let certificate = match named {
        true => only_named(&fields),
        false => files(&fields).map(Some),
    };
    let more = fields.or("moreCertificates", Vec::new(), more_certificates);
    let certificates = fields.or("certificates", Vec::new(), |node| certificates(node, namespace));
    let version = |name| fields.optional(name, tls_version);
    let (min_version, max_version) = (version("minVersion"), version("maxVersion"));
    let clients = fields.optional("clients", clients);
    let versions_fit = match (min_version, max_version) {
        (Ok(Some(TlsVersion::V1_3)), Ok(Some(TlsVersion::V1_2))) => {
            let remedy = "write maxVersion: \"1.3\", or remove one of them";
            Err(fields.error("maxVersion", "is older than minVersion", remedy))
        }
        _ => Ok(()),
    };
    let twice = match (&certificate, &more) {
        (Ok(Some(certificate)), Ok(more)) => once_each(&fields, certificate, more),
        _ => Ok(()),
    };
    let known = fields.finish();
    let tls = ListenerTls {
        certificate: certificate?,
        more_certificates: more?,
        certificates: certificates?,
        min_version: min_version?,
        max_version: max_version?,
        clients: clients?,
    };
    versions_fit.and(twice).and(known).map(|()| tls)
}

/// Tells whether `tls` is there exactly where it is needed.
pub(super) fn fits(fields: &Fields<'_>, protocol: Protocol) -> Read<()> {
    match (protocol, fields.has("tls")) {
        (Protocol::Https, false) => {
            Err(fields.missing("tls", "the certificates, which HTTPS needs"))
        }
        (Protocol::Https, true) | (_, false) => Ok(()),
        (Protocol::Tls, true) => {
            let problem = "is where TLS ends, and it passes through a TLS listener";
            let remedy = "remove it (endpoints have the certificates), or write protocol: HTTPS";
            Err(fields.error("tls", problem, remedy))
        }
        (_, true) => {
            let remedy = "remove it, or write protocol: HTTPS";
            Err(fields.error("tls", "only HTTPS listeners have certificates", remedy))
        }
    }
}

/// Refuses files beside named certificates.
fn only_named(fields: &Fields<'_>) -> Read<Option<CertificateFiles>> {
    let of_files = ["certificateFile", "privateKeyFile", "moreCertificates"];
    match of_files.into_iter().find(|name| fields.has(name)) {
        None => Ok(None),
        Some(name) => {
            of_files.into_iter().for_each(|name| fields.pass_over(name));
            let remedy = "make it a Certificate too, or remove certificates";
            Err(fields.error(
                name,
                "stands beside certificates, which are in place of files",
                remedy,
            ))
        }
    }
}

fn certificates(node: &Node<'_>, namespace: &str) -> Read<Vec<Reference>> {
    let items = node.items(1, MAX_CERTIFICATES, |node| reference(node, namespace))?;
    unique(node, &items, |reference| reference)?;
    items.into_iter().collect()
}

fn more_certificates(node: &Node<'_>) -> Read<Vec<CertificateFiles>> {
    let read = node.items(0, MAX_CERTIFICATES - 1, |node| {
        let fields = node.fields()?;
        let certificate = files(&fields);
        fields.finish().and(certificate)
    })?;
    read.into_iter().collect()
}

/// Refuses a certificate that is named twice.
fn once_each(
    fields: &Fields<'_>,
    certificate: &CertificateFiles,
    more: &[CertificateFiles],
) -> Read<()> {
    let mut seen = HashSet::from([&certificate.certificate_file]);
    for one in more {
        if !seen.insert(&one.certificate_file) {
            let problem = format!("names {} twice", one.certificate_file);
            return Err(fields.error("moreCertificates", problem, "remove one of them"));
        }
    }
    Ok(())
}
