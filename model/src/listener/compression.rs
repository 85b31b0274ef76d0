//! Compression of answers: what a listener compresses, and how.

use serde::Serialize;

/// Compresses answers for clients that accept it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// The codings, the preferred one first; all by default.
    pub algorithms: Vec<CompressionAlgorithm>,
    /// The least length of an answer that is compressed, in bytes, where its length is known before.
    pub min_bytes: u32,
    /// The media types that are compressed, lower case, without parameters.
    pub content_types: Vec<String>,
    /// Whether answers of rules that do not say so are compressed too; true by default.
    pub by_default: bool,
}

/// A content coding, by its name in `accept-encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum CompressionAlgorithm {
    /// Brotli (RFC 7932).
    #[serde(rename = "br")]
    Brotli,
    /// Zstandard (RFC 8878).
    #[serde(rename = "zstd")]
    Zstd,
    /// gzip (RFC 1952).
    #[serde(rename = "gzip")]
    Gzip,
}

impl CompressionAlgorithm {
    /// All codings, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Returns its name in `accept-encoding`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}
