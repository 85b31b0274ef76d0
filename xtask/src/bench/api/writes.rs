//! Applies of one changed service: one after the other, and by several callers at once.

use anyhow::Result;
use lab::api::Api;

use super::{Arguments, Row, Site, closed_loop, service};
use crate::progress::step;

/// Callers that write at once; each changes a service of its own.
const CALLERS: usize = 8;

pub(super) fn measure(site: &Site, arguments: &Arguments) -> Result<Vec<Row>> {
    let callers = CALLERS.min(arguments.services);
    [
        ("applies of one service, leader, 1 caller".to_owned(), site.leader, 1),
        ("applies of one service, follower, 1 caller".to_owned(), site.follower, 1),
        (format!("applies of one service, leader, {callers} callers"), site.leader, callers),
    ]
    .into_iter()
    .map(|(case, node, callers)| {
        let apis = (0..callers).map(|_| site.cluster.api(node)).collect::<Result<Vec<_>>>()?;
        // Never the weight of before, so that each apply writes a revision.
        let is_good = |api: &mut Api, caller: usize, turn: usize| {
            api.apply(&service(site, caller, 2 + turn % 2)).is_ok()
        };
        let outcome =
            step(case.clone(), |_| Ok(closed_loop::run(apis, arguments.seconds, is_good)))?;
        Ok(Row::new(&case, outcome, None))
    })
    .collect()
}
