//! What is kept, when that is news, and what a restored ledger wants; see also `sm`'s tests, where
//! whole sessions start cold.

use envoy_types::pb::google::protobuf::Any;
use model::{Kind, ObjectKey};

use super::{super::RETRY_INTERVAL, *};

const SCOPE: ResourceType = ResourceType::ScopedRoute;
const NEEDED: [ResourceType; 2] = [ResourceType::Cluster, ResourceType::Endpoints];

fn resource(name: &str, version: &str, clusters: &[&str]) -> Arc<Resource> {
    Arc::new(Resource {
        name: name.into(),
        version: version.into(),
        body: Any::default(),
        clusters: clusters.iter().map(|cluster| (*cluster).into()).collect(),
        wants: Vec::new(),
        object: ObjectKey::new(Kind::HttpRoute, "default", "r"),
        origins: Vec::new(),
    })
}

fn world(resources: &[(ResourceType, &Arc<Resource>)]) -> World {
    let mut world = World::default();
    for (kind, resource) in resources {
        world.set(*kind, &resource.name, Some((***resource).clone()));
    }
    world
}

/// A scope whose first version, to a cluster, was accepted and whose second one was refused.
struct Refused {
    ledger: Ledger,
    first: Arc<Resource>,
    second: Arc<Resource>,
    cluster: Arc<Resource>,
    now: Instant,
}

fn refused() -> Refused {
    let (first, second) = (resource("s", "1", &["c"]), resource("s", "2", &[]));
    let (cluster, now) = (resource("c", "1", &[]), Instant::now());
    let (mut ledger, world) = (Ledger::default(), World::default());
    for kind in NEEDED {
        ledger.accept(&world, kind, &cluster);
        ledger.accept(&world, kind, &resource("other", "1", &[]));
    }
    ledger.accept(&world, SCOPE, &first);
    ledger.accept(&world, SCOPE, &resource("t", "1", &["other"]));
    ledger.refuse(now, SCOPE, &second, "too large");
    Refused { ledger, first, second, cluster, now }
}

impl Refused {
    fn world(&self) -> World {
        let [a, b] = NEEDED.map(|kind| (kind, &self.cluster));
        world(&[(SCOPE, &self.second), a, b])
    }
}

#[test]
fn what_is_refused_is_kept_with_what_it_needs_and_nothing_else() {
    let mut case = refused();
    case.ledger.refuse(case.now, ResourceType::Listener, &resource("l", "1", &[]), "in use");
    let standing = case.ledger.news(&Standing::default(), &case.world()).expect("news");
    let kept: Vec<String> = standing
        .0
        .iter()
        .map(|(id, kept)| {
            let refused = kept.refused.iter().map(|one| format!("-{}", one.version));
            let accepted = kept.accepted.iter().map(|one| format!("+{}", one.version));
            format!("{id} {}", refused.chain(accepted).collect::<String>())
        })
        .collect();
    assert_eq!(
        kept,
        [
            "Cluster c +1",
            "ClusterLoadAssignment c +1",
            "Listener l -1",
            "ScopedRouteConfiguration s -2+1"
        ]
    );
    assert_eq!(Ledger::restore(case.now, &standing).standing(), standing);
}

#[test]
fn only_a_refusal_that_comes_changes_or_ends_is_news() {
    let mut case = refused();
    let mut saved = Standing::default();
    let mut check = |case: &Refused, world: &World, what: &str, expected: bool| {
        let news = case.ledger.news(&saved, world);
        assert_eq!(news.is_some(), expected, "{what}");
        saved = news.unwrap_or(saved.clone());
    };
    let before = case.world();
    check(&case, &before, "a refusal", true);
    check(&case, &before, "the same refusal", false);
    case.ledger.accept(&before, SCOPE, &resource("t", "2", &["other"]));
    check(&case, &before, "an ordinary change", false);
    case.ledger.accept(&before, ResourceType::Endpoints, &resource("c", "2", &[]));
    check(&case, &before, "other endpoints of what stands in", false);
    let gone = world(&[(SCOPE, &case.second)]);
    check(&case, &gone, "the end of a cluster with endpoints that are not saved", true);
    check(&case, &gone, "the same end", false);
    case.ledger.refuse(case.now, SCOPE, &resource("s", "3", &[]), "still too large");
    check(&case, &gone, "another refused version", true);
    case.ledger.accept(&gone, SCOPE, &case.first);
    check(&case, &gone, "what stands in, sent again", false);
    let fourth = resource("s", "4", &[]);
    let ends = world(&[(SCOPE, &fourth)]);
    case.ledger.accept(&ends, SCOPE, &fourth);
    check(&case, &ends, "a version that ends the refusal", true);
    assert_eq!(saved, Standing::default());
}

#[test]
fn a_restored_ledger_wants_what_stood_in_and_never_what_was_refused() {
    let case = refused();
    let saved = case.ledger.news(&Standing::default(), &case.world()).expect("news");
    let mut restored = Ledger::restore(case.now, &saved);
    restored.is_instance("another start");
    let name = |name: &str| Arc::<str>::from(name);
    let version = |restored: &Ledger, world: &World, kind, name: &Arc<str>| {
        restored.wanted(world, kind, name).map(|wanted| wanted.version.to_string())
    };
    // The cluster may have gone while the data plane was down.
    let gone = world(&[(SCOPE, &case.second)]);
    for world in [case.world(), gone.clone()] {
        restored.lift_gone(&world);
        assert_eq!(version(&restored, &world, SCOPE, &name("s")).as_deref(), Some("1"));
        for kind in NEEDED {
            assert_eq!(version(&restored, &world, kind, &name("c")).as_deref(), Some("1"));
        }
        assert_eq!(restored.refusals(&world), case.ledger.refusals(&world));
        assert_eq!(restored.refusals(&world).len(), 1);
    }
    assert_eq!(restored.next_retry(), None);
    // Another version is offered.
    let better = resource("s", "3", &[]);
    let world = world(&[(SCOPE, &better)]);
    assert_eq!(version(&restored, &world, SCOPE, &name("s")).as_deref(), Some("3"));
    restored.accept(&world, SCOPE, &better);
    assert_eq!(restored.news(&saved, &world), Some(Standing::default()));
}

#[test]
fn a_restored_listener_is_tried_again_in_time() {
    let now = Instant::now();
    let mut ledger = Ledger::default();
    ledger.refuse(now, ResourceType::Listener, &resource("l", "1", &[]), "in use");
    let later = now + RETRY_INTERVAL * 3;
    let mut restored = Ledger::restore(later, &ledger.standing());
    assert!(restored.retries(later).is_empty());
    assert_eq!(restored.next_retry(), Some(later + RETRY_INTERVAL));
}

#[test]
fn what_the_configuration_has_no_more_is_lifted_but_not_what_is_held_back() {
    let mut case = refused();
    let listener = resource("l", "1", &[]);
    case.ledger.refuse(case.now, ResourceType::Listener, &listener, "in use");
    let mut held_back = World::default();
    held_back.waiting = Some(model::Revision(1));
    case.ledger.lift_gone(&held_back);
    let ids: Vec<_> = case.ledger.standing().0.into_keys().collect();
    assert_eq!(ids, [ResourceId::new(ResourceType::Listener, "l")]);
    case.ledger.lift_gone(&World::default());
    assert_eq!(case.ledger.standing(), Standing::default());
}
