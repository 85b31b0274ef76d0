//! Headers of requests that nobody behind is to see.

use super::extension;
use crate::l7::pb::{core, header_mutation, mutation_rules};

/// Makes the filter that takes them off.
pub(super) fn filter<'a>(
    name: &str,
    headers: impl IntoIterator<Item = &'a str>,
) -> core::TypedExtensionConfig {
    use mutation_rules::header_mutation::Action;
    let removed = headers.into_iter().map(|header| mutation_rules::HeaderMutation {
        action: Some(Action::Remove(header.to_owned())),
    });
    let mutations =
        header_mutation::Mutations { request_mutations: removed.collect(), ..Default::default() };
    let filter =
        header_mutation::HeaderMutation { mutations: Some(mutations), ..Default::default() };
    extension(name, &filter)
}
