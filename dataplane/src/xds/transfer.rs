//! What is sent to Envoy and refused by it, counted by resource type.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Unit, counter, describe_counter};
use prost::Message;

use super::client::{Request, Sent};
use crate::l7::ResourceType;

/// What was sent since the start, for tests.
#[derive(Debug, Default)]
pub struct Transferred {
    /// Responses.
    pub responses: AtomicU64,
    /// Resources in them, removals not counted.
    pub resources: AtomicU64,
    /// Bytes of the encoded responses.
    pub bytes: AtomicU64,
    /// Responses that were refused.
    pub refusals: AtomicU64,
    /// Whether the metrics are to say nothing of it.
    pub untold: bool,
}

/// Says once what each metric is.
pub(super) fn describe() {
    describe_counter!(
        "marchproxy_xds_responses_total",
        Unit::Count,
        "Configuration responses sent to Envoy, by resource type"
    );
    describe_counter!(
        "marchproxy_xds_resources_total",
        Unit::Count,
        "Resources in them, by resource type; removals are not counted"
    );
    describe_counter!(
        "marchproxy_xds_bytes_total",
        Unit::Bytes,
        "Size of these responses, by resource type"
    );
    describe_counter!(
        "marchproxy_xds_refusals_total",
        Unit::Count,
        "Responses that Envoy refused, by resource type"
    );
}

impl Transferred {
    /// Counts a response that goes out.
    pub(super) fn sent(&self, sent: &Sent) {
        let (type_url, version, resources, removed, bytes) = match sent {
            Sent::Delta(response) => (
                &response.type_url,
                &response.system_version_info,
                response.resources.len(),
                response.removed_resources.len(),
                response.encoded_len(),
            ),
            Sent::StateOfTheWorld(response) => (
                &response.type_url,
                &response.version_info,
                response.resources.len(),
                0,
                response.encoded_len(),
            ),
        };
        let kind = label(type_url);
        let (resources, bytes) = (resources as u64, bytes as u64);
        self.responses.fetch_add(1, Ordering::Relaxed);
        self.resources.fetch_add(resources, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if !self.untold {
            counter!("marchproxy_xds_responses_total", "type" => kind).increment(1);
            counter!("marchproxy_xds_resources_total", "type" => kind).increment(resources);
            counter!("marchproxy_xds_bytes_total", "type" => kind).increment(bytes);
        }
        tracing::debug!(kind, revision = version, resources, removed, bytes, "sent to envoy");
    }

    /// Counts a response that Envoy refused, if that is what a request says.
    pub(super) fn heard(&self, request: &Request) {
        let (type_url, refusal) = match request {
            Request::Delta(request) => (&request.type_url, &request.error_detail),
            Request::StateOfTheWorld(request) => (&request.type_url, &request.error_detail),
        };
        let Some(refusal) = refusal else { return };
        tracing::debug!(kind = type_url, message = refusal.message, "refused by envoy");
        self.refusals.fetch_add(1, Ordering::Relaxed);
        if !self.untold {
            counter!("marchproxy_xds_refusals_total", "type" => label(type_url)).increment(1);
        }
    }
}

/// The short names that the protocol's own documents use.
fn label(type_url: &str) -> &'static str {
    match ResourceType::of_type_url(type_url) {
        Some(ResourceType::Cluster) => "cds",
        Some(ResourceType::Endpoints) => "eds",
        Some(ResourceType::Secret) => "sds",
        Some(ResourceType::ExtensionConfig) => "ecds",
        Some(ResourceType::Listener) => "lds",
        Some(ResourceType::Route) => "rds",
        Some(ResourceType::ScopedRoute) => "srds",
        None => "other",
    }
}
