//! Where a redirect leads.

use super::{
    RequestExplanation,
    forwarding::replaced,
    incoming::{Incoming, with_query},
    question::split_port,
    routes::Found,
};
use crate::route::Redirect;

/// Makes the `location` of a redirect; what it does not name is the request's.
pub(super) fn location(
    to: &Redirect,
    found: &Found<'_>,
    request: &Incoming,
    answer: &mut RequestExplanation,
) -> String {
    let scheme = to.scheme.as_deref().unwrap_or(&request.scheme);
    let (own_host, own_port) = split_port(&request.authority);
    // A redirect to another host names its port itself; another scheme has another usual port.
    let came_by = request.first("x-forwarded-proto").unwrap_or_default();
    let usual = match came_by.as_str() {
        "http" => Some("80"),
        "https" => Some("443"),
        _ => None,
    };
    let kept = own_port.filter(|port| {
        let is_left = scheme != came_by && Some(*port) == usual;
        to.host.is_none() && to.port.is_none() && !is_left
    });
    let port = to.port.map(|port| port.to_string()).or_else(|| kept.map(str::to_owned));
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let host = to.host.as_deref().unwrap_or(own_host);
    let query = request.query.as_deref();
    let target = match (&to.path, &to.replace_prefix) {
        // A path that has a query has its own.
        (Some(path), _) if path.contains('?') => path.clone(),
        (Some(path), _) => with_query(path, query),
        (None, Some(prefix)) => {
            with_query(&replaced(&found.matched.path, &request.path, prefix), query)
        }
        (None, None) => request.target(),
    };
    let location = format!("{scheme}://{host}{port}{target}");
    answer.say_at("redirect", format!("{}, to {location}", to.status), found, ".redirect");
    location
}
