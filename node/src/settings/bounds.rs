//! What the flags of the data plane take.

use clap::builder::{PossibleValuesParser, RangedI64ValueParser, TypedValueParser};
use dataplane::afxdp::priority::Priority;

/// Takes a number of flows whose table is between 8 KiB and 512 MiB.
pub fn xdp_flows() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1 << 10..=1 << 26)
}

/// Takes a number of connections whose table is between 272 KiB and 2.1 GiB.
pub fn xdp_connections() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1 << 10..=1 << 23)
}

/// Takes of how many packets one is told of, or 0.
pub fn flow_sampling() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=1 << 30)
}

/// Takes a priority of workers.
pub fn worker_priority() -> impl TypedValueParser<Value = Priority> {
    PossibleValuesParser::new(Priority::NAMES).try_map(|name| name.parse())
}

/// Takes mebibytes: 128 to 4 Ti.
pub fn envoy_memory() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(128..=4 << 20)
}
