//! Mistakes in certificates and issuers, and in listeners that show them.

use std::time::Duration;

use model::{Certificate, Snapshot, Spec, plan_apply, plan_delete};

use crate::checking::{check_errors, check_spec, objects};

#[test]
fn certificates() {
    let check = |spec: &str, expected: &[&str]| check_spec("Certificate", spec, expected);
    check("{ certificateFile: /a, privateKeyFile: /b }", &[]);
    check(
        "{ issuer: { name: i }, hosts: [A.example, '*.b.example'], lifetime: 60s, renewBefore: 40s }",
        &[],
    );
    check("{}", &["spec = {}: comes from nowhere"]);
    check(
        "{ certificateFile: /a, issuer: { name: i } }",
        &[
            "spec.certificateFile = \"/a\": stands beside an issuer, and only one of them makes the certificate",
        ],
    );
    check(
        "{ certificateFile: a }",
        &[
            "spec.certificateFile = \"a\": is not an absolute path",
            "spec.privateKeyFile: is missing",
        ],
    );
    check(
        "{ issuer: {}, hosts: ['*', a.example, a.example, 'a b'], lifetime: 59s, renewBefore: 60s, key: x }",
        &[
            "spec.hosts[0] = \"*\": is every host",
            "spec.hosts[2] = \"a.example\": stands in the list twice",
            "spec.hosts[3] = \"a b\": has the label \"a b\"",
            "spec.issuer.name: is missing",
            "spec.key = \"x\": is not a known field",
            "spec.lifetime = \"59s\": is too short",
        ],
    );
    check(
        "{ issuer: { name: i }, hosts: [], lifetime: 9553h }",
        &["spec.hosts = []: is empty", "spec.lifetime = \"9553h\": is too long"],
    );
    check(
        "{ issuer: { name: i }, hosts: [a.example], lifetime: 2h, renewBefore: 2h }",
        &["spec.renewBefore = \"2h\": is too long"],
    );
    check(
        "{ issuer: { name: i }, hosts: [a.example], lifetime: 60s, renewBefore: 41s }",
        &["spec.renewBefore = \"41s\": is too long"],
    );
}

#[test]
fn a_third_of_the_lifetime_is_left_at_the_renewal_where_nothing_is_said() {
    let spec = "kind: Certificate\nmetadata: { name: a }\nspec: { issuer: { name: i }, hosts: [a.example] }";
    let [object] = objects(spec).try_into().expect("one");
    let Spec::Certificate(Certificate::Issued(issued)) = object.spec else { panic!("{object:?}") };
    assert_eq!(issued.lifetime.as_secs(), 90 * 86_400);
    assert_eq!(issued.renew_before.as_secs(), 30 * 86_400);
}

#[test]
fn issuers() {
    let check = |spec: &str, expected: &[&str]| check_spec("Issuer", spec, expected);
    check("{ internal: {} }", &[]);
    check("{}", &["spec = {}: signs in no way"]);
    let agreed = "server: 'https://acme.example/dir', termsOfServiceAgreed: true";
    check(&format!("{{ acme: {{ {agreed} }} }}"), &[]);
    check(&format!("{{ acme: {{ {agreed}, contact: [a@b.example], caFile: /etc/ca.pem }} }}"), &[]);
    check(
        "{ acme: { server: 'http://a.example', contact: [a, 'mailto:a@b.example'], caFile: a } }",
        &[
            "spec.acme.caFile = \"a\": is not an absolute path",
            "spec.acme.contact[0] = \"a\": is no e-mail address",
            "spec.acme.contact[1] = \"mailto:a@b.example\": is no e-mail address",
            "spec.acme.server = \"http://a.example\": is not a URL by https",
            "spec.acme.termsOfServiceAgreed: is missing",
        ],
    );
    check(
        "{ acme: { server: 'https://me:x@a.example', termsOfServiceAgreed: false } }",
        &[
            "spec.acme.server = \"https://me:x@a.example\": is not a plain URL",
            "spec.acme.termsOfServiceAgreed = false: is not agreed to",
        ],
    );
    check("{ internal: { a: 1 } }", &["spec.internal.a = 1: is not a known field"]);
}

#[test]
fn listeners_show_files_or_certificates_that_there_are() {
    let listener = |tls: &str| format!("{{ protocol: HTTPS, port: 443, tls: {{ {tls} }} }}");
    let check = |tls: &str, expected: &[&str]| check_spec("Listener", &listener(tls), expected);
    check("certificates: [{ name: a }, { name: a, namespace: b }], minVersion: '1.3'", &[]);
    check("certificates: []", &["spec.tls.certificates = []: is empty"]);
    check(
        "certificates: [{ name: a }, { name: a, namespace: default }]",
        &[
            "spec.tls.certificates[1] = {\"name\":\"a\",\"namespace\":\"default\"}: stands in the list twice",
        ],
    );
    for field in ["certificateFile: /a", "privateKeyFile: /a", "moreCertificates: []"] {
        let (name, value) = field.split_once(": ").expect("a field");
        let value = if value == "[]" { value.to_owned() } else { format!("\"{value}\"") };
        let error = format!(
            "spec.tls.{name} = {value}: stands beside certificates, which are in place of files"
        );
        check(&format!("{field}, certificates: [{{ name: a }}]"), &[&error]);
    }

    let document = |kind: &str, name: &str, spec: &str| {
        format!("kind: {kind}\nmetadata: {{ name: {name} }}\nspec: {spec}\n---\n")
    };
    let shows = document("Listener", "web", &listener("certificates: [{ name: shop }]"));
    let shop = document("Certificate", "shop", "{ issuer: { name: own }, hosts: [a.example] }");
    let issuer = document("Issuer", "own", "{ internal: {} }");
    let empty = Snapshot::default();
    let errors = |text: &str| plan_apply(&empty, objects(text)).map(|_| ());
    check_errors(
        errors(&shows),
        &[
            "spec.tls.certificates[0].name = \"shop\": refers to Certificate/default/shop, which does not exist",
        ],
    );
    check_errors(
        errors(&(shows.clone() + &shop)),
        &["spec.issuer.name = \"own\": refers to Issuer/default/own, which does not exist"],
    );
    let present = plan_apply(&empty, objects(&(shows + &shop + &issuer))).expect("whole").next;
    for (key, error) in [
        (
            "Certificate/default/shop",
            ": is removed, and still referred to by Listener/default/web (spec.tls.certificates[0])",
        ),
        (
            "Issuer/default/own",
            ": is removed, and still referred to by Certificate/default/shop (spec.issuer)",
        ),
    ] {
        let removed = plan_delete(&present, &[key.parse().expect("a key")]);
        check_errors(removed.map(|_| ()), &[error]);
    }
}

#[test]
fn acme_gives_no_wildcards() {
    let document = |kind: &str, spec: &str| {
        format!("kind: {kind}\nmetadata: {{ name: a }}\nspec: {spec}\n---\n")
    };
    let certificate =
        document("Certificate", "{ issuer: { name: a }, hosts: [b.example, '*.b.example'] }");
    let internal = document("Issuer", "{ internal: {} }");
    let acme =
        document("Issuer", "{ acme: { server: 'https://a.example', termsOfServiceAgreed: true } }");
    let refused = "spec.hosts[1] = \"*.b.example\": is a wildcard, which Issuer/default/a cannot give: ACME gives one \
                   by DNS-01 alone, which is not answered here";
    let empty = Snapshot::default();
    let apply = |base: &Snapshot, text: &str| plan_apply(base, objects(text));
    check_errors(apply(&empty, &(certificate.clone() + &acme)).map(|_| ()), &[refused]);
    let present = apply(&empty, &(certificate + &internal)).expect("whole").next;
    let not_given = "spec.acme: gives no wildcards, and Certificate/default/a (spec.hosts[1]) asks for *.b.example";
    check_errors(apply(&present, &acme).map(|_| ()), &[not_given]);
}

#[test]
fn the_authority_chooses_a_lifetime_where_it_is_asked_by_acme() {
    let document = |kind: &str, spec: &str| {
        format!("kind: {kind}\nmetadata: {{ name: a }}\nspec: {spec}\n---\n")
    };
    let certificate = |lifetime: &str| {
        let spec = format!("{{ issuer: {{ name: a }}, hosts: [b.example]{lifetime} }}");
        document("Certificate", &spec)
    };
    let internal = document("Issuer", "{ internal: {} }");
    let acme =
        document("Issuer", "{ acme: { server: 'https://a.example', termsOfServiceAgreed: true } }");
    let empty = Snapshot::default();
    let apply = |base: &Snapshot, text: &str| plan_apply(base, objects(text));
    let week = certificate(", lifetime: 168h");
    let refused = "spec.lifetime = \"168h\": is asked for, and Issuer/default/a cannot give it: by ACME the \
                   authority chooses how long a certificate is valid";
    check_errors(apply(&empty, &(week.clone() + &acme)).map(|_| ()), &[refused]);
    let present = apply(&empty, &(week + &internal)).expect("whole").next;
    let not_given = "spec.acme: gives no lifetimes, and Certificate/default/a (spec.lifetime) asks for \"168h\"";
    check_errors(apply(&present, &acme).map(|_| ()), &[not_given]);
    let renewed_early = certificate(", renewBefore: 720h");
    check_errors(apply(&empty, &(renewed_early + &acme)).map(|_| ()), &[]);
}

#[test]
fn a_third_of_what_the_authority_gives_is_left_where_nothing_is_said() {
    let issued = |times: &str| {
        let spec = format!("{{ issuer: {{ name: i }}, hosts: [a.example]{times} }}");
        let text = format!("kind: Certificate\nmetadata: {{ name: a }}\nspec: {spec}");
        let [object] = objects(&text).try_into().expect("one");
        let Spec::Certificate(Certificate::Issued(issued)) = object.spec else {
            panic!("{object:?}")
        };
        issued
    };
    let hours = |hours| Duration::from_hours(hours);
    assert_eq!(issued("").renews_before(hours(6 * 24)), hours(2 * 24));
    assert_eq!(issued(", renewBefore: 48h").renews_before(hours(9 * 24)), hours(48));
}
