//! Reads `outlierDetection`.

use std::time::Duration;

use crate::{
    limits::{MAX_EJECTION_TIME, MAX_INTERVAL, MAX_OUTLIER_COUNT, MAX_STDEV_FACTOR, MIN_INTERVAL},
    object::format_duration,
    parse::{
        reader::{Node, Read},
        scalar::{duration, whole},
    },
    service::{FailurePercentage, OutlierDetection, SuccessRate},
};

/// Envoy's own defaults.
const DEFAULT_CONSECUTIVE: u32 = 5;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_EJECTION: Duration = Duration::from_secs(30);
const DEFAULT_EJECTION_MAX: Duration = Duration::from_secs(300);
const DEFAULT_HOSTS: u32 = 5;
/// Envoy's own 10 would never leave out one of fewer than ten; at one half the last one stays.
const DEFAULT_EJECTION_PERCENT: u32 = 50;

pub(super) fn outlier_detection(node: &Node<'_>) -> Read<OutlierDetection> {
    let fields = node.fields()?;
    let count = |name| fields.optional(name, |node| whole(node, 1..=MAX_OUTLIER_COUNT));
    let mut consecutive_5xx = count("consecutive5xx");
    let gateway = count("consecutiveGatewayErrors");
    let local_origin = count("consecutiveLocalOriginFailures");
    let success_rate = fields.optional("successRate", success_rate);
    let failure_percentage = fields.optional("failurePercentage", failure_percentage);
    let time =
        |name, default, most| fields.or(name, default, |node| duration(node, MIN_INTERVAL, most));
    let interval = time("interval", DEFAULT_INTERVAL, MAX_INTERVAL);
    let base = time("baseEjectionTime", DEFAULT_EJECTION, MAX_EJECTION_TIME);
    let most =
        fields.optional("maxEjectionTime", |node| duration(node, MIN_INTERVAL, MAX_EJECTION_TIME));
    let percent =
        fields.or("maxEjectionPercent", DEFAULT_EJECTION_PERCENT, |node| whole(node, 1..=100));
    let fits = match (base, most) {
        (Ok(base), Ok(Some(most))) if most < base => {
            let message =
                format!("is shorter than the baseEjectionTime of {}", format_duration(base));
            Err(fields.error("maxEjectionTime", message, "write at least that"))
        }
        _ => Ok(()),
    };
    let named = [
        "consecutive5xx",
        "consecutiveGatewayErrors",
        "consecutiveLocalOriginFailures",
        "successRate",
        "failurePercentage",
    ];
    if !named.into_iter().any(|name| fields.has(name)) {
        consecutive_5xx = Ok(Some(DEFAULT_CONSECUTIVE));
    }
    let known = fields.finish();
    let base = base?;
    let detection = OutlierDetection {
        consecutive_5xx: consecutive_5xx?,
        consecutive_gateway_errors: gateway?,
        consecutive_local_origin_failures: local_origin?,
        success_rate: success_rate?,
        failure_percentage: failure_percentage?,
        interval: interval?,
        base_ejection_time: base,
        max_ejection_time: most?.unwrap_or(DEFAULT_EJECTION_MAX.max(base)),
        max_ejection_percent: percent?,
    };
    fits.and(known).map(|()| detection)
}

fn success_rate(node: &Node<'_>) -> Read<SuccessRate> {
    let fields = node.fields()?;
    let hosts = fields.or("minimumHosts", DEFAULT_HOSTS, |node| whole(node, 1..=MAX_OUTLIER_COUNT));
    let volume = fields.or("requestVolume", 100, |node| whole(node, 1..=MAX_OUTLIER_COUNT));
    let factor = fields.or("stdevFactor", 1_900, |node| whole(node, 1..=MAX_STDEV_FACTOR));
    let known = fields.finish();
    let rate =
        SuccessRate { minimum_hosts: hosts?, request_volume: volume?, stdev_factor: factor? };
    known.map(|()| rate)
}

fn failure_percentage(node: &Node<'_>) -> Read<FailurePercentage> {
    let fields = node.fields()?;
    let threshold = fields.or("threshold", 85, |node| whole(node, 1..=100));
    let hosts = fields.or("minimumHosts", DEFAULT_HOSTS, |node| whole(node, 1..=MAX_OUTLIER_COUNT));
    let volume = fields.or("requestVolume", 50, |node| whole(node, 1..=MAX_OUTLIER_COUNT));
    let known = fields.finish();
    let percentage =
        FailurePercentage { threshold: threshold?, minimum_hosts: hosts?, request_volume: volume? };
    known.map(|()| percentage)
}
