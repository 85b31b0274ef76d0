//! The check of the way to an endpoint: the program can use only what the kernel has resolved.

use model::listener::Forwarding;

use super::{Check, Finding, Level, left_out, wish};
use crate::doctor::facts::{Facts, Neighbour, Route, Way};

pub(super) fn judge(way: &Way, facts: &Facts) -> Finding {
    let to = way.to.to_string();
    let finding = |level, found: String| Finding::new(Check::NextHop, &to, level, found);
    let (interface, gateway, neighbour) = match &way.route {
        Err(gap) => return left_out(Check::NextHop, &to, gap),
        Ok(Route::Missing(words)) => {
            return finding(Level::Problem, format!("no route to it: {words} (no_route)"));
        }
        Ok(Route::Local) => {
            let found = "an address of this host, to which XDP does not carry; Envoy does";
            return finding(Level::Problem, found.to_owned());
        }
        Ok(Route::Leaves { interface, gateway, neighbour }) => (interface, gateway, neighbour),
    };
    let through = match gateway {
        Some(gateway) => format!("by {gateway} on {interface}"),
        None => format!("on {interface}"),
    };
    if gateway.is_some() && way.forwarding.contains(&Forwarding::L2) {
        let found = format!("{through}, but forwarding by L2 reaches this link only (not_on_link)");
        return finding(Level::Problem, found);
    }
    let neighbour = match neighbour {
        Err(gap) => return left_out(Check::NextHop, &to, gap),
        Ok(neighbour) => *neighbour,
    };
    match neighbour {
        Neighbour::Silent => {
            let found =
                format!("{through}, where nobody answers for the link address (no_neighbour)");
            return finding(Level::Problem, found);
        }
        Neighbour::Asked | Neighbour::Unasked => {
            let found = format!("{through}, whose link address is not known yet (no_neighbour)");
            let next = gateway.unwrap_or(way.to);
            return finding(Level::Warning, found).remedy(format!("ping -c 1 {next}"));
        }
        Neighbour::Known | Neighbour::NotNeeded => {}
    }
    let runs = |name: &str| {
        facts.plane.wants(name)
            || (facts.plane.interfaces.is_empty() && facts.interfaces.contains_key(name))
    };
    if runs(interface) {
        finding(Level::Ok, through)
    } else {
        let found =
            format!("{through}, which is not an --xdp interface: answers there are not seen");
        finding(Level::Warning, found).remedy(wish(facts, &[interface], ""))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, hidden, is_left_out};
    use super::*;
    use crate::doctor::facts::Fact;

    const HOP: (Check, &str) = (Check::NextHop, "10.0.0.2");

    fn way(route: Fact<Route>, forwarding: &[Forwarding]) -> impl FnOnce(&mut Facts) {
        let to = "10.0.0.2".parse().unwrap();
        let way = Way { to, forwarding: forwarding.to_vec(), route };
        |facts: &mut Facts| facts.ways = vec![way]
    }

    fn leaves(interface: &str, gateway: Option<&str>, neighbour: Fact<Neighbour>) -> Fact<Route> {
        let gateway = gateway.map(|address| address.parse().unwrap());
        Ok(Route::Leaves { interface: interface.to_owned(), gateway, neighbour })
    }

    #[test]
    fn a_way_needs_a_route_a_neighbour_and_an_interface_with_xdp() {
        let hop = |route, forwarding: &[Forwarding], level, found, remedy| {
            check(way(route, forwarding), HOP, level, found, remedy);
        };
        let nat = [Forwarding::Nat];
        let known = Ok(Neighbour::Known);
        hop(leaves("eth0", None, known.clone()), &nat, Level::Ok, "on eth0", None);
        let by = leaves("eth0", Some("10.0.0.1"), Ok(Neighbour::NotNeeded));
        hop(by, &nat, Level::Ok, "by 10.0.0.1 on eth0", None);
        let missing = Ok(Route::Missing("Network is unreachable".to_owned()));
        hop(missing, &nat, Level::Problem, "Network is unreachable (no_route)", None);
        hop(Ok(Route::Local), &nat, Level::Problem, "an address of this host", None);
        let silent = leaves("eth0", None, Ok(Neighbour::Silent));
        hop(silent, &nat, Level::Problem, "nobody answers", None);
        for unknown in [Neighbour::Asked, Neighbour::Unasked] {
            let ping = Some("ping -c 1 10.0.0.2");
            hop(leaves("eth0", None, Ok(unknown)), &nat, Level::Warning, "not known yet", ping);
        }
        let gateway = leaves("eth0", Some("10.0.0.1"), Ok(Neighbour::Asked));
        hop(gateway, &nat, Level::Warning, "not known yet", Some("ping -c 1 10.0.0.1"));
        let other = leaves("eth1", None, known.clone());
        let add = Some("marchproxy up --xdp eth0 --xdp eth1");
        hop(other, &nat, Level::Warning, "not an --xdp interface", add);
        let far = leaves("eth0", Some("10.0.0.1"), known);
        hop(far.clone(), &[Forwarding::Nat, Forwarding::L2], Level::Problem, "not_on_link", None);
        hop(far, &[Forwarding::Ipip], Level::Ok, "by 10.0.0.1", None);
    }

    #[test]
    fn where_no_interface_is_named_those_looked_at_count() {
        let bare = |interface: &'static str| {
            move |facts: &mut Facts| {
                facts.plane.interfaces.clear();
                way(leaves(interface, None, Ok(Neighbour::Known)), &[])(facts);
            }
        };
        check(bare("eth0"), HOP, Level::Ok, "on eth0", None);
        let add = Some("marchproxy up --xdp eth1");
        check(bare("eth1"), HOP, Level::Warning, "not an --xdp interface", add);
    }

    #[test]
    fn a_way_that_is_not_told_is_left_out() {
        is_left_out(way(hidden(), &[]), HOP);
        is_left_out(way(leaves("eth0", None, hidden()), &[]), HOP);
    }
}
