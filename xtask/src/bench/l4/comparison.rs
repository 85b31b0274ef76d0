//! What was measured, side by side: ratios to the ceiling, to the floor of the same path and to
//! netfilter, and whether the bars hold. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The case that is the generator's ceiling.
const CEILING: &str = "drop";
/// The case that full NAT is compared with.
const NETFILTER: &str = "netfilter";
/// Full NAT is this many times as fast as netfilter, as long as its table holds the flows.
const NAT_BAR: f64 = 6.0;
const NAT_BAR_FLOWS_MAX: u64 = 1 << 16;
/// What direct server return keeps of its floor.
const DIRECT_BAR: f64 = 0.9;
const DIRECT_BAR_FLOWS: u64 = 1 << 16;

/// What the measuring program writes.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    rows: Vec<Measured>,
}

#[derive(Debug, Deserialize)]
struct Measured {
    case: String,
    flows: u64,
    pps: Vec<f64>,
}

/// One row of the table.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    case: String,
    flows: u64,
    median_pps: f64,
    max_pps: f64,
    /// Medians of the ratios to the other's figure of the same run and the same number of flows.
    to_ceiling: Option<f64>,
    to_floor: Option<f64>,
    to_netfilter: Option<f64>,
}

/// A bar and what was found.
#[derive(Debug, PartialEq, Serialize)]
struct Bar {
    case: String,
    against: &'static str,
    flows: u64,
    wanted: f64,
    found: f64,
    held: bool,
}

/// Everything side by side.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    rows: Vec<Row>,
    bars: Vec<Bar>,
}

impl Comparison {
    /// Compares.
    pub(super) fn of(report: &Report) -> Self {
        let runs: BTreeMap<(&str, u64), &[f64]> =
            report.rows.iter().map(|row| ((row.case.as_str(), row.flows), &*row.pps)).collect();
        let mut rows: Vec<Row> = report
            .rows
            .iter()
            .filter_map(|row| {
                let to = |case: &str| {
                    let other = runs.get(&(case, row.flows))?;
                    median(row.pps.iter().zip(*other).map(|(own, other)| own / other))
                };
                Some(Row {
                    case: row.case.clone(),
                    flows: row.flows,
                    median_pps: median(row.pps.iter().copied())?,
                    max_pps: row.pps.iter().copied().fold(0.0, f64::max),
                    to_ceiling: to(CEILING),
                    to_floor: floor_of(&row.case).and_then(to),
                    to_netfilter: to(NETFILTER),
                })
            })
            .collect();
        rows.sort_by_key(|row| (place(&row.case), row.flows));
        let bars = rows.iter().filter_map(Bar::of).collect();
        Self { rows, bars }
    }

    /// Tells whether no bar was missed.
    pub(super) fn all_held(&self) -> bool {
        self.bars.iter().all(|bar| bar.held)
    }
}

impl Bar {
    fn of(row: &Row) -> Option<Self> {
        let (against, wanted, found) = match row.case.as_str() {
            "nat" if row.flows <= NAT_BAR_FLOWS_MAX => (NETFILTER, NAT_BAR, row.to_netfilter?),
            "l2" | "l2-tx" | "ipip" | "gue" if row.flows == DIRECT_BAR_FLOWS => {
                (floor_of(&row.case)?, DIRECT_BAR, row.to_floor?)
            }
            _ => return None,
        };
        let (case, flows) = (row.case.clone(), row.flows);
        Some(Self { case, against, flows, wanted, found, held: found >= wanted })
    }
}

/// What the cases are, in the order of the table.
const CASES: [(&str, &str); 11] = [
    ("drop", "ceiling: dropped and counted at the node"),
    ("tx", "floor: MACs swapped, back by XDP_TX"),
    ("redirect", "floor: MACs written, on by XDP_REDIRECT"),
    ("l2-tx", "L2, endpoints on the client's side"),
    ("l2", "L2"),
    ("l2-tcp", "L2, TCP segments"),
    ("ipip", "IPIP"),
    ("gue", "GUE"),
    ("nat", "full NAT"),
    ("nat-tcp", "full NAT, TCP segments"),
    ("netfilter", "netfilter: DNAT, masquerade"),
];

fn place(case: &str) -> usize {
    CASES.iter().position(|(name, _)| *name == case).unwrap_or(CASES.len())
}

/// Returns the floor of a case's path.
fn floor_of(case: &str) -> Option<&'static str> {
    match case {
        "l2-tx" => Some("tx"),
        "l2" | "l2-tcp" | "ipip" | "gue" | "nat" | "nat-tcp" => Some("redirect"),
        _ => None,
    }
}

/// Returns the median, the lower of the two in the middle of an even number.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:>8} {:>8} {:>8}  {:>9} {:>7} {:>11}",
            "case", "flows", "Mpps", "max", "x ceiling", "x floor", "x netfilter"
        )?;
        let ratio =
            |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        for row in &self.rows {
            writeln!(
                f,
                "{:<10} {:>8} {:>8.3} {:>8.3}  {:>9} {:>7} {:>11}   {}",
                row.case,
                row.flows,
                row.median_pps / 1e6,
                row.max_pps / 1e6,
                ratio(row.to_ceiling),
                ratio(row.to_floor),
                ratio(row.to_netfilter),
                CASES.get(place(&row.case)).map_or("", |(_, words)| words),
            )?;
        }
        for bar in &self.bars {
            let Bar { case, against, flows, wanted, found, held } = bar;
            let verdict = if *held { "held" } else { "MISSED" };
            write!(f, "\n{case} >= {wanted} x {against} at {flows} flows: {found:.2}, {verdict}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(rows: &[(&str, u64, &[f64])]) -> Comparison {
        let rows = rows
            .iter()
            .map(|(case, flows, pps)| Measured {
                case: (*case).to_owned(),
                flows: *flows,
                pps: pps.to_vec(),
            })
            .collect();
        Comparison::of(&Report { rows })
    }

    #[test]
    fn the_middle_run_counts_and_an_even_number_takes_the_lower() {
        let check = |values: &[f64], want| assert_eq!(median(values.iter().copied()), want);
        check(&[], None);
        check(&[3.0, 1.0, 2.0], Some(2.0));
        check(&[4.0, 1.0, 3.0, 2.0], Some(2.0));
    }

    #[test]
    fn each_case_is_compared_with_the_floor_of_its_path_at_the_same_flows() {
        let compared = compared(&[
            ("l2", 1, &[80.0]),
            ("l2-tx", 1, &[90.0]),
            ("tx", 1, &[100.0, 120.0, 90.0]),
            ("redirect", 1, &[160.0]),
            ("drop", 1, &[400.0]),
            ("redirect", 1024, &[1.0]),
        ]);
        let found: Vec<_> = compared
            .rows
            .iter()
            .map(|row| (row.case.as_str(), row.flows, row.to_ceiling, row.to_floor))
            .collect();
        assert_eq!(
            found,
            [
                ("drop", 1, Some(1.0), None),
                ("tx", 1, Some(0.25), None),
                ("redirect", 1, Some(0.4), None),
                ("redirect", 1024, None, None),
                ("l2-tx", 1, Some(0.225), Some(0.9)),
                ("l2", 1, Some(0.2), Some(0.5)),
            ]
        );
        assert_eq!(compared.rows[1].max_pps, 120.0);
    }

    #[test]
    fn ratios_are_of_figures_of_the_same_run() {
        // The host was twice as fast in one run, which the medians alone would take for a gain.
        let compared =
            compared(&[("nat", 1, &[6.0, 12.0, 12.0]), ("netfilter", 1, &[1.0, 1.0, 2.0])]);
        let nat = compared.rows.iter().find(|row| row.case == "nat").map(|row| row.to_netfilter);
        assert_eq!(nat, Some(Some(6.0)));
    }

    #[test]
    fn bars_stand_where_they_were_set_and_hold_at_their_value() {
        let check = |case: &str, against: &str, flows: u64, ratio: f64, want: Option<bool>| {
            let compared = compared(&[(case, flows, &[ratio * 8.0]), (against, flows, &[8.0])]);
            let found: Vec<bool> = compared.bars.iter().map(|bar| bar.held).collect();
            assert_eq!(found, Vec::from_iter(want), "{case} at {flows} flows: {ratio}");
            assert_eq!(compared.all_held(), want != Some(false));
        };
        check("nat", "netfilter", 1, 6.0, Some(true));
        check("nat", "netfilter", 1 << 16, 5.99, Some(false));
        check("nat", "netfilter", 1 << 20, 1.0, None);
        check("l2", "redirect", 1 << 16, 0.9, Some(true));
        check("gue", "redirect", 1 << 16, 0.89, Some(false));
        check("l2-tx", "tx", 1 << 16, 0.89, Some(false));
        check("l2-tx", "redirect", 1 << 16, 0.5, None);
        check("ipip", "redirect", 1 << 10, 0.5, None);
    }
}
