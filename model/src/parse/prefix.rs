//! Reads address prefixes and lists of them.

use std::net::IpAddr;

use super::{
    reader::{Node, Read},
    scalar::text,
};
use crate::prefix::{InvalidPrefix, Prefix, Prefixes};

/// Reads `least` to `most` prefixes; they are put in order, without those that are within others.
pub(super) fn prefixes(node: &Node<'_>, least: usize, most: usize) -> Read<Prefixes> {
    let items = node.items(least, most, prefix)?;
    Ok(Prefixes::new(items.into_iter().collect::<Read<_>>()?))
}

/// Reads a prefix, or an address as the prefix of that address alone.
fn prefix(node: &Node<'_>) -> Read<Prefix> {
    let text = text(node)?;
    let remedy = "write one such as 203.0.113.0/24 or 2001:db8::/32";
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(node.error("is not an address with the length of a prefix", remedy));
    };
    let made = match length {
        None => Prefix::of(address),
        Some(length) => match length.parse::<u8>() {
            Ok(number) if number.to_string() == length => Prefix::new(address, number),
            _ => return Err(node.error("has no whole number behind the /", remedy)),
        },
    };
    made.map_err(|error| {
        let remedy = match error {
            InvalidPrefix::Length { most } => format!("write 0 to {most} behind the /"),
            InvalidPrefix::HostBits { meant } => match Prefix::of(address) {
                Ok(alone) => format!("write {meant}, or {alone} for the one address"),
                Err(_) => format!("write {meant}"),
            },
            InvalidPrefix::Mapped => "write the IPv4 prefix".to_owned(),
        };
        node.error(error.to_string(), remedy)
    })
}
