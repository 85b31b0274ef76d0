//! Which coding an answer is compressed by, if it is of a kind that is.

use super::{incoming::Incoming, made_by, routes::Found};
use crate::{
    explain::Decision,
    key::ObjectKey,
    listener::{Compression, CompressionAlgorithm, Listener},
};

/// Says what becomes of the answer to a request; nothing where the listener compresses none.
pub(super) fn decide(
    (key, listener): (&ObjectKey, &Listener),
    found: &Found<'_>,
    request: &Incoming,
) -> Option<Decision> {
    let wanted = listener.compression()?;
    let by_rule = found.rule.filters.compression;
    if !by_rule.unwrap_or(wanted.by_default) {
        let said = "the answer stays as it is".to_owned();
        return Some(match by_rule {
            Some(_) => found.decision("compression", said, ".compression"),
            None => made_by("compression", said, key, "spec.http.compression.byDefault"),
        });
    }
    let accepted = request.header("accept-encoding").unwrap_or_default();
    let said = match choose(&accepted, &wanted.algorithms) {
        None => "the client accepts none of its codings, so the answer stays as it is".to_owned(),
        Some(algorithm) => kinds(algorithm, wanted),
    };
    Some(made_by("compression", said, key, "spec.http.compression"))
}

fn kinds(algorithm: CompressionAlgorithm, wanted: &Compression) -> String {
    format!(
        "by {}, an answer of {} bytes or more that is {}",
        algorithm.as_str(),
        wanted.min_bytes,
        wanted.content_types.join(", ")
    )
}

/// Chooses by `accept-encoding` (RFC 9110, section 12.5.3): the greatest weight counts; among equals
/// the coding that is preferred here, else the one that stands first.
fn choose(accepted: &str, algorithms: &[CompressionAlgorithm]) -> Option<CompressionAlgorithm> {
    let named: Vec<(&str, f64)> = accepted.split(',').filter_map(weighted).collect();
    // `None` is the answer as it is, which a client may name too.
    let known = |name: &str| match name {
        "identity" => Some(None),
        _ => algorithms.iter().find(|one| one.as_str() == name).map(|one| Some(*one)),
    };
    let mut best: Option<(Option<CompressionAlgorithm>, f64)> = None;
    for (coding, weight) in named.iter().filter_map(|(name, weight)| Some((known(name)?, *weight)))
    {
        let preferred = coding.is_some() && coding == algorithms.first().copied();
        let better = best.is_none_or(|(_, most)| weight > most || preferred && weight >= most);
        if weight > 0.0 && better {
            best = Some((coding, weight));
        }
    }
    if let Some((coding, _)) = best {
        return coding;
    }
    let any = named.iter().any(|(name, weight)| *name == "*" && *weight > 0.0);
    let unnamed =
        |one: &&CompressionAlgorithm| !named.iter().any(|(name, _)| *name == one.as_str());
    algorithms.iter().find(unnamed).copied().filter(|_| any)
}

/// Reads `gzip;q=0.5`.
fn weighted(item: &str) -> Option<(&str, f64)> {
    let (name, parameter) = item.split_once(';').unwrap_or((item, ""));
    let weight = match parameter.split_once('=') {
        Some((q, value)) if q.trim().eq_ignore_ascii_case("q") => value.trim().parse().ok()?,
        _ => 1.0,
    };
    Some((name.trim(), weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_and_then_the_listener() {
        let check = |accepted: &str, expected: &str| {
            let found = choose(accepted, &CompressionAlgorithm::ALL);
            assert_eq!(found.map_or("", CompressionAlgorithm::as_str), expected, "{accepted}");
        };
        check("", "");
        check("gzip", "gzip");
        check("gzip, deflate, br, zstd", "br");
        check("gzip, zstd", "gzip");
        check("zstd, gzip", "zstd");
        check("gzip;q=1, br;q=0.5", "gzip");
        check("gzip; q=0.5, br;q=0.8", "br");
        check("br;q=0", "");
        check("*", "br");
        check("br;q=0, *", "zstd");
        check("gzip, *", "gzip");
        check("identity, gzip", "");
        check("identity, br", "br");
        check("identity;q=0.5, *;q=0.1", "");
        check("GZIP, deflate", "");
    }
}
