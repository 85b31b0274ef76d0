//! When Envoy leaves an endpoint out for its answers.

use model::service::OutlierDetection;

use super::pb::{self, cluster};

/// Enforced, or only counted; Envoy takes shares of it, which nobody asks for.
const ENFORCED: u32 = 100;
const COUNTED: u32 = 0;

/// Makes the detection. Envoy enforces some detectors by default and others not: each is said.
pub(super) fn detection(detection: &OutlierDetection) -> cluster::OutlierDetection {
    let enforced = |is: bool| Some(pb::uint32(if is { ENFORCED } else { COUNTED }));
    let (success, failure) = (detection.success_rate, detection.failure_percentage);
    let split = detection.consecutive_local_origin_failures.is_some();
    cluster::OutlierDetection {
        consecutive_5xx: detection.consecutive_5xx.map(pb::uint32),
        enforcing_consecutive_5xx: enforced(detection.consecutive_5xx.is_some()),
        consecutive_gateway_failure: detection.consecutive_gateway_errors.map(pb::uint32),
        enforcing_consecutive_gateway_failure: enforced(
            detection.consecutive_gateway_errors.is_some(),
        ),
        split_external_local_origin_errors: split,
        consecutive_local_origin_failure: detection
            .consecutive_local_origin_failures
            .map(pb::uint32),
        enforcing_consecutive_local_origin_failure: enforced(split),
        enforcing_success_rate: enforced(success.is_some()),
        enforcing_local_origin_success_rate: enforced(success.is_some() && split),
        success_rate_minimum_hosts: success.map(|it| pb::uint32(it.minimum_hosts)),
        success_rate_request_volume: success.map(|it| pb::uint32(it.request_volume)),
        success_rate_stdev_factor: success.map(|it| pb::uint32(it.stdev_factor)),
        enforcing_failure_percentage: enforced(failure.is_some()),
        enforcing_failure_percentage_local_origin: enforced(failure.is_some() && split),
        failure_percentage_threshold: failure.map(|it| pb::uint32(it.threshold)),
        failure_percentage_minimum_hosts: failure.map(|it| pb::uint32(it.minimum_hosts)),
        failure_percentage_request_volume: failure.map(|it| pb::uint32(it.request_volume)),
        interval: Some(pb::duration(detection.interval)),
        base_ejection_time: Some(pb::duration(detection.base_ejection_time)),
        max_ejection_time: Some(pb::duration(detection.max_ejection_time)),
        max_ejection_percent: Some(pb::uint32(detection.max_ejection_percent)),
        ..Default::default()
    }
}
