//! What would become of an HTTP request, and which objects and fields decide it.
//!
//! A model of what docs/configuration.md promises, on a whole configuration and what probes know of
//! endpoints. Pure, and written beside the translation to Envoy's resources, with which it shares the
//! parsed types alone: where one of them errs, the two disagree, and the test with real requests
//! (`envoy_explain_…`) fails.
//!
//! ```text
//! question ─▶ listener ─▶ host ─▶ route ─▶ policies ─┬▶ redirect or answer
//!                                                    └▶ request upstream ─▶ services ─▶ endpoints
//! ```

mod answer;
mod compression;
mod engine;
mod entry;
mod expression;
mod forwarding;
mod grpc;
mod health;
mod incoming;
mod keys;
mod limits;
mod modules;
mod passing;
mod policies;
mod question;
mod redirect;
mod routes;
mod services;
mod sessions;
mod target;
mod tokens;
mod winner;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use self::{
    answer::{Candidate, CandidateEndpoint, Outcome, RequestExplanation, UpstreamRequest},
    engine::engine,
    question::{InvalidRequest, RequestHeader, RequestQuestion},
};
use self::{
    entry::Entry, grpc::Telling, incoming::Incoming, policies::Passage, question::Asked,
    routes::Found, sessions::Logins,
};
use crate::{
    cluster::NodeId, endpoint::EndpointId, explain::Decision, key::ObjectKey, route::HttpAction,
    snapshot::Snapshot,
};

/// What a question is answered from.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// The node that answers.
    pub node: NodeId,
    /// The configuration.
    pub config: &'a Snapshot,
    /// Whether that is the present one.
    pub live: bool,
    /// The endpoints that fail their probes.
    pub failing: &'a BTreeSet<EndpointId>,
}

/// Says what would become of a request.
///
/// # Errors
/// Returns the first field that does not do.
pub fn explain(
    question: &RequestQuestion,
    grounds: &Grounds<'_>,
) -> Result<RequestExplanation, InvalidRequest> {
    let asked = Asked::of(question)?;
    let mut answer = RequestExplanation {
        node: grounds.node,
        revision: grounds.config.revision(),
        live: grounds.live,
        outcome: Outcome::NoListener,
        status: None,
        grpc_status: None,
        route: None,
        location: None,
        body: None,
        response_headers: Vec::new(),
        upstream: None,
        services: Vec::new(),
        decisions: Vec::new(),
    };
    let telling = decide(&asked, grounds, &mut answer);
    if grpc::is_caller(&asked.headers) {
        grpc::translate(&mut answer, telling);
    }
    Ok(answer)
}

/// Decides; returns how the answer is told to a caller of gRPC.
fn decide(asked: &Asked, grounds: &Grounds<'_>, answer: &mut RequestExplanation) -> Telling {
    let config = grounds.config;
    let Entry { key, listener } = match entry::find(config, asked, &mut answer.decisions) {
        Ok(entry) => entry,
        Err(outcome) => {
            answer.end(outcome, None);
            return Telling::ByStatus;
        }
    };
    let Some(mut incoming) = Incoming::of(asked, listener, &mut answer.decisions) else {
        answer.end(Outcome::Malformed, Some(400));
        return Telling::ByStatus;
    };
    let logins = Logins::of(config, key, &incoming);
    if let Some(status) = logins.answer(&incoming, &mut answer.decisions) {
        answer.end(Outcome::Answered, Some(status));
        return Telling::ByStatus;
    }
    let Some(found) = routes::find(config, key, &incoming, &mut answer.decisions) else {
        answer.end(Outcome::NoRoute, Some(404));
        return Telling::ByStatus;
    };
    answer.route = Some(found.name());
    match policies::pass(config, key, &found, &mut incoming, &mut answer.decisions) {
        Passage::Passes => {}
        Passage::Answered { status, telling, is_edited } => {
            if is_edited {
                found.edit_response(answer);
            }
            answer.end(Outcome::Answered, Some(status));
            return telling;
        }
    }
    logins.take_cookies_off(&mut incoming);
    let compressed = compression::decide((key, listener), &found, &incoming);
    match &found.rule.action {
        HttpAction::Redirect(to) => {
            answer.location = Some(redirect::location(to, &found, &incoming, answer));
            found.edit_response(answer);
            answer.end(Outcome::Redirected, Some(to.status));
        }
        HttpAction::DirectResponse(direct) => {
            answer.say_at(
                "answer",
                format!("{} with {} bytes", direct.status, direct.body.len()),
                &found,
                ".directResponse",
            );
            answer.body = Some(direct.body.clone());
            found.edit_response(answer);
            answer.decisions.extend(compressed);
            answer.end(Outcome::Answered, Some(direct.status));
        }
        HttpAction::Forward { backends, rewrite } => {
            let upstream = forwarding::upstream(&found, rewrite.as_ref(), incoming, answer);
            found.edit_response(answer);
            answer.decisions.extend(compressed);
            services::choose(grounds, backends, &found, answer);
            answer.upstream = Some(upstream);
        }
    }
    Telling::ByStatus
}

impl RequestExplanation {
    /// Notes how it ends.
    fn end(&mut self, outcome: Outcome, status: Option<u16>) {
        self.outcome = outcome;
        self.status = status;
        let said = match status {
            Some(status) => format!("{}: {status}", outcome.said()),
            None => outcome.said().to_owned(),
        };
        self.decisions.push(decision("outcome", said));
    }

    /// Notes a decision that a field of the rule made.
    fn say_at(&mut self, step: &str, said: String, found: &Found<'_>, field: &str) {
        self.decisions.push(found.decision(step, said, field));
    }
}

/// A decision that no object made.
fn decision(step: &str, said: String) -> Decision {
    Decision { step: step.to_owned(), said, object: None, field: None, object_revision: None }
}

/// A decision that a field of an object made.
fn made_by(step: &str, said: String, object: &ObjectKey, field: &str) -> Decision {
    Decision {
        object: Some(object.clone()),
        field: Some(field.to_owned()),
        ..decision(step, said) //
    }
}
