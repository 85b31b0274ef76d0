//! Reads the specs of a `Certificate` and of an `Issuer`.

use std::time::Duration;

use super::{
    backend::unique,
    name::{host_pattern, reference},
    reader::{Fields, Node, Read},
    scalar::{boolean, bounded, duration, file, word},
};
use crate::{
    certificate::{Acme, AcmeChallenge, Certificate, Issued, Issuer},
    limits::{
        MAX_CERTIFICATE_HOSTS, MAX_CERTIFICATE_LIFETIME, MAX_CONTACTS, MAX_EMAIL_BYTES,
        MAX_URI_BYTES, MIN_CERTIFICATE_LIFETIME,
    },
    listener::CertificateFiles,
};

/// The shortest time between an issue and the next.
const MIN_RENEWAL: Duration = Duration::from_secs(1);
const CHALLENGES: [(&str, AcmeChallenge); 2] =
    [("HTTP-01", AcmeChallenge::Http01), ("TLS-ALPN-01", AcmeChallenge::TlsAlpn01)];
/// What is written for files.
const FILES: [&str; 2] = ["certificateFile", "privateKeyFile"];

pub(super) fn certificate(node: &Node<'_>, namespace: &str) -> Read<Certificate> {
    let fields = node.fields()?;
    let of_files = FILES.into_iter().any(|name| fields.has(name));
    let certificate = match (of_files, fields.has("issuer")) {
        (true, true) => {
            let problem = "stands beside an issuer, and only one of them makes the certificate";
            let name = FILES.into_iter().find(|name| fields.has(name)).unwrap_or(FILES[0]);
            return Err(fields.error(name, problem, "remove one of them"));
        }
        (true, false) => files(&fields).map(Certificate::Files),
        (false, true) => issued(&fields, namespace).map(Certificate::Issued),
        (false, false) => {
            let remedy = "add issuer and hosts, or certificateFile and privateKeyFile";
            return Err(node.error("comes from nowhere", remedy));
        }
    };
    fields.finish().and(certificate)
}

/// Reads the paths of a certificate and of its key.
pub(super) fn files(fields: &Fields<'_>) -> Read<CertificateFiles> {
    let certificate_file =
        fields.required("certificateFile", "the path of the PEM certificate chain", file);
    let private_key_file =
        fields.required("privateKeyFile", "the path of the PEM private key", file);
    Ok(CertificateFiles {
        certificate_file: certificate_file?,
        private_key_file: private_key_file?,
    })
}

fn issued(fields: &Fields<'_>, namespace: &str) -> Read<Issued> {
    let issuer = fields.required("issuer", "the name of an Issuer", |n| reference(n, namespace));
    let hosts = fields.required("hosts", "the names that it is for", |node| {
        let items = node.items(1, MAX_CERTIFICATE_HOSTS, certified_host)?;
        unique(node, &items, |host| host)?;
        items.into_iter().collect::<Read<Vec<_>>>()
    });
    let lifetime = fields.or("lifetime", Issued::DEFAULT_LIFETIME, |node| {
        duration(node, MIN_CERTIFICATE_LIFETIME, MAX_CERTIFICATE_LIFETIME)
    });
    let renew_before = fields.optional("renewBefore", |node| {
        // More, and each is renewed as soon as it is there.
        let lifetime = lifetime.unwrap_or(MAX_CERTIFICATE_LIFETIME);
        duration(node, MIN_RENEWAL, Duration::from_secs((lifetime * 2 / 3).as_secs()))
    });
    let lifetime = lifetime?;
    Ok(Issued {
        issuer: issuer?,
        hosts: hosts?,
        lifetime,
        renew_before: renew_before?.unwrap_or(Issued::default_renewal(lifetime)),
    })
}

fn certified_host(node: &Node<'_>) -> Read<String> {
    let host = host_pattern(node)?;
    if host == "*" {
        return Err(node.error("is every host", "write hosts, or *. and a domain"));
    }
    Ok(host)
}

pub(super) fn issuer(node: &Node<'_>) -> Read<Issuer> {
    let fields = node.fields()?;
    let internal = fields.optional("internal", |node| node.fields()?.finish());
    let acme = fields.optional("acme", acme);
    fields.finish()?;
    match (internal?, acme?) {
        (Some(()), None) => Ok(Issuer::Internal {}),
        (None, Some(acme)) => Ok(Issuer::Acme(acme)),
        (Some(()), Some(_)) => Err(node.error("signs in two ways", "keep internal or acme")),
        (None, None) => Err(node.error("signs in no way", "add internal: {}, or acme")),
    }
}

fn acme(node: &Node<'_>) -> Read<Acme> {
    let fields = node.fields()?;
    let server = fields.required("server", "the URL of the directory", directory);
    let contact = fields.or("contact", Vec::new(), |node| {
        let items = node.items(0, MAX_CONTACTS, email)?;
        unique(node, &items, |address| address)?;
        items.into_iter().collect::<Read<Vec<_>>>()
    });
    let ca_file = fields.optional("caFile", file);
    let wanted = "true, where you agree to the terms of the server";
    let agreed = fields.required("termsOfServiceAgreed", wanted, |node| match boolean(node)? {
        true => Ok(true),
        false => Err(node.error("is not agreed to", "write true, or use another issuer")),
    });
    let challenge = fields.or("challenge", AcmeChallenge::default(), |n| word(n, &CHALLENGES));
    let known = fields.finish();
    let acme = Acme {
        server: server?,
        contact: contact?,
        ca_file: ca_file?,
        terms_of_service_agreed: agreed?,
        challenge: challenge?,
    };
    known.map(|()| acme)
}

/// Reads the URL of a directory.
fn directory(node: &Node<'_>) -> Read<String> {
    let url = bounded(node, 1, MAX_URI_BYTES)?;
    let remedy = "write such as https://acme-v02.api.letsencrypt.org/directory";
    let Some(rest) = url.strip_prefix("https://") else {
        return Err(node.error("is not a URL by https", remedy));
    };
    let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !plain || rest.contains('@') {
        return Err(node.error("is not a plain URL", remedy));
    }
    Ok(url)
}

fn email(node: &Node<'_>) -> Read<String> {
    let address = bounded(node, 1, MAX_EMAIL_BYTES)?;
    let parts = address.split_once('@');
    let fits = parts.is_some_and(|(local, domain)| {
        let plain = |c: char| c.is_ascii_graphic() && !"<>(),;:\\\"[]?&#%".contains(c);
        !local.is_empty()
            && domain.contains('.')
            && !domain.contains('@')
            && address.chars().all(plain)
    });
    if fits {
        Ok(address)
    } else {
        Err(node.error("is no e-mail address", "write such as ops@shop.example"))
    }
}
