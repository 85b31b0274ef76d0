//! Reads which answers a listener compresses.

use crate::{
    limits::{MAX_CONDITIONS, MAX_TOKEN_BYTES, MIN_COMPRESSED_BYTES},
    listener::{Compression, CompressionAlgorithm},
    parse::{
        backend::unique,
        header::is_token,
        reader::{Node, Read},
        scalar::{boolean, text, whole, word},
    },
};

/// The least length that nobody chose: below a packet nothing is gained.
const DEFAULT_MIN_BYTES: u32 = 1_024;
/// Text; images and videos are compressed already.
const DEFAULT_CONTENT_TYPES: [&str; 9] = [
    "application/javascript",
    "application/json",
    "application/wasm",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/plain",
    "text/xml",
];

pub(super) fn compression(node: &Node<'_>) -> Read<Compression> {
    let fields = node.fields()?;
    let algorithms = fields.or("algorithms", CompressionAlgorithm::ALL.to_vec(), |node| {
        let words = CompressionAlgorithm::ALL.map(|one| (one.as_str(), one));
        let items = node.items(1, words.len(), |node| word(node, &words))?;
        unique(node, &items, |one| one)?;
        items.into_iter().collect()
    });
    let min_bytes =
        fields.or("minBytes", DEFAULT_MIN_BYTES, |node| whole(node, MIN_COMPRESSED_BYTES));
    let defaults = DEFAULT_CONTENT_TYPES.map(str::to_owned).to_vec();
    let content_types = fields.or("contentTypes", defaults, |node| {
        let items = node.items(1, MAX_CONDITIONS, media_type)?;
        unique(node, &items, |item| item)?;
        items.into_iter().collect()
    });
    let by_default = fields.or("byDefault", true, boolean);
    let known = fields.finish();
    let compression = Compression {
        algorithms: algorithms?,
        min_bytes: min_bytes?,
        content_types: content_types?,
        by_default: by_default?,
    };
    known.map(|()| compression)
}

/// Reads a media type without parameters (RFC 9110, section 8.3.1).
fn media_type(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    let part = |part: &str| !part.is_empty() && part.bytes().all(is_token);
    let valid = text.len() <= MAX_TOKEN_BYTES
        && text.split_once('/').is_some_and(|(kind, subtype)| part(kind) && part(subtype));
    if !valid || text.contains('*') {
        let remedy = "write one such as application/json, without parameters or *";
        return Err(node.error("is not a media type", remedy));
    }
    let text = text.to_ascii_lowercase();
    if text.starts_with("application/grpc") {
        let remedy = "remove it: gRPC compresses each message by itself";
        return Err(node.error("is gRPC, whose answers are no body to be compressed", remedy));
    }
    Ok(text)
}
