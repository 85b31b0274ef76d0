//! Route tables: the rules of all routes of a host, most specific first, as a scope.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use model::{
    AuthPolicy, FilterModule, Kind, ObjectKey, RateLimit, Snapshot,
    auth_policy::Oidc,
    qos_policy::LimitScope,
    route::{FaultAnswer, HttpMatch, HttpRoute, HttpRule},
};

use super::{
    ResourceType, action, edits,
    filters::{self, Around, Limit},
    matching, names,
    origin::Origin,
    pb::{self, route},
    precedence::Rank,
    resource::{Resource, ResourceId},
    version::Version,
};

/// A route object, what it says, and the limits and modules of its requests on this listener.
pub(super) struct Attached<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) route: &'a HttpRoute,
    pub(super) limits: Vec<Limit<'a>>,
    pub(super) modules: Vec<filters::Module<'a>>,
}

/// What tables are made from beside the routes.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    /// Where the policies are that routes refer to.
    pub(super) config: &'a Snapshot,
    /// Where the files of modules lie.
    pub(super) modules: &'a Path,
}

/// Collects what the translation of a table finds on its way.
pub(super) struct Sink<'a> {
    object: &'a ObjectKey,
    route: usize,
    origins: &'a mut Vec<Origin>,
    clusters: &'a mut BTreeSet<Arc<str>>,
}

impl Sink<'_> {
    /// Notes a text that Envoy might refuse.
    pub(super) fn origin(&mut self, field: String, text: &str) {
        self.origins.push(Origin {
            object: self.object.clone(),
            field,
            text: text.to_owned(),
            route: Some(self.route),
        });
    }

    /// Returns which field a path of a match comes from: in a GRPCRoute what is called.
    pub(super) fn path_field(&self, field: &str, kind: &str) -> String {
        match self.object.kind {
            Kind::GrpcRoute => format!("{field}.method"),
            _ => format!("{field}.path.{kind}"),
        }
    }

    /// Notes a module, which Envoy names where it refuses it.
    pub(super) fn module(&mut self, key: &ObjectKey) {
        self.origins.push(Origin {
            object: key.clone(),
            field: "spec.sha256".to_owned(),
            text: names::plain(key),
            // Its place in the table says nothing of it.
            route: None,
        });
    }

    /// Notes a cluster that gets traffic, or a requirement.
    pub(super) fn cluster(&mut self, name: Arc<str>) {
        self.clusters.insert(name);
    }
}

/// Makes the scope of an exact host; nothing when no route serves it.
pub(super) fn scope(
    ground: Ground<'_>,
    listener: &ObjectKey,
    host: &str,
    routes: &[Attached<'_>],
) -> Option<Resource> {
    if routes.is_empty() {
        return None;
    }
    let mut table = Table::new(ground);
    table.host(host, "*", routes);
    Some(table.finish(names::scope(listener, host), host, listener, ""))
}

/// Makes the scope with all wildcard hosts of a listener; there also when it has none, so that
/// every listener has a scope and Envoy need not wait for one.
pub(super) fn wildcards(
    ground: Ground<'_>,
    listener: &ObjectKey,
    hosts: &[(&str, Vec<Attached<'_>>)],
) -> Resource {
    let mut table = Table::new(ground);
    for (host, routes) in hosts {
        table.host(host, host, routes);
    }
    table.finish(
        names::wildcards(listener),
        filters::miss::WILDCARDS_KEY,
        listener,
        filters::miss::HOST_HEADER,
    )
}

struct Table<'a> {
    ground: Ground<'a>,
    policies: Vec<&'a AuthPolicy>,
    /// Limits, with the names of the routes that they are for.
    limits: Vec<(String, Limit<'a>)>,
    /// Modules, with the names of the routes that they are for.
    modules: Vec<(String, filters::Module<'a>)>,
    hosts: Vec<route::VirtualHost>,
    parts: Vec<Part>,
    origins: Vec<Origin>,
    clusters: BTreeSet<Arc<str>>,
    /// The secrets of sessions that routes demand.
    wants: BTreeSet<ResourceId>,
}

/// What a version is made of: a host, and its routes by name with their matches and rules as they
/// stand in the table.
#[derive(serde::Serialize)]
struct Part(String, Vec<(String, HttpMatch, HttpRule)>);

impl<'a> Table<'a> {
    fn new(ground: Ground<'a>) -> Self {
        Self {
            ground,
            policies: Vec::new(),
            limits: Vec::new(),
            modules: Vec::new(),
            hosts: Vec::new(),
            parts: Vec::new(),
            origins: Vec::new(),
            clusters: BTreeSet::new(),
            wants: BTreeSet::new(),
        }
    }

    /// Adds a host whose virtual host answers for `domain`.
    fn host(&mut self, host: &str, domain: &str, routes: &[Attached<'a>]) {
        let mut entries: Vec<(Rank, &HttpRule, &HttpMatch, &Attached<'a>, usize, usize)> =
            Vec::new();
        for attached in routes {
            let Attached { key, route, .. } = attached;
            for (rule_index, rule) in route.rules.iter().enumerate() {
                for (position, m) in rule.matches.iter().enumerate() {
                    let rank = Rank::of(m, key, rule_index, position);
                    entries.push((rank, rule, m, attached, rule_index, position));
                }
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let logins = logins(self.ground.config, entries.iter().map(|entry| entry.1));
        let around = Around { host, sessions: !logins.is_empty() };
        // First the paths of logins.
        let first = 2 * logins.len();
        let mut translated = Vec::with_capacity(first + entries.len() + 1);
        for (key, wanted) in &logins {
            self.wants.extend(filters::oidc::wants(&names::plain(key)));
            translated.extend(filters::oidc::own_routes(key, wanted, host));
        }
        let mut part = Part(host.to_owned(), Vec::with_capacity(entries.len()));
        for (index, (_, rule, m, attached, rule_index, position)) in entries.into_iter().enumerate()
        {
            let mut sink = Sink {
                object: attached.key,
                route: first + index,
                origins: &mut self.origins,
                clusters: &mut self.clusters,
            };
            let auth = auth(self.ground.config, rule);
            let Attached { limits, modules, .. } = attached;
            let directory = self.ground.modules;
            let passed = filters::Passed { limits, modules, directory, around };
            let place = (rule_index, position);
            let route = one((rule, m), place, auth, passed, &mut sink);
            self.limits.extend(limits.iter().map(|limit| (route.name.clone(), *limit)));
            self.modules.extend(modules.iter().map(|module| (route.name.clone(), *module)));
            self.policies.extend(auth.ok().flatten());
            let bare = HttpRule { matches: Vec::new(), ..rule.clone() };
            part.1.push((route.name.clone(), m.clone(), bare));
            translated.push(route);
        }
        if !translated.last().is_some_and(takes_everything) {
            translated.push(not_found());
        }
        self.parts.push(part);
        self.hosts.push(route::VirtualHost {
            name: host.to_owned(),
            domains: vec![domain.to_owned()],
            routes: translated,
            ..Default::default()
        });
    }

    fn finish(self, name: String, key: &str, listener: &ObjectKey, host_header: &str) -> Resource {
        use route::scoped_route_configuration::{
            Key,
            key::{Fragment, fragment::Type},
        };
        let name: Arc<str> = name.into();
        let mut version =
            Version::of(ResourceType::ScopedRoute).part(&name.as_ref()).part(&self.parts);
        // In the order of the rules that refer to them.
        for policy in &self.policies {
            version.add(policy);
            filters::made_of(policy).for_each(|part| version.add(&part));
        }
        for (route, Limit { key, limit, target }) in &self.limits {
            // By whichever of its targets it came here, unless that is a part of what is counted.
            let bare = RateLimit { target_refs: Vec::new(), ..(*limit).clone() };
            version.add(&(route, key, bare));
            if limit.scope == LimitScope::Cluster {
                version.add(target);
            }
        }
        for (route, module) in &self.modules {
            let bare = FilterModule { target_refs: Vec::new(), ..module.wanted.clone() };
            version.add(&(route, module.key, bare, module.is_there, filters::MODULES_MADE_OF));
        }
        // Their filters were others once, of the same rules; tables without them keep their versions.
        let rules = self.parts.iter().flat_map(|Part(_, routes)| routes).map(|(_, _, rule)| rule);
        if rules.into_iter().any(answers_grpc) {
            version.add(&"gRPC faults by caller");
        }
        // Beside the policies: what else their tables are made of.
        if !self.wants.is_empty() {
            let names: Vec<&str> = self.wants.iter().map(|want| &*want.name).collect();
            version.add(&("logins", names, filters::oidc::SCRIPT));
        }
        let version = version.finish();
        let configuration = route::RouteConfiguration {
            // Seen in Envoy's own dumps only; the scope's name says the rest.
            name: key.to_owned(),
            virtual_hosts: self.hosts,
            vhost_header: host_header.to_owned(),
            ignore_port_in_host_matching: true,
            // A route may precede its cluster (it then answers 500): refusing it helps nobody.
            validate_clusters: Some(pb::boolean(false)),
            typed_per_filter_config: filters::of_table(),
            ..Default::default()
        };
        let scope = route::ScopedRouteConfiguration {
            name: name.to_string(),
            route_configuration: Some(configuration),
            key: Some(Key {
                fragments: vec![Fragment { r#type: Some(Type::StringKey(key.to_owned())) }],
            }),
            ..Default::default()
        };
        // Several objects may share a host; refusals that quote nothing are put down to the first.
        let object =
            self.origins.first().map_or_else(|| listener.clone(), |origin| origin.object.clone());
        Resource {
            name,
            version,
            body: pb::any(&scope),
            clusters: self.clusters.into_iter().collect(),
            wants: self.wants.into_iter().collect(),
            object,
            origins: self.origins,
        }
    }
}

/// The policy that a rule refers to is not there.
#[derive(Clone, Copy)]
struct Missing;

/// Returns the policy of a rule that refers to one.
fn auth<'a>(config: &'a Snapshot, rule: &HttpRule) -> Result<Option<&'a AuthPolicy>, Missing> {
    let Some(reference) = &rule.filters.auth else { return Ok(None) };
    config.auth_policy(&reference.namespace, &reference.name).map(Some).ok_or(Missing)
}

fn policy_name(rule: &HttpRule) -> Option<Arc<str>> {
    rule.filters.auth.as_ref().map(names::reference)
}

/// Lists the policies of rules that demand a session, each once.
fn logins<'a>(
    config: &'a Snapshot,
    rules: impl Iterator<Item = &'a HttpRule>,
) -> BTreeMap<ObjectKey, &'a Oidc> {
    let wanted = rules.filter_map(|rule| {
        let reference = rule.filters.auth.as_ref()?;
        let policy = config.auth_policy(&reference.namespace, &reference.name)?;
        let key = ObjectKey::new(Kind::AuthPolicy, &reference.namespace, &reference.name);
        Some((key, policy.oidc.as_deref()?))
    });
    wanted.collect()
}

fn one(
    (rule, m): (&HttpRule, &HttpMatch),
    (rule_index, position): (usize, usize),
    auth: Result<Option<&AuthPolicy>, Missing>,
    passed: filters::Passed<'_>,
    sink: &mut Sink<'_>,
) -> route::Route {
    let field = format!("spec.rules[{rule_index}]");
    let requests = format!("{field}.requestHeaders");
    let responses = format!("{field}.responseHeaders");
    let services = auth.iter().flatten().copied().flat_map(AuthPolicy::services);
    for (_, service) in services {
        sink.cluster(names::reference(service));
    }
    for file in auth.ok().flatten().into_iter().flat_map(AuthPolicy::files) {
        sink.origin(format!("{field}.auth"), file);
    }
    for module in passed.modules {
        sink.module(module.key);
    }
    // Named, because the script for hosts without a scope asks whether there is a name.
    let name = format!("{}/{}#{rule_index}.{position}", sink.object.namespace, sink.object.name);
    let named = policy_name(rule);
    let policy = named.as_deref().zip(auth.ok().flatten());
    let required = policy.and_then(|(name, policy)| filters::required(name, policy));
    required.into_iter().for_each(|required| sink.cluster(required.into()));
    let action = match auth {
        Ok(_) => action::action(rule, &m.path, &field, sink),
        // Nobody gets by because a policy is not there.
        Err(Missing) => answer(500),
    };
    route::Route {
        r#match: Some(matching::route_match(m, &format!("{field}.matches[{position}]"), sink)),
        action: Some(action),
        typed_per_filter_config: filters::of_route(&name, rule, policy, passed),
        name,
        request_headers_to_add: edits::options(&rule.request_headers, &requests, sink),
        request_headers_to_remove: edits::removed(&rule.request_headers, &requests, sink),
        response_headers_to_add: edits::options(&rule.response_headers, &responses, sink),
        response_headers_to_remove: edits::removed(&rule.response_headers, &responses, sink),
        ..Default::default()
    }
}

/// The last route of every table: a host that has a table never falls through to a wildcard.
fn not_found() -> route::Route {
    route::Route {
        name: "-".into(),
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(answer(404)),
        ..Default::default()
    }
}

/// Tells whether a rule's fault answers callers of gRPC in another way than others.
fn answers_grpc(rule: &HttpRule) -> bool {
    let abort = rule.filters.fault.as_ref().and_then(|fault| fault.abort);
    abort.is_some_and(|abort| matches!(abort.answer, FaultAnswer::GrpcStatus(_)))
}

fn answer(status: u32) -> route::route::Action {
    route::route::Action::DirectResponse(route::DirectResponseAction {
        status,
        ..Default::default()
    })
}

fn takes_everything(route: &route::Route) -> bool {
    route.r#match.as_ref().is_some_and(|m| {
        m.headers.is_empty()
            && m.query_parameters.is_empty()
            && m.path_specifier == Some(route::route_match::PathSpecifier::Prefix("/".into()))
    })
}
