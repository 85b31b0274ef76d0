//! The messages of `api/adapter/adapter.proto` of github.com/ii/xds-test-harness, field by field.

use envoy_types::pb::google::protobuf::Any;
use prost::Message;

/// Sets all resources of a node, at one version.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetStateRequest {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) resources: Vec<Any>,
}

/// Takes all resources of a node away.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClearStateRequest {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
}

/// What became of that.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClearStateResponse {
    #[prost(string, tag = "1")]
    pub(crate) response: String,
}

/// Adds, updates or removes one resource.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceRequest {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
    #[prost(string, tag = "2")]
    pub(crate) type_url: String,
    #[prost(string, tag = "3")]
    pub(crate) resource_name: String,
    #[prost(string, tag = "4")]
    pub(crate) version: String,
}

/// `SetStateResponse`, and those of adding, updating and removing: all have this one field.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Done {
    #[prost(bool, tag = "1")]
    pub(crate) success: bool,
}
