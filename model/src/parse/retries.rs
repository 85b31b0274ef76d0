//! Reads `retries` of an HTTP rule.

use std::time::Duration;

use super::{
    backend::unique,
    reader::{Node, Read},
    scalar::{duration, whole, word},
};
use crate::{
    limits::{MAX_ATTEMPTS, MAX_BACKOFF, MAX_STATUSES, MAX_TIMEOUT, MIN_TIMEOUT},
    object::format_duration,
    route::{Retries, RetryOn},
};

const DEFAULT_ATTEMPTS: u32 = 1;
/// Failures after which the endpoint cannot have begun to act on the request, but for `reset`.
const DEFAULT_ON: [RetryOn; 3] = [RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset];
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

pub(super) fn retries(node: &Node<'_>) -> Read<Retries> {
    let fields = node.fields()?;
    let attempts = fields.or("attempts", DEFAULT_ATTEMPTS, |node| whole(node, 1..=MAX_ATTEMPTS));
    let on = fields.or("on", DEFAULT_ON.to_vec(), conditions);
    let per_try_timeout =
        fields.optional("perTryTimeout", |node| duration(node, MIN_TIMEOUT, MAX_TIMEOUT));
    let backoff =
        fields.or("backoff", DEFAULT_BACKOFF, |node| duration(node, MIN_TIMEOUT, MAX_BACKOFF));
    let max_backoff =
        fields.optional("maxBackoff", |node| duration(node, MIN_TIMEOUT, MAX_TIMEOUT));
    let grows = match (backoff, max_backoff) {
        (Ok(backoff), Ok(Some(most))) if most < backoff => {
            let message = format!("is shorter than the first pause, {}", format_duration(backoff));
            Err(fields.error("maxBackoff", message, "write at least backoff"))
        }
        _ => Ok(()),
    };
    let per_try_idle_timeout =
        fields.optional("perTryIdleTimeout", |node| duration(node, MIN_TIMEOUT, MAX_TIMEOUT));
    let statuses = fields.or("statuses", Vec::new(), statuses);
    let retry_after_max =
        fields.optional("retryAfterMax", |node| duration(node, MIN_TIMEOUT, MAX_TIMEOUT));
    let known = fields.finish();
    let retries = Retries {
        attempts: attempts?,
        on: on?,
        per_try_timeout: per_try_timeout?,
        backoff: backoff?,
        max_backoff: max_backoff?,
        per_try_idle_timeout: per_try_idle_timeout?,
        statuses: statuses?,
        retry_after_max: retry_after_max?,
    };
    grows.and(known).map(|()| retries)
}

fn conditions(node: &Node<'_>) -> Read<Vec<RetryOn>> {
    let words = RetryOn::ALL.map(|on| (on.as_str(), on));
    let items = node.items(1, words.len(), |node| word(node, &words))?;
    unique(node, &items, |on| on)?;
    items.into_iter().collect()
}

fn statuses(node: &Node<'_>) -> Read<Vec<u16>> {
    let items = node.items(0, MAX_STATUSES, |node| {
        let number = whole(node, 400..=599)?;
        Ok(u16::try_from(number).expect("the range is that of a status"))
    })?;
    unique(node, &items, |status| status)?;
    items.into_iter().collect()
}
