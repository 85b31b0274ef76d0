//! Checks of the data plane beside: whether it runs, and whether it would find its Envoy.

use super::{Check, Facts, Finding, HOST, Level, left_out};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    vec![running(facts), envoy(facts)]
}

fn running(facts: &Facts) -> Finding {
    let plane = &facts.plane;
    let finding = |level, found: String| Finding::new(Check::DataPlane, HOST, level, found);
    let interfaces = match plane.interfaces.as_slice() {
        [] => "without XDP".to_owned(),
        names => format!("with XDP on {}", names.join(", ")),
    };
    match (&plane.running, &plane.node, &plane.pinned) {
        (Err(gap), ..) => left_out(Check::DataPlane, HOST, gap),
        (Ok(Some(pid)), ..) => finding(Level::Ok, format!("runs as process {pid}, {interfaces}")),
        (Ok(None), _, Ok(pinned)) if !pinned.is_empty() => {
            let found = format!(
                "none runs here, and XDP forwards on by the last configuration on {}",
                pinned.join(", ")
            );
            finding(Level::Warning, found).remedy("marchproxy up")
        }
        (Ok(None), Ok(true), _) => {
            finding(Level::Warning, format!("this host is a node {interfaces}, and none runs"))
                .remedy("marchproxy up")
        }
        (Ok(None), ..) => finding(Level::Note, "none runs, and this host is no node yet".into()),
    }
}

fn envoy(facts: &Facts) -> Finding {
    let finding = |level, found: String| Finding::new(Check::Envoy, HOST, level, found);
    let listeners = match &facts.plane.accepted {
        Ok(Some(accepted)) => accepted.for_envoy,
        _ => 0,
    };
    match (&facts.plane.envoy, listeners) {
        (Ok(envoy), _) => finding(Level::Ok, format!("{} at {}", envoy.version, envoy.path)),
        (Err(words), 0) => {
            finding(Level::Warning, format!("{words}; HTTP listeners will not be served"))
        }
        (Err(words), count) => {
            finding(Level::Problem, format!("{words}; listeners that need it: {count}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, hidden, is_left_out};
    use super::*;
    use crate::doctor::facts::Accepted;

    #[test]
    fn a_node_without_its_data_plane_is_a_warning() {
        let of = (Check::DataPlane, HOST);
        check(|_| {}, of, Level::Ok, "process 4711, with XDP on eth0", None);
        check(|facts| facts.plane.interfaces.clear(), of, Level::Ok, "without XDP", None);
        let up = Some("marchproxy up");
        let stopped = |facts: &mut Facts| facts.plane.running = Ok(None);
        check(stopped, of, Level::Warning, "forwards on by the last configuration on eth0", up);
        let unpinned = |facts: &mut Facts| {
            stopped(facts);
            facts.plane.pinned = Ok(Vec::new());
        };
        check(unpinned, of, Level::Warning, "is a node with XDP on eth0, and none runs", up);
        let bare = |facts: &mut Facts| {
            unpinned(facts);
            facts.plane.node = Ok(false);
        };
        check(bare, of, Level::Note, "no node yet", None);
        is_left_out(|facts| facts.plane.running = hidden(), of);
    }

    #[test]
    fn a_missing_envoy_is_a_problem_where_a_listener_needs_it() {
        let of = (Check::Envoy, HOST);
        check(|_| {}, of, Level::Ok, "1.39.3 at /usr/bin/envoy", None);
        let missing = |facts: &mut Facts| facts.plane.envoy = Err("no Envoy".to_owned());
        check(missing, of, Level::Warning, "no Envoy; HTTP listeners", None);
        let needed = |facts: &mut Facts| {
            missing(facts);
            facts.plane.accepted = Ok(Some(Accepted { for_envoy: 3, ..Accepted::default() }));
        };
        check(needed, of, Level::Problem, "need it: 3", None);
    }
}
