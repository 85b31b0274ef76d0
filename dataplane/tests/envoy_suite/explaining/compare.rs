//! Compares what was said of a request with the answer to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use model::explain::request::{Outcome, RequestExplanation, UpstreamRequest};

use crate::client::Answer;

/// Headers that differ from request to request, or that the test's client adds.
const NOT_COMPARED: [&str; 3] = ["host", "x-request-id", "content-length"];

/// Returns what is not as it was said to be.
pub(super) fn compare(
    said: &RequestExplanation,
    answer: &Answer,
    backends: &BTreeMap<u16, String>,
) -> Result<(), String> {
    let status = answer.status.as_u16();
    let is_lot = said.services.len() > 1 && !is_from_backend(answer);
    if is_lot {
        // The lot fell on a service that cannot serve.
        let failures: BTreeSet<u16> = said.services.iter().filter_map(|it| it.status).collect();
        let is_grpc = status == 200 && !answer.header("grpc-status").is_empty();
        if !(failures.contains(&status) || is_grpc && !failures.is_empty()) {
            return Err(format!("{status}, not one of {failures:?}"));
        }
    } else if said.outcome == Outcome::Forwarded {
        equal("status", &200, &status)?;
        if !is_from_backend(answer) {
            return Err("no backend answered".to_owned());
        }
        forwarded(said, answer, backends)?;
    } else {
        if is_from_backend(answer) {
            return Err("it was forwarded".to_owned());
        }
        equal("status", &said.status, &Some(status))?;
        let grpc = said.grpc_status.map(|status| status.to_string()).unwrap_or_default();
        equal("grpc-status", &grpc.as_str(), &answer.header("grpc-status"))?;
        equal("location", &said.location.as_deref().unwrap_or(""), &answer.header("location"))?;
        if let Some(body) = &said.body {
            equal("body", &body.as_bytes(), &&answer.body[..])?;
        }
    }
    edits(said, answer)
}

fn is_from_backend(answer: &Answer) -> bool {
    answer.body.starts_with(b"{")
}

fn forwarded(
    said: &RequestExplanation,
    answer: &Answer,
    backends: &BTreeMap<u16, String>,
) -> Result<(), String> {
    let endpoints = said.services.iter().flat_map(|service| &service.endpoints);
    let takers: BTreeSet<&str> = endpoints
        .filter(|endpoint| endpoint.takes)
        .map(|endpoint| backends[&endpoint.address.port()].as_str())
        .collect();
    let seen = answer.json();
    let backend = seen["backend"].as_str().unwrap_or_default();
    if !takers.contains(backend) {
        return Err(format!("{backend} had it, not one of {takers:?}"));
    }
    if let [only] = said.services.as_slice()
        && let Some(endpoint) = only.endpoint
    {
        equal("endpoint", &backends[&endpoint.port()].as_str(), &backend)?;
    }
    let UpstreamRequest { method, host, target, headers } =
        said.upstream.as_ref().ok_or("no request upstream was told")?;
    equal("method", &method.as_str(), &seen["method"].as_str().unwrap_or_default())?;
    equal("target", &target.as_str(), &seen["target"].as_str().unwrap_or_default())?;
    equal("host", &host.as_str(), &seen["headers"]["host"].as_str().unwrap_or_default())?;
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for header in headers {
        let value = told.entry(header.name.clone()).or_default();
        if !value.is_empty() {
            value.push(',');
        }
        value.push_str(&header.value);
    }
    let mut had: BTreeMap<String, String> =
        serde_json::from_value(seen["headers"].clone()).map_err(|error| error.to_string())?;
    // To a client on its own host Envoy gives the host's own address.
    if let (Some(told), Some(had)) = (told.get("x-forwarded-for"), had.get_mut("x-forwarded-for")) {
        let hops = told.split(',').zip(had.split(','));
        let same = |(told, had): (&str, &str)| match told {
            "127.0.0.1" if had.parse::<IpAddr>().is_ok() => told.to_owned(),
            _ => had.to_owned(),
        };
        *had = hops.map(same).collect::<Vec<_>>().join(",");
    }
    for name in NOT_COMPARED {
        told.remove(name);
        had.remove(name);
    }
    equal("headers", &told, &had)
}

/// Checks that the answer's headers were edited.
fn edits(said: &RequestExplanation, answer: &Answer) -> Result<(), String> {
    for edit in &said.response_headers {
        let done = if let Some(name) = edit.strip_prefix('-') {
            !answer.headers.contains_key(name)
        } else {
            let (name, value) = edit.trim_start_matches('+').split_once(": ").unwrap_or_default();
            answer.headers.get_all(name).iter().any(|it| it == value)
        };
        if !done {
            return Err(format!("the answer has not {edit}"));
        }
    }
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, said: &T, came: &T) -> Result<(), String> {
    if said == came {
        return Ok(());
    }
    Err(format!("{what}: said {said:?}, came {came:?}"))
}
