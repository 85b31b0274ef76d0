//! Reads `retries` of an HTTP rule.

use std::time::Duration;

use super::{
    backend::unique,
    reader::{Node, Read},
    scalar::{duration, whole, word},
};
use crate::{
    limits::{MAX_ATTEMPTS, MAX_BACKOFF, MAX_TIMEOUT, MIN_TIMEOUT},
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
    let known = fields.finish();
    let retries = Retries {
        attempts: attempts?,
        on: on?,
        per_try_timeout: per_try_timeout?,
        backoff: backoff?,
    };
    known.map(|()| retries)
}

fn conditions(node: &Node<'_>) -> Read<Vec<RetryOn>> {
    let words = RetryOn::ALL.map(|on| (on.as_str(), on));
    let items = node.items(1, words.len(), |node| word(node, &words))?;
    unique(node, &items, |on| on)?;
    items.into_iter().collect()
}
