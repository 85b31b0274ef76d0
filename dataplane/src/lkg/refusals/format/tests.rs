//! The format against its fixture, every truncation and bit flip, and its bound.

use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use model::{Kind, ObjectKey, Refusal};
use proptest::prelude::*;

use super::*;
use crate::{
    l7::{Origin, Resource, ResourceId, ResourceType},
    xds::{Kept, RefusedVersion},
};

fn cluster() -> ClusterId {
    "0123456789abcdef".parse().unwrap()
}

fn route() -> ObjectKey {
    ObjectKey::new(Kind::HttpRoute, "default", "r")
}

fn accepted(kind: ResourceType, name: &str, clusters: &[&str]) -> Arc<Resource> {
    Arc::new(Resource {
        name: name.into(),
        version: "0102030405060708".into(),
        body: Any { type_url: kind.type_url().to_owned(), value: vec![10, 1, 120] },
        clusters: clusters.iter().map(|cluster| (*cluster).into()).collect(),
        wants: clusters.iter().map(|name| ResourceId::new(ResourceType::Secret, *name)).collect(),
        object: route(),
        origins: vec![
            Origin { object: route(), field: "spec.a".into(), text: "/x".into(), route: Some(7) },
            Origin { object: route(), field: "spec.b".into(), text: "y".into(), route: None },
        ],
    })
}

fn refused(version: &str, object: Option<ObjectKey>) -> RefusedVersion {
    let refusal = Refusal {
        object,
        field: "spec.rules[0]".into(),
        resource: "ScopedRouteConfiguration s".into(),
        message: "too large".into(),
    };
    RefusedVersion { version: version.into(), refusal }
}

fn standing() -> Standing {
    let id = ResourceId::new;
    let scope = Kept {
        refused: vec![refused("0a", Some(route())), refused("0b", None)],
        accepted: Some(accepted(ResourceType::ScopedRoute, "s", &["default/a"])),
    };
    let listener = Kept { refused: vec![refused("0c", Some(route()))], accepted: None };
    let needed = |kind| Kept { refused: vec![], accepted: Some(accepted(kind, "default/a", &[])) };
    Standing(BTreeMap::from([
        (id(ResourceType::ScopedRoute, "s"), scope),
        (id(ResourceType::Listener, "default/l"), listener),
        (id(ResourceType::Cluster, "default/a"), needed(ResourceType::Cluster)),
        (id(ResourceType::Endpoints, "default/a"), needed(ResourceType::Endpoints)),
    ]))
}

/// Also the bodies, which equality of resources leaves out.
fn bodies(standing: &Standing) -> Vec<Option<&Any>> {
    standing.0.values().map(|kept| kept.accepted.as_ref().map(|kept| &kept.body)).collect()
}

#[test]
fn format_1_is_written_and_read_as_it_was() {
    let fixture = include_bytes!("../../../../testdata/refusals-v1");
    let read = decode(fixture, &cluster()).unwrap();
    assert_eq!(read, standing());
    assert_eq!(bodies(&read), bodies(&standing()));
    assert_eq!(encode(&cluster(), &standing()).bytes, fixture);
}

#[test]
fn every_truncation_and_every_addition_is_refused() {
    let mut bytes = encode(&cluster(), &standing()).bytes;
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length], &cluster()).is_err(), "{length} bytes");
    }
    bytes.push(0);
    assert!(matches!(decode(&bytes, &cluster()), Err(InvalidStanding::Trailing { .. })));
}

#[test]
fn a_file_of_another_cluster_version_or_content_is_refused() {
    let bytes = encode(&cluster(), &standing()).bytes;
    let other = decode(&bytes, &ClusterId::random());
    assert!(matches!(other, Err(InvalidStanding::OtherCluster { .. })));
    let mut later = bytes.clone();
    later[HEADER.len() - 1] += 1;
    assert!(matches!(decode(&later, &cluster()), Err(InvalidStanding::Header)));

    let with_body = |body: &[u8]| {
        let mut bytes = HEADER.to_vec();
        journal::push_body(&mut bytes, body);
        decode(&bytes, &cluster()).unwrap_err()
    };
    assert!(matches!(with_body(&[0xff]), InvalidStanding::Body(_)));
    let (id, kept) = standing().0.pop_last().unwrap();
    let body = |change: &dyn Fn(&mut Entry)| {
        let mut entry = Entry::of(&id, &kept);
        change(&mut entry);
        Body { cluster: cluster().to_string(), entries: vec![entry] }.encode_to_vec()
    };
    let error = with_body(&body(&|entry| entry.id.type_url = "x".into()));
    assert!(matches!(error, InvalidStanding::Type { .. }), "{error}");
    let error = with_body(&body(&|entry| entry.refused[0].object = Some("Cow/a/b".into())));
    assert!(matches!(error, InvalidStanding::Key(_)), "{error}");
}

#[test]
fn what_does_not_fit_is_left_out_whole_and_counted() {
    let mut standing = standing();
    let mut large = refused("0d", None);
    large.refusal.message = "x".repeat(BODY_MAX / 3);
    for n in 0..5 {
        let id = ResourceId::new(ResourceType::ScopedRoute, format!("large{n}"));
        standing.0.insert(id, Kept { refused: vec![large.clone()], accepted: None });
    }
    let encoded = encode(&cluster(), &standing);
    assert!(encoded.bytes.len() <= HEADER.len() + 8 + BODY_MAX);
    let read = decode(&encoded.bytes, &cluster()).unwrap();
    assert_eq!(read.0.len() + encoded.left_out, standing.0.len());
    assert!(read.0.len() >= 3, "{} fit", read.0.len());
    assert!(read.0.iter().all(|(id, kept)| standing.0.get(id) == Some(kept)));
}

proptest! {
    #[test]
    fn a_flipped_bit_is_noticed(index in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode(&cluster(), &standing()).bytes;
        let at = index.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes, &cluster()).is_err());
    }
}
