//! Reads `failover`.

use std::collections::BTreeSet;

use crate::{
    limits::{
        MAX_ENDPOINT_WEIGHT, MAX_LABEL_VALUE_BYTES, MAX_LOCALITY_WEIGHTS, OVERPROVISIONING_PERCENT,
    },
    parse::{
        backend::unique,
        reader::{Fields, Node, Read},
        scalar::{bounded, whole},
    },
    service::{Failover, Locality, LocalityWeight, Service},
};

pub(super) fn failover(node: &Node<'_>) -> Read<Failover> {
    let fields = node.fields()?;
    let panic = fields.optional("panicThresholdPercent", |node| whole(node, 0..=100));
    let factor =
        fields.optional("overprovisioningPercent", |node| whole(node, OVERPROVISIONING_PERCENT));
    let weights = fields.or("localityWeights", Vec::new(), locality_weights);
    let known = fields.finish();
    let failover = Failover {
        panic_threshold_percent: panic?,
        overprovisioning_percent: factor?,
        locality_weights: weights?,
    };
    known.map(|()| failover)
}

fn locality_weights(node: &Node<'_>) -> Read<Vec<LocalityWeight>> {
    let items = node.items(1, MAX_LOCALITY_WEIGHTS, locality_weight)?;
    unique(node, &items, |weight| &weight.locality)?;
    items.into_iter().collect()
}

fn locality_weight(node: &Node<'_>) -> Read<LocalityWeight> {
    let fields = node.fields()?;
    let part = |node: &Node<'_>| bounded(node, 0, MAX_LABEL_VALUE_BYTES);
    let region = fields.or("region", String::new(), part);
    let zone = fields.or("zone", String::new(), part);
    let weight = fields
        .required("weight", "a number from 1 to 1000", |node| whole(node, 1..=MAX_ENDPOINT_WEIGHT));
    let known = fields.finish();
    let locality = Locality { region: region?, zone: zone? };
    let weight = LocalityWeight { locality, weight: weight? };
    known.map(|()| weight)
}

/// Each endpoint's place has a share: Envoy sends nothing to one that has none.
pub(super) fn fits(fields: &Fields<'_>, service: &Service) -> Read<()> {
    let Some(failover) = &service.failover else { return Ok(()) };
    if failover.locality_weights.is_empty() {
        return Ok(());
    }
    if service.dns.is_some() {
        let problem = "weighs places, and addresses that are found by name have none";
        return Err(fields.error("failover", problem, "remove localityWeights"));
    }
    let known: BTreeSet<&Locality> =
        failover.locality_weights.iter().map(|weight| &weight.locality).collect();
    let Some(without) =
        service.endpoints.iter().find(|endpoint| !known.contains(&endpoint.locality))
    else {
        return Ok(());
    };
    let Locality { region, zone } = &without.locality;
    let problem = format!(
        "has no weight for region {region:?}, zone {zone:?}, where endpoint {} is",
        without.socket_address()
    );
    Err(fields.error("failover", problem, "give each place of an endpoint a weight"))
}
