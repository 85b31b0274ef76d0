//! Reads the faults of a rule.

use super::{
    reader::{Node, Read},
    scalar::{duration, percent, whole},
};
use crate::{
    limits::{MAX_FAULT_DELAY, MIN_TIMEOUT},
    route::{Fault, FaultAbort, FaultAnswer, FaultDelay},
};

pub(super) fn fault(node: &Node<'_>) -> Read<Fault> {
    let fields = node.fields()?;
    let delay = fields.optional("delay", delay);
    let abort = fields.optional("abort", abort);
    let known = fields.finish();
    let fault = Fault { delay: delay?, abort: abort? };
    known?;
    if fault.delay.is_none() && fault.abort.is_none() {
        return Err(node.error("asks for nothing", "add delay or abort, or remove it"));
    }
    Ok(fault)
}

fn delay(node: &Node<'_>) -> Read<FaultDelay> {
    let fields = node.fields()?;
    let time = fields.required("duration", "a duration such as 100ms", |node| {
        duration(node, MIN_TIMEOUT, MAX_FAULT_DELAY)
    });
    let percent = fields.required("percent", "a whole number from 1 to 100", percent);
    let known = fields.finish();
    let delay = FaultDelay { duration: time?, percent: percent? };
    known.map(|()| delay)
}

fn abort(node: &Node<'_>) -> Read<FaultAbort> {
    let fields = node.fields()?;
    let status = fields.optional("status", |node| number(node, 400, 599));
    let grpc = fields.optional("grpcStatus", |node| number(node, 1, 16));
    let percent = fields.required("percent", "a whole number from 1 to 100", percent);
    let answer = match (status, grpc) {
        (Ok(Some(status)), Ok(None)) => Ok(FaultAnswer::Status(status)),
        (Ok(None), Ok(Some(status))) => Ok(FaultAnswer::GrpcStatus(status)),
        (Ok(Some(_)), Ok(Some(_))) => {
            Err(fields.error("grpcStatus", "stands beside status", "keep one of them"))
        }
        (Ok(None), Ok(None)) => {
            let remedy = "add status, such as 503, or grpcStatus, such as 14";
            Err(node.error("says not what to answer", remedy))
        }
        (Err(reported), _) | (_, Err(reported)) => Err(reported),
    };
    let known = fields.finish();
    let abort = FaultAbort { answer: answer?, percent: percent? };
    known.map(|()| abort)
}

fn number(node: &Node<'_>, least: u32, most: u32) -> Read<u16> {
    let number = whole(node, least..=most)?;
    Ok(u16::try_from(number).expect("the range is within that of a status"))
}
