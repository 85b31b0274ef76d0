//! Documents to validated objects: everything that can be said about one object alone.
//!
//! Raw layer: a [`serde_json::Value`] and the path-aware reader. Validated layer: [`Object`]. All
//! errors of all objects come at once. What concerns several objects (references, conflicts) is
//! checked on the whole snapshot.

mod affinity;
mod auth_policy;
mod backend;
mod certificate;
mod cors;
mod fault;
mod filter_module;
mod forwarding;
mod grpc_route;
mod header;
mod http_action;
mod http_match;
mod http_route;
mod l4_route;
mod listener;
mod metadata;
mod name;
mod packet_filter;
mod pattern;
mod prefix;
mod qos_policy;
mod rate_limit;
mod reader;
mod redirect;
mod retries;
mod rollout_policy;
mod scalar;
mod service;
mod suggest;
mod text;
mod tls_route;

use std::collections::HashMap;

use serde_json::Value;

use self::reader::{Fields, Node, Read, Report};
pub(crate) use self::{pattern::whole_match, reader::shorten, redirect::loops as redirect_loops};
use crate::{
    error::{ConfigError, ConfigErrors},
    key::{Kind, ObjectKey},
    limits::MAX_ERRORS,
    object::{Metadata, Object, Spec},
};

/// The value of `apiVersion`, which a document may leave out.
pub const API_VERSION: &str = "marchproxy.io/v1";

/// Reads the raw objects of an input, in order, before they are looked at.
///
/// # Errors
///
/// It is neither YAML nor JSON, or too much of it.
pub fn raw_documents(text: &str) -> Result<Vec<Value>, ConfigErrors> {
    text::raw_objects(text)
}

/// Reads an input of many objects: YAML or JSON documents, JSON arrays, `{items: […]}`.
///
/// Objects keep their order. The same object twice is an error.
///
/// # Errors
///
/// Everything that is wrong with any of the objects.
pub fn parse_documents(text: &str) -> Result<Vec<Object>, ConfigErrors> {
    let raw = text::raw_objects(text)?;
    let mut objects: Vec<Object> = Vec::with_capacity(raw.len());
    let mut errors = Vec::new();
    let mut documents = HashMap::with_capacity(raw.len());
    for (document, value) in raw.iter().enumerate() {
        match object_from_value(value) {
            Ok(object) => {
                if let Some(first) = documents.insert(object.key(), document) {
                    errors.push(duplicate_object(object.key(), first, document));
                }
                objects.push(object);
            }
            Err(ConfigErrors(found)) => {
                errors.extend(found.into_iter().map(|error| ConfigError { document, ..error }));
            }
        }
    }
    into_result(objects, errors)
}

/// Reads one object from its JSON value, such as [`Object::to_value`] gives.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn object_from_value(value: &Value) -> Result<Object, ConfigErrors> {
    let report = Report::default();
    let mut key = None;
    let object = object(&Node::root(value, &report), &mut key);
    let mut errors = report.into_errors();
    for error in &mut errors {
        error.object.clone_from(&key);
    }
    match object {
        Ok(object) => into_result(object, errors),
        Err(_) => Err(bounded(errors)),
    }
}

/// Reads one object from JSON bytes, such as [`Object::to_canonical`] gives.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn object_from_slice(bytes: &[u8]) -> Result<Object, ConfigErrors> {
    let value = serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("the object is not JSON: {error}");
        text::whole(message, "give one JSON object".to_owned())
    })?;
    object_from_value(&value)
}

fn into_result<T>(value: T, errors: Vec<ConfigError>) -> Result<T, ConfigErrors> {
    if errors.is_empty() { Ok(value) } else { Err(bounded(errors)) }
}

/// Cuts the errors at [`MAX_ERRORS`], and says so.
pub(crate) fn bounded(mut errors: Vec<ConfigError>) -> ConfigErrors {
    if errors.len() > MAX_ERRORS {
        let more = errors.len() - MAX_ERRORS;
        errors.truncate(MAX_ERRORS);
        let remedy = "correct those above, then see what is left".to_owned();
        errors.extend(text::whole(format!("there are {more} more errors"), remedy).0);
    }
    ConfigErrors(errors)
}

pub(crate) fn duplicate_object(key: ObjectKey, first: usize, document: usize) -> ConfigError {
    ConfigError {
        path: "metadata.name".to_owned(),
        value: reader::shorten(&Value::from(key.name.as_str())),
        message: format!("the same object stands in document {}", first + 1),
        remedy: "keep one of them, or give it another name or namespace".to_owned(),
        object: Some(key),
        document,
    }
}

fn object(node: &Node<'_>, key: &mut Option<ObjectKey>) -> Read<Object> {
    let fields = node.fields()?;
    let kinds = Kind::ALL.map(|kind| (kind.as_str(), kind));
    let version = fields.optional("apiVersion", |node| {
        scalar::word(node, &[(API_VERSION, ())]) //
    });
    let wanted = Kind::ALL.map(Kind::as_str).join(", ");
    let kind = fields.required("kind", &format!("one of {wanted}"), |node| {
        scalar::word(node, &kinds) //
    });
    let metadata = fields.required("metadata", "a mapping with the name", metadata::metadata);
    if let (Ok(kind), Ok(metadata)) = (kind, &metadata) {
        *key = Some(ObjectKey::new(kind, &metadata.namespace, &metadata.name));
    }
    let spec = spec(&fields, kind, metadata.as_ref().ok());
    let known = fields.finish();
    version?;
    let object = Object { metadata: metadata?, spec: spec? };
    known.map(|()| object)
}

/// Reads the spec by kind; also without valid metadata, so that its errors are not hidden.
fn spec(fields: &Fields<'_>, kind: Read<Kind>, metadata: Option<&Metadata>) -> Read<Spec> {
    let namespace = metadata.map_or(crate::key::DEFAULT_NAMESPACE, |m| m.namespace.as_str());
    fields.required("spec", "a mapping with what the object says", |node| match kind? {
        Kind::Listener => listener::listener(node, namespace).map(Spec::Listener),
        Kind::HttpRoute => http_route::http_route(node, namespace).map(Spec::HttpRoute),
        Kind::GrpcRoute => grpc_route::grpc_route(node, namespace).map(Spec::GrpcRoute),
        Kind::TlsRoute => tls_route::tls_route(node, namespace).map(Spec::TlsRoute),
        Kind::TcpRoute => l4_route::l4_route(node, namespace).map(Spec::TcpRoute),
        Kind::UdpRoute => l4_route::l4_route(node, namespace).map(Spec::UdpRoute),
        Kind::Service => service::service(node).map(|service| Spec::Service(Box::new(service))),
        Kind::PacketFilter => packet_filter::packet_filter(node, namespace).map(Spec::PacketFilter),
        Kind::PrefixList => packet_filter::prefix_list(node).map(Spec::PrefixList),
        Kind::QosPolicy => qos_policy::qos_policy(node, namespace).map(Spec::QosPolicy),
        Kind::AuthPolicy => auth_policy::auth_policy(node, namespace).map(Spec::AuthPolicy),
        Kind::RateLimit => rate_limit::rate_limit(node, namespace).map(Spec::RateLimit),
        Kind::FilterModule => filter_module::filter_module(node, namespace).map(Spec::FilterModule),
        Kind::RolloutPolicy => rollout_policy::rollout_policy(node).map(Spec::RolloutPolicy),
        Kind::Certificate => certificate::certificate(node, namespace).map(Spec::Certificate),
        Kind::Issuer => certificate::issuer(node).map(Spec::Issuer),
    })
}
