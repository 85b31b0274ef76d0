//! Envoy's question as it comes. Its generated type has text for the values of headers, which may be any
//! bytes: one that is no UTF-8 would make the question unreadable, and let the request by.

/// A `RateLimitRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Question {
    #[prost(message, repeated, tag = "2")]
    pub(super) descriptors: Vec<Descriptor>,
}

/// A `RateLimitDescriptor`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    pub(super) entries: Vec<Entry>,
}

/// An `Entry` of one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::{
        extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor},
        service::ratelimit::v3::RateLimitRequest,
    };
    use prost::Message;

    use super::*;

    #[test]
    fn it_is_envoys() {
        let entry = rate_limit_descriptor::Entry { key: "k".into(), value: "v".into() };
        let descriptor = RateLimitDescriptor {
            entries: vec![entry],
            limit: Some(Default::default()),
            hits_addend: Some(Default::default()),
            is_negative_hits: false,
        };
        let domain = "d".to_owned();
        let asked = RateLimitRequest { domain, descriptors: vec![descriptor], hits_addend: 3 };
        let read = Question::decode(asked.encode_to_vec().as_slice()).unwrap();
        let entries = vec![Entry { key: b"k".into(), value: b"v".into() }];
        assert_eq!(read, Question { descriptors: vec![Descriptor { entries }] });
    }
}
