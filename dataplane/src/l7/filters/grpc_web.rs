//! gRPC-Web, which browsers speak: calls over HTTP/1.1 or HTTP/2 whose trailers stand in the body.

use super::extension;
use crate::l7::pb::{core, grpc_web};

/// Makes the filter that turns gRPC-Web into gRPC and back.
pub(super) fn filter() -> core::TypedExtensionConfig {
    extension("marchproxy.grpc_web", &grpc_web::GrpcWeb::default())
}
