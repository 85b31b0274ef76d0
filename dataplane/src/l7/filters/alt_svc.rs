//! Tells clients in each answer where else the listener is to be had.

use crate::l7::pb::{core, header_mutation, mutation_rules};

use super::{hcm, pb};

/// Makes the filter. What an endpoint says is of its own ports, which clients don't reach.
pub(super) fn filter(alt_svc: String) -> hcm::HttpFilter {
    use core::header_value_option::HeaderAppendAction;
    let header = core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: "alt-svc".into(),
            value: alt_svc,
            ..Default::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..Default::default()
    };
    let mutation = mutation_rules::HeaderMutation {
        action: Some(mutation_rules::header_mutation::Action::Append(header)),
    };
    let mutations =
        header_mutation::Mutations { response_mutations: vec![mutation], ..Default::default() };
    let config =
        header_mutation::HeaderMutation { mutations: Some(mutations), ..Default::default() };
    super::filter("envoy.filters.http.header_mutation", pb::any(&config))
}
