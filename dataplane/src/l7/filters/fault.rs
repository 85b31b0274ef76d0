//! Faults that are put into requests on purpose.

use model::route::{Fault, FaultAnswer};

use super::extension;
use crate::l7::pb::{self, core, fault, fault_common};

/// Makes the filter of a rule's faults.
pub(super) fn filter(wanted: &Fault) -> core::TypedExtensionConfig {
    use fault::fault_abort::ErrorType;
    use fault_common::fault_delay::FaultDelaySecifier;
    let delay = wanted.delay.map(|delay| fault_common::FaultDelay {
        percentage: Some(pb::percent(delay.percent)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(pb::duration(delay.duration))),
    });
    let abort = wanted.abort.map(|abort| fault::FaultAbort {
        response_body: String::new(),
        percentage: Some(pb::percent(abort.percent)),
        error_type: Some(match abort.answer {
            FaultAnswer::Status(status) => ErrorType::HttpStatus(status.into()),
            FaultAnswer::GrpcStatus(status) => ErrorType::GrpcStatus(status.into()),
        }),
    });
    extension("marchproxy.fault", &fault::HttpFault { delay, abort, ..Default::default() })
}
