//! Reads what every route has: the listeners it attaches to and weighted services.

use super::{
    name::reference,
    reader::{Node, Read},
    scalar::{percent, whole},
};
use crate::{
    limits::{MAX_BACKEND_WEIGHT, MAX_BACKENDS, MAX_LISTENERS, MAX_MIRRORS},
    route::{Mirror, Reference, WeightedBackend},
};

/// Reads the listeners of a route: at least one, none twice.
pub(super) fn listeners(node: &Node<'_>, namespace: &str) -> Read<Vec<Reference>> {
    let items = node.items(1, MAX_LISTENERS, |node| reference(node, namespace))?;
    unique(node, &items, |listener| listener)?;
    items.into_iter().collect()
}

/// Reads weighted services: at least one, none twice, with a sum of weights above 0.
pub(super) fn backends(node: &Node<'_>, namespace: &str) -> Read<Vec<WeightedBackend>> {
    let items = node.items(1, MAX_BACKENDS, |node| backend(node, namespace))?;
    let distinct = unique(node, &items, |backend| &backend.service);
    let backends: Vec<WeightedBackend> = items.into_iter().collect::<Read<_>>()?;
    let sum: u32 = backends.iter().map(|backend| backend.weight).sum();
    if sum == 0 {
        let remedy = "give one of them a weight above 0";
        return Err(node.error("has weights with the sum 0", remedy));
    }
    distinct.map(|()| backends)
}

/// Reads services that get copies of requests: none twice.
pub(super) fn mirrors(node: &Node<'_>, namespace: &str) -> Read<Vec<Mirror>> {
    let items = node.items(0, MAX_MIRRORS, |node| mirror(node, namespace))?;
    let distinct = unique(node, &items, |mirror| &mirror.service);
    let mirrors: Vec<Mirror> = items.into_iter().collect::<Read<_>>()?;
    distinct.map(|()| mirrors)
}

fn mirror(node: &Node<'_>, namespace: &str) -> Read<Mirror> {
    let fields = node.fields()?;
    let service = fields.required("service", "{name: …}", |node| reference(node, namespace));
    let percent = fields.or("percent", 100, percent);
    let known = fields.finish();
    let mirror = Mirror { service: service?, percent: percent? };
    known.map(|()| mirror)
}

fn backend(node: &Node<'_>, namespace: &str) -> Read<WeightedBackend> {
    let fields = node.fields()?;
    let service = fields.required("service", "{name: …}", |node| reference(node, namespace));
    let weight = fields.or("weight", 1, |node| whole(node, 0..=MAX_BACKEND_WEIGHT));
    let known = fields.finish();
    let backend = WeightedBackend { service: service?, weight: weight? };
    known.map(|()| backend)
}

/// Reports every item whose key stands before it in the list.
pub(super) fn unique<T, K: PartialEq + ?Sized>(
    node: &Node<'_>,
    items: &[Read<T>],
    key: impl Fn(&T) -> &K,
) -> Read<()> {
    let mut outcome = Ok(());
    for (index, item) in items.iter().enumerate() {
        let Ok(item) = item else { continue };
        if items[..index].iter().flatten().any(|earlier| key(earlier) == key(item)) {
            outcome = Err(node.at_item(index, |node| {
                node.error("stands in the list twice", "keep one of them") //
            }));
        }
    }
    outcome
}
