//! Reads the spec of an `AuthPolicy`.

mod api_keys;
mod jwks;
mod jwt;
mod oidc;

use std::time::Duration;

use super::{
    backend::unique,
    header::edited_name,
    name::reference,
    pattern::target_path,
    reader::{Fields, Node, Read},
    scalar::{boolean, duration, file, word},
};
use crate::{
    auth_policy::{AuthPolicy, Basic, External, ExternalProtocol, OnFailure},
    limits::{MAX_CONDITIONS, MAX_PERMISSION_TIMEOUT, MIN_TIMEOUT},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(200);

pub(super) fn auth_policy(node: &Node<'_>, namespace: &str) -> Read<AuthPolicy> {
    let fields = node.fields()?;
    let oidc = fields.optional("oidc", |node| oidc::oidc(node, namespace).map(Box::new));
    let jwt = fields.optional("jwt", |node| jwt::jwt(node, namespace));
    let api_keys = fields.optional("apiKeys", api_keys::api_keys);
    let basic = fields.optional("basic", basic);
    let external = fields.optional("external", |node| external(node, namespace));
    let known = fields.finish();
    let policy = AuthPolicy {
        oidc: oidc?,
        jwt: jwt?,
        api_keys: api_keys?,
        basic: basic?,
        external: external?,
    };
    known?;
    let AuthPolicy { oidc, jwt, api_keys, basic, external } = &policy;
    let others =
        [("jwt", jwt.is_some()), ("apiKeys", api_keys.is_some()), ("basic", basic.is_some())];
    if oidc.is_some()
        && let Some((name, _)) = others.into_iter().find(|(_, present)| *present)
    {
        let problem = "stands beside oidc, whose browsers cannot show it";
        let remedy = "write a policy of its own, for rules that others than browsers ask";
        return Err(fields.error(name, problem, remedy));
    }
    if oidc.is_none() && external.is_none() && others.iter().all(|(_, present)| !present) {
        return Err(node.error("demands nothing", "add oidc, jwt, apiKeys, basic or external"));
    }
    Ok(policy)
}

fn basic(node: &Node<'_>) -> Read<Basic> {
    let fields = node.fields()?;
    let users_file = fields.required("usersFile", "the path of an htpasswd file", file);
    let user_header = fields.optional("userHeader", edited_name);
    let known = fields.finish();
    let basic = Basic { users_file: users_file?, user_header: user_header? };
    known.map(|()| basic)
}

fn external(node: &Node<'_>, namespace: &str) -> Read<External> {
    let fields = node.fields()?;
    let service =
        fields.required("service", "{name: …}, whom to ask", |node| reference(node, namespace));
    let protocols = [("HTTP", ExternalProtocol::Http), ("GRPC", ExternalProtocol::Grpc)];
    let protocol = fields.or("protocol", ExternalProtocol::Http, |node| word(node, &protocols));
    let protocol_fits = match protocol {
        Ok(ExternalProtocol::Grpc) => only_over_http(&fields),
        _ => Ok(()),
    };
    let path_prefix = fields.or("pathPrefix", String::new(), target_path);
    let timeout = fields
        .or("timeout", DEFAULT_TIMEOUT, |node| duration(node, MIN_TIMEOUT, MAX_PERMISSION_TIMEOUT));
    let headers = |node: &Node<'_>| {
        let items = node.items(0, MAX_CONDITIONS, edited_name)?;
        unique(node, &items, |name| name)?;
        items.into_iter().collect::<Read<Vec<_>>>()
    };
    let request_headers = fields.or("requestHeaders", Vec::new(), headers);
    let upstream_headers = fields.or("upstreamHeaders", Vec::new(), headers);
    let on_failure = on_failure(&fields);
    let known = fields.finish();
    let (on_failure, allow_unchecked) = on_failure?;
    let external = External {
        service: service?,
        protocol: protocol?,
        path_prefix: path_prefix?,
        timeout: timeout?,
        request_headers: request_headers?,
        upstream_headers: upstream_headers?,
        on_failure,
        allow_unchecked,
    };
    protocol_fits.and(known).map(|()| external)
}

/// Refuses what a service that is asked over gRPC says itself.
fn only_over_http(fields: &Fields<'_>) -> Read<()> {
    let mut outcome = Ok(());
    for name in ["pathPrefix", "upstreamHeaders"].into_iter().filter(|name| fields.has(name)) {
        let problem = "is for services that are asked over HTTP: over gRPC the answer says it";
        outcome = Err(fields.error(name, problem, "remove it, or write protocol: HTTP"));
    }
    outcome
}

/// Requests pass unchecked only when that is said twice.
fn on_failure(fields: &Fields<'_>) -> Read<(OnFailure, bool)> {
    let words = [("Deny", OnFailure::Deny), ("Allow", OnFailure::Allow)];
    let wanted = fields.or("onFailure", OnFailure::Deny, |node| word(node, &words));
    let confirmed = fields.or("allowUnchecked", false, boolean);
    let (wanted, confirmed) = (wanted?, confirmed?);
    match (wanted, confirmed) {
        (OnFailure::Allow, false) => {
            let problem = "lets requests pass unchecked while the service does not answer";
            let remedy = "confirm that by allowUnchecked: true beside it, or write Deny";
            Err(fields.error("onFailure", problem, remedy))
        }
        (OnFailure::Deny, true) => {
            let remedy = "remove it, or write onFailure: Allow";
            Err(fields.error("allowUnchecked", "confirms what is not asked for", remedy))
        }
        _ => Ok((wanted, confirmed)),
    }
}
