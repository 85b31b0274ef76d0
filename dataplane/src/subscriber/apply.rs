//! From the commands of the push protocol to the next desired state. Pure.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    Kind, Object, ObjectKey, Revision, Snapshot, error::ConfigErrors, parse::object_from_value,
};
use runtime::push::HealthUpdate;
use serde_json::Value;

use crate::desired::{Changed, Desired};

/// An object came that this program does not accept; nothing of its message is used.
#[derive(Debug, thiserror::Error)]
#[error("revision {revision} holds an object that is not valid here")]
pub(super) struct InvalidObject {
    revision: Revision,
    #[source]
    errors: ConfigErrors,
}

/// The desired state after a whole configuration.
pub(super) fn replace(
    desired: &Desired,
    revision: Revision,
    objects: &[Value],
) -> Result<Desired, InvalidObject> {
    let mut config = Snapshot::default();
    for object in parsed(revision, objects)? {
        // An object that did not change keeps its place in memory, so that the difference to what
        // engines run costs little to compare.
        let known = desired.config.get(&object.key()).filter(|known| ***known == object);
        config.put(known.cloned().unwrap_or_else(|| Arc::new(object)));
    }
    config.set_revision(revision);
    Ok(Desired { revision, config, changed: Changed::Snapshot, ..desired.clone() })
}

/// The desired state after a change.
pub(super) fn change(
    desired: &Desired,
    revision: Revision,
    puts: &[Value],
    deletes: &[ObjectKey],
) -> Result<Desired, InvalidObject> {
    let mut config = desired.config.clone();
    for object in parsed(revision, puts)? {
        config.put(Arc::new(object));
    }
    for key in deletes {
        config.remove(key);
    }
    config.set_revision(revision);
    Ok(Desired { revision, config, changed: Changed::Delta, ..desired.clone() })
}

/// The desired state after a health update. Endpoints of panicking services stay in use.
pub(super) fn health(desired: &Desired, update: HealthUpdate) -> Desired {
    let panicking: BTreeSet<ObjectKey> = update.panicking.into_iter().collect();
    let unhealthy = update
        .unhealthy
        .into_iter()
        .filter(|endpoint| !panicking.contains(&endpoint.service))
        .collect();
    Desired {
        unhealthy: Arc::new(unhealthy),
        panicking: Arc::new(panicking),
        changed: Changed::Health,
        ..desired.clone()
    }
}

/// The desired state with what is known of health by now, which waits for nothing.
pub(super) fn with_health_of(desired: Desired, present: &Desired) -> Desired {
    let (unhealthy, panicking) = (present.unhealthy.clone(), present.panicking.clone());
    Desired { unhealthy, panicking, ..desired }
}

/// Tells whether something among objects runs modules.
pub(super) fn has_modules(objects: &[Value]) -> bool {
    objects.iter().any(|object| object["kind"] == Kind::FilterModule.as_str())
}

/// Tells whether there is a certificate among objects.
pub(super) fn has_certificates(objects: &[Value]) -> bool {
    objects.iter().any(|object| object["kind"] == Kind::Certificate.as_str())
}

fn parsed(revision: Revision, objects: &[Value]) -> Result<Vec<Object>, InvalidObject> {
    objects
        .iter()
        .map(|value| object_from_value(value).map_err(|errors| InvalidObject { revision, errors }))
        .collect()
}

#[cfg(test)]
mod tests {
    use model::EndpointId;
    use serde_json::json;

    use super::*;

    fn service(name: &str, port: u16) -> Value {
        json!({
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"endpoints": [{"address": "192.0.2.1", "port": port}]},
        })
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(model::Kind::Service, "default", name)
    }

    #[test]
    fn changes_build_on_what_stands_and_replacements_do_not() {
        let first =
            replace(&Desired::default(), Revision(3), &[service("a", 1), service("b", 1)]).unwrap();
        assert_eq!((first.revision, first.config.len()), (Revision(3), 2));
        let second = change(&first, Revision(4), &[service("c", 1)], &[key("a")]).unwrap();
        let names: Vec<_> = second.config.objects().map(|(key, _)| key.name.clone()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(second.config.revision(), Revision(4));
        let third = replace(&second, Revision(5), &[service("b", 1)]).unwrap();
        assert_eq!(third.config.len(), 1);
        let kept = (second.config.get(&key("b")), third.config.get(&key("b")));
        assert!(Arc::ptr_eq(kept.0.unwrap(), kept.1.unwrap()));
    }

    #[test]
    fn one_invalid_object_refuses_the_whole_message() {
        let bad = json!({"kind": "Service", "metadata": {"name": "x"}, "spec": {"nonsense": 1}});
        let start = replace(&Desired::default(), Revision(3), &[service("a", 1)]).unwrap();
        let error = change(&start, Revision(4), &[service("b", 1), bad], &[]).unwrap_err();
        assert!(error.errors.to_string().contains("nonsense"), "{}", error.errors);
    }

    #[test]
    fn endpoints_of_panicking_services_stay_in_use() {
        let endpoint = |name: &str| EndpointId {
            service: key(name),
            address: "192.0.2.1:80".parse().unwrap(),
        };
        let update = HealthUpdate {
            unhealthy: vec![endpoint("a"), endpoint("b")],
            panicking: vec![key("a")],
        };
        let desired = health(&Desired::default(), update);
        assert_eq!(desired.unhealthy.iter().collect::<Vec<_>>(), [&endpoint("b")]);
        assert!(desired.panicking.contains(&key("a")));
        // The next update replaces the set.
        let desired = health(&desired, HealthUpdate::default());
        assert!(desired.unhealthy.is_empty() && desired.panicking.is_empty());
    }
}
