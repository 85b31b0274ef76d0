//! Compression of answers: one filter for each coding, in the listener. The first of them that sees
//! an answer (the last of the chain) chooses among the codings of all, by the client's
//! `accept-encoding`.
//!
//! They are no part of the chains that routes carry: Envoy makes this filter for listeners only. A
//! listener that compresses nothing has none of them. They read the settings of the route when the
//! request's headers pass, so whichever way the route was found; all have one name there.

use model::listener::{Compression, CompressionAlgorithm};

use super::filter;
use crate::l7::pb::{self, Any, brotli, compressor, core, gzip, hcm, zstd};

/// The name of the filters, and of their settings in routes.
const NAME: &str = "marchproxy.compression";
/// A part of a whole, which would be no part of the compressed whole.
const PARTIAL_CONTENT: u32 = 206;
/// Envoy insists on a name in its runtime for what is off; nothing sets it.
const OFF: &str = "marchproxy.compression.by_default";

/// Makes the filters, so that the coding that is preferred stands first.
pub(super) fn filters(wanted: &Compression) -> Vec<hcm::HttpFilter> {
    let algorithms = wanted.algorithms.iter().enumerate();
    algorithms.map(|(index, algorithm)| one(wanted, *algorithm, index == 0)).collect()
}

/// Returns the name and the settings of a route that says whether its answers are compressed.
pub(super) fn of_route(wanted: bool) -> (String, Any) {
    use compressor::{
        CompressorOverrides, CompressorPerRoute, ResponseDirectionOverrides,
        compressor_per_route::Override,
    };
    let on = CompressorOverrides {
        // That it is there turns it on.
        response_direction_config: Some(ResponseDirectionOverrides::default()),
        ..Default::default()
    };
    let settings = if wanted { Override::Overrides(on) } else { Override::Disabled(true) };
    (NAME.to_owned(), pb::any(&CompressorPerRoute { r#override: Some(settings) }))
}

fn one(wanted: &Compression, algorithm: CompressionAlgorithm, first: bool) -> hcm::HttpFilter {
    use compressor::compressor::ResponseDirectionConfig;
    let library = match algorithm {
        CompressionAlgorithm::Brotli => pb::any(&brotli::Brotli::default()),
        CompressionAlgorithm::Zstd => pb::any(&zstd::Zstd::default()),
        CompressionAlgorithm::Gzip => pb::any(&gzip::Gzip::default()),
    };
    let library = core::TypedExtensionConfig {
        // Envoy counts by it.
        name: algorithm.as_str().to_owned(),
        typed_config: Some(library),
    };
    let config = compressor::Compressor {
        compressor_library: Some(library),
        response_direction_config: Some(ResponseDirectionConfig {
            common_config: Some(common(wanted)),
            // A strong validator is for the same bytes, a weak one for the same content.
            weaken_etag_on_compress: true,
            uncompressible_response_codes: vec![PARTIAL_CONTENT],
            ..Default::default()
        }),
        // Of codings that the client likes equally well; without it, the one that it names first.
        choose_first: first,
        ..Default::default()
    };
    filter(NAME, pb::any(&config))
}

#[expect(deprecated, reason = "Envoy 1.39 has no other field for the types")]
fn common(wanted: &Compression) -> compressor::compressor::CommonDirectionConfig {
    let off = || core::RuntimeFeatureFlag {
        default_value: Some(pb::boolean(false)),
        runtime_key: OFF.to_owned(),
    };
    compressor::compressor::CommonDirectionConfig {
        enabled: (!wanted.by_default).then(off),
        min_content_length: Some(pb::uint32(wanted.min_bytes)),
        content_type: wanted.content_types.clone(),
        ..Default::default()
    }
}
