//! What is sent to Envoy and refused by it, counted by resource type.

use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use metrics::{Unit, counter, describe_counter};
use prost::Message;

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
    pub(super) fn sent(&self, response: &DeltaDiscoveryResponse) {
        let kind = label(&response.type_url);
        let resources = response.resources.len() as u64;
        let bytes = response.encoded_len() as u64;
        self.responses.fetch_add(1, Ordering::Relaxed);
        self.resources.fetch_add(resources, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        counter!("marchproxy_xds_responses_total", "type" => kind).increment(1);
        counter!("marchproxy_xds_resources_total", "type" => kind).increment(resources);
        counter!("marchproxy_xds_bytes_total", "type" => kind).increment(bytes);
        tracing::debug!(
            kind,
            revision = response.system_version_info,
            resources,
            removed = response.removed_resources.len(),
            bytes,
            "sent to envoy"
        );
    }

    /// Counts a response that Envoy refused.
    pub(super) fn refused(&self, type_url: &str) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        counter!("marchproxy_xds_refusals_total", "type" => label(type_url)).increment(1);
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
