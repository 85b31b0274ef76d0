//! Certificates: who issued them, for which hosts, until when.

use model::api::{CertificateFailure, CertificateInfo, CertificateState};

use super::time;
use crate::cli::table;

const HEADINGS: [&str; 8] =
    ["NAMESPACE", "NAME", "STATE", "ISSUER", "HOSTS", "VALID UNTIL", "RENEWS", "FAILURE"];

/// Lays out certificates.
#[must_use]
pub fn table(certificates: &[CertificateInfo]) -> String {
    if certificates.is_empty() {
        return "no Certificate yet\n".to_owned();
    }
    let rows: Vec<_> = certificates.iter().map(row).collect();
    table::render(&HEADINGS, &rows)
}

fn row(info: &CertificateInfo) -> Vec<String> {
    let state = match info.state {
        CertificateState::Files => "files",
        CertificateState::Pending => "pending",
        CertificateState::Issued => "issued",
    };
    let issuer = info.issuer.as_ref().map(|issuer| format!("{}/{}", issuer.namespace, issuer.name));
    vec![
        info.certificate.namespace.clone(),
        info.certificate.name.clone(),
        state.to_owned(),
        issuer.unwrap_or_default(),
        info.hosts.join(","),
        info.not_after_ms.map(time).unwrap_or_default(),
        info.renews_ms.map(time).unwrap_or_default(),
        info.failure.as_ref().map(failure).unwrap_or_default(),
    ]
}

fn failure(failure: &CertificateFailure) -> String {
    let CertificateFailure { reason, attempts, next_ms, .. } = failure;
    format!("{attempts}, next {}: {reason}", time(*next_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_one_line() {
        let key = |key: &str| key.parse().unwrap();
        let files = CertificateInfo::new(key("Certificate/default/old"), CertificateState::Files);
        let issued = CertificateInfo {
            issuer: Some(key("Issuer/default/own")),
            hosts: vec!["a.example".into(), "b.example".into()],
            not_after_ms: Some(86_400_000),
            renews_ms: Some(1_000),
            failure: Some(CertificateFailure {
                reason: "no".into(),
                attempts: 2,
                at_ms: 0,
                next_ms: 5_000,
            }),
            ..CertificateInfo::new(key("Certificate/default/shop"), CertificateState::Issued)
        };
        let expected = "\
NAMESPACE  NAME  STATE   ISSUER       HOSTS                VALID UNTIL           RENEWS                FAILURE
default    old   files   -            -                    -                     -                     -
default    shop  issued  default/own  a.example,b.example  1970-01-02 00:00:00Z  1970-01-01 00:00:01Z  2, next 1970-01-01 00:00:05Z: no
";
        assert_eq!(table(&[files, issued]), expected);
        assert_eq!(table(&[]), "no Certificate yet\n");
    }
}
