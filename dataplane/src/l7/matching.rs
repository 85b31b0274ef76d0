//! Conditions on a request, as Envoy's `RouteMatch`.

use model::route::{HttpMatch, NamedMatch, PathMatch, ValueMatch};

use super::{
    pb::{self, matcher, route},
    table::Sink,
};

/// Translates a match; `field` is its path in the object.
pub(super) fn route_match(m: &HttpMatch, field: &str, sink: &mut Sink<'_>) -> route::RouteMatch {
    use route::route_match::PathSpecifier;
    let path = match &m.path {
        PathMatch::Exact(path) => {
            sink.origin(sink.path_field(field, "exact"), path);
            PathSpecifier::Path(path.clone())
        }
        PathMatch::Prefix(prefix) => {
            sink.origin(sink.path_field(field, "prefix"), prefix);
            match prefix.trim_end_matches('/') {
                "" => PathSpecifier::Prefix("/".into()),
                segments => PathSpecifier::PathSeparatedPrefix(segments.to_owned()),
            }
        }
        PathMatch::Regex(pattern) => {
            sink.origin(sink.path_field(field, "regex"), pattern);
            PathSpecifier::SafeRegex(pb::regex(pattern))
        }
    };
    let mut headers = Vec::with_capacity(m.headers.len() + 1);
    if let Some(method) = &m.method {
        sink.origin(format!("{field}.method"), method);
        headers.push(header(":method", &ValueMatch::Exact(method.clone())));
    }
    for (i, condition) in m.headers.iter().enumerate() {
        origins(condition, &format!("{field}.headers[{i}]"), sink);
        headers.push(header(&condition.name, &condition.value));
    }
    let mut query_parameters = Vec::with_capacity(m.query.len());
    for (i, condition) in m.query.iter().enumerate() {
        origins(condition, &format!("{field}.query[{i}]"), sink);
        query_parameters.push(query(condition));
    }
    route::RouteMatch {
        path_specifier: Some(path),
        headers,
        query_parameters,
        ..Default::default()
    }
}

fn origins(condition: &NamedMatch, field: &str, sink: &mut Sink<'_>) {
    sink.origin(format!("{field}.name"), &condition.name);
    match &condition.value {
        ValueMatch::Exact(value) => sink.origin(format!("{field}.exact"), value),
        ValueMatch::Regex(pattern) => sink.origin(format!("{field}.regex"), pattern),
        ValueMatch::Present(_) => {}
    }
}

fn header(name: &str, value: &ValueMatch) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier;
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(match value {
            ValueMatch::Present(present) => HeaderMatchSpecifier::PresentMatch(*present),
            value => HeaderMatchSpecifier::StringMatch(string(value)),
        }),
        ..Default::default()
    }
}

fn query(condition: &NamedMatch) -> route::QueryParameterMatcher {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier;
    route::QueryParameterMatcher {
        name: condition.name.clone(),
        query_parameter_match_specifier: Some(match &condition.value {
            ValueMatch::Present(present) => QueryParameterMatchSpecifier::PresentMatch(*present),
            value => QueryParameterMatchSpecifier::StringMatch(string(value)),
        }),
    }
}

fn string(value: &ValueMatch) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    matcher::StringMatcher {
        match_pattern: Some(match value {
            ValueMatch::Exact(value) => MatchPattern::Exact(value.clone()),
            ValueMatch::Regex(pattern) => MatchPattern::SafeRegex(pb::regex(pattern)),
            ValueMatch::Present(_) => unreachable!("callers translate presence"),
        }),
        ..Default::default()
    }
}
