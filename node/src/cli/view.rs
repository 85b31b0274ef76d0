//! Answers of the API as text for people. Pure.

pub mod acks;
pub mod certificates;
pub mod changes;
pub mod cluster;
pub mod doctor;
pub mod endpoints;
pub mod explain;
pub mod explain_request;
pub mod flows;
pub mod modules;
pub mod objects;
pub mod qos;
pub mod rollout;

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");

/// Formats milliseconds since 1970-01-01 as UTC, to the second.
#[must_use]
pub fn time(ms: u64) -> String {
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(TIME).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}

/// Formats a yes or no.
fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}
