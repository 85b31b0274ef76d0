//! How Envoy chooses an endpoint.

use model::{
    Service,
    service::{HashFunction, LoadBalancing, SlowStart},
};

use super::pb::{
    self,
    cluster::cluster::{
        CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig,
        RoundRobinLbConfig, SlowStartConfig,
        common_lb_config::{
            ConsistentHashingLbConfig, LocalityConfigSpecifier, LocalityWeightedLbConfig,
        },
        ring_hash_lb_config,
    },
};

/// What is meant by "when none is healthy", where Envoy finds out itself who is: less than one in a
/// hundred.
const NONE_HEALTHY_PERCENT: u32 = 1;

pub(super) fn policy(service: &Service) -> LbPolicy {
    match service.load_balancing {
        LoadBalancing::RoundRobin => LbPolicy::RoundRobin,
        LoadBalancing::LeastRequest => LbPolicy::LeastRequest,
        LoadBalancing::Random => LbPolicy::Random,
        LoadBalancing::Maglev => LbPolicy::Maglev,
        LoadBalancing::RingHash => LbPolicy::RingHash,
    }
}

/// Makes the settings of the policy; the model sees to it that they are this policy's.
pub(super) fn settings(service: &Service) -> Option<LbConfig> {
    let options = &service.balancing;
    let slow_start_config = service.slow_start.map(starting_slowly);
    match service.load_balancing {
        LoadBalancing::RoundRobin => slow_start_config.map(|slow_start_config| {
            let slow_start_config = Some(slow_start_config);
            LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config })
        }),
        LoadBalancing::LeastRequest => {
            let choices = options.least_request.map(|it| pb::uint32(it.choice_count));
            (choices.is_some() || slow_start_config.is_some()).then(|| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    choice_count: choices,
                    slow_start_config,
                    ..Default::default()
                })
            })
        }
        LoadBalancing::Random => None,
        LoadBalancing::Maglev => options.maglev.map(|maglev| {
            let table_size = Some(pb::uint64(maglev.table_size.into()));
            LbConfig::MaglevLbConfig(MaglevLbConfig { table_size })
        }),
        LoadBalancing::RingHash => options.ring_hash.map(|ring| {
            let function = match ring.hash_function {
                HashFunction::XxHash => ring_hash_lb_config::HashFunction::XxHash,
                HashFunction::MurmurHash2 => ring_hash_lb_config::HashFunction::MurmurHash2,
            };
            LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: Some(pb::uint64(ring.minimum_ring_size.into())),
                maximum_ring_size: Some(pb::uint64(ring.maximum_ring_size.into())),
                hash_function: function as i32,
            })
        }),
    }
}

/// Makes what is common to all policies: panic, places, and how busy a hashed endpoint may be.
pub(super) fn common(service: &Service) -> CommonLbConfig {
    let factor = service.balancing.hash_balance_factor_percent;
    let by_place = service.failover.as_ref().is_some_and(|it| !it.locality_weights.is_empty());
    // With probes, panic is decided where all of them are known.
    let finds_out = service.is_checked_by_envoy() || service.outlier_detection.is_some();
    let default = if finds_out { NONE_HEALTHY_PERCENT } else { 0 };
    let panic = service.panic_threshold_percent().unwrap_or(default);
    CommonLbConfig {
        healthy_panic_threshold: Some(pb::kind::Percent { value: panic.into() }),
        consistent_hashing_lb_config: factor.map(|factor| ConsistentHashingLbConfig {
            hash_balance_factor: Some(pb::uint32(factor)),
            ..Default::default()
        }),
        locality_config_specifier: by_place.then_some(
            LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}),
        ),
        ..Default::default()
    }
}

fn starting_slowly(slow: SlowStart) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: Some(pb::duration(slow.window)),
        aggression: Some(pb::core::RuntimeDouble {
            default_value: f64::from(slow.aggression_percent) / 100.0,
            // Envoy wants a name under which its runtime could override it; nothing does.
            runtime_key: "marchproxy.slow_start.aggression".into(),
        }),
        min_weight_percent: Some(pb::kind::Percent { value: slow.min_weight_percent.into() }),
    }
}
