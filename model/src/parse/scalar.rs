//! Reads single values: text, numbers, words of a list, durations, ports, addresses.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use serde_json::Value;

use super::{
    reader::{Node, Read},
    suggest::closest,
};
use crate::{object::format_duration, tls::TlsVersion};

/// Reads text.
pub(crate) fn text<'a>(node: &Node<'a>) -> Read<&'a str> {
    match node.value() {
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => Err(node.wrong_type("text, in quotes")),
        _ => Err(node.wrong_type("text")),
    }
}

/// Reads `true` or `false`.
pub(crate) fn boolean(node: &Node<'_>) -> Read<bool> {
    node.value().as_bool().ok_or_else(|| node.wrong_type("true or false, without quotes"))
}

/// Reads a whole number within `range`.
pub(crate) fn whole(node: &Node<'_>, range: RangeInclusive<u32>) -> Read<u32> {
    let wanted = format!("a whole number from {} to {}", range.start(), range.end());
    let Value::Number(number) = node.value() else {
        return Err(node.wrong_type(&wanted));
    };
    match number.as_u64().and_then(|number| u32::try_from(number).ok()) {
        Some(number) if range.contains(&number) => Ok(number),
        _ if number.is_f64() => Err(node.error("is not a whole number", format!("write {wanted}"))),
        _ => Err(node.error("is out of range", format!("write {wanted}"))),
    }
}

/// Reads a share in percent that is not nothing.
pub(crate) fn percent(node: &Node<'_>) -> Read<u32> {
    whole(node, 1..=100)
}

/// Reads a port.
pub(crate) fn port(node: &Node<'_>) -> Read<u16> {
    let number = whole(node, 1..=u32::from(u16::MAX))?;
    Ok(u16::try_from(number).expect("the range is that of a port"))
}

/// Reads one of the words of a list.
pub(crate) fn word<T: Copy>(node: &Node<'_>, words: &[(&'static str, T)]) -> Read<T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let Value::String(text) = node.value() else {
        return Err(node.wrong_type(&format!("one of {}", names.join(", "))));
    };
    if let Some((_, value)) = words.iter().find(|(name, _)| name == text) {
        return Ok(*value);
    }
    let remedy = match closest(text, &names) {
        Some(near) => format!("did you mean {near}? known are {}", names.join(", ")),
        None => format!("write one of {}", names.join(", ")),
    };
    Err(node.error("is not known", remedy))
}

/// Reads a version of TLS.
pub(crate) fn tls_version(node: &Node<'_>) -> Read<TlsVersion> {
    word(node, &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)])
}

/// Reads a duration: a whole number with `h`, `m`, `s`, `ms` or `us`, within the bounds.
pub(crate) fn duration(node: &Node<'_>, least: Duration, most: Duration) -> Read<Duration> {
    let wanted =
        format!("write {} to {}, such as 500ms", format_duration(least), format_duration(most));
    let Value::String(text) = node.value() else {
        let number = matches!(node.value(), Value::Number(_));
        let message = if number { "has no unit" } else { "is not a duration" };
        return Err(node.error(message, wanted));
    };
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - unit.len()];
    let unit_us: u64 = match unit {
        "h" => 3_600_000_000,
        "m" => 60_000_000,
        "s" => 1_000_000,
        "ms" => 1_000,
        "us" => 1,
        "" if !digits.is_empty() => return Err(node.error("has no unit", wanted)),
        _ => {
            let message = "is not a whole number with the unit h, m, s, ms or us";
            return Err(node.error(message, wanted));
        }
    };
    if digits.is_empty() {
        return Err(node.error("has no number", wanted));
    }
    let us = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_us));
    match us.map(Duration::from_micros) {
        Some(Duration::ZERO) => Err(node.error("is zero", wanted)),
        Some(duration) if duration < least => Err(node.error("is too short", wanted)),
        Some(duration) if duration <= most => Ok(duration),
        _ => Err(node.error("is too long", wanted)),
    }
}

/// Reads a duration of whole seconds, up to `most`.
pub(crate) fn whole_seconds(node: &Node<'_>, most: Duration) -> Read<Duration> {
    let duration = duration(node, Duration::from_secs(1), most)?;
    if duration.subsec_nanos() != 0 {
        return Err(node.error("is not a number of whole seconds", "write one such as 90s"));
    }
    Ok(duration)
}

/// Reads an address that one host can have.
pub(crate) fn unicast(node: &Node<'_>) -> Read<IpAddr> {
    let text = text(node)?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let remedy = "write one such as 10.0.0.7 or 2001:db8::7, without port or zone";
        return Err(node.error("is not an IP address", remedy));
    };
    let fault = match address {
        _ if address.is_unspecified() => "is the unspecified address",
        _ if address.is_multicast() => "is a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "is the broadcast address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "is an IPv4 address written as IPv6",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "is a link-local address",
        _ => return Ok(address),
    };
    Err(node.error(fault, "write the IPv4 or IPv6 address of one host"))
}

/// Reads an absolute path of a file.
pub(crate) fn file(node: &Node<'_>) -> Read<String> {
    let text = text(node)?;
    let remedy = "write an absolute path, such as /etc/marchproxy/tls/shop.pem";
    if !text.starts_with('/') {
        return Err(node.error("is not an absolute path", remedy));
    }
    if text.len() > crate::limits::MAX_PATH_BYTES {
        return Err(node.error("is too long", remedy));
    }
    if text.chars().any(char::is_control) {
        return Err(node.error("holds a control character", remedy));
    }
    if text.ends_with('/') || text.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(node.error("does not name a file directly", remedy));
    }
    Ok(text.to_owned())
}

/// Reads text of `least` to `most` bytes without control characters.
pub(crate) fn bounded(node: &Node<'_>, least: usize, most: usize) -> Read<String> {
    let text = text(node)?;
    let remedy = format!("write {least} to {most} bytes of printable text");
    if text.len() < least {
        return Err(node.error("is empty", remedy));
    }
    if text.len() > most {
        return Err(node.error(format!("has {} bytes", text.len()), remedy));
    }
    if text.chars().any(char::is_control) {
        return Err(node.error("holds a control character", remedy));
    }
    Ok(text.to_owned())
}

/// Reads a final HTTP status.
pub(crate) fn status(node: &Node<'_>) -> Read<u16> {
    let number = whole(node, 200..=599)?;
    Ok(u16::try_from(number).expect("the range is that of a status"))
}
