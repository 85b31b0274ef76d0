//! What Envoy's listeners count while the control nodes judge a rollout by it.

use std::time::Duration;

use model::rollout::NodeTraffic;
use tokio::time::{MissedTickBehavior, interval};

use super::{admin::Admin, life::Life};

/// How often it is read: a gate closes some seconds after the first bad answer.
const EVERY: Duration = Duration::from_secs(1);

const TARGET: &str = "/stats?usedonly&filter=^http\\..*\\.downstream_rq_(total|5xx|time)$";

/// Reads it for as long as it is wanted.
pub(super) async fn count(admin: Admin, life: Life) {
    let mut wanted = life.counting.subscribe();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        ticks.tick().await;
        match admin.get(TARGET).await {
            Ok(text) => {
                let counted = parse(&String::from_utf8_lossy(&text));
                // What XDP counts is not Envoy's to say.
                life.traffic.send_modify(|all| {
                    *all = NodeTraffic { packets: all.packets, ..counted };
                });
            }
            Err(error) => tracing::debug!(%error, "reading envoy's traffic"),
        }
    }
}

/// Sums up lines of `name: value`; of percentiles the highest counts.
fn parse(text: &str) -> NodeTraffic {
    let mut traffic = NodeTraffic::default();
    for line in text.lines().filter(|line| !line.starts_with("http.admin.")) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        let counted = || value.parse::<u64>().unwrap_or_default();
        match name.rsplit('.').next() {
            Some("downstream_rq_total") => traffic.requests += counted(),
            Some("downstream_rq_5xx") => traffic.errors += counted(),
            Some("downstream_rq_time") => traffic.p99_ms = traffic.p99_ms.max(p99(value)),
            _ => {}
        }
    }
    traffic
}

/// Reads `P0(1,1) … P99(2.5,3.1) …`: of the last interval, and since the start.
fn p99(percentiles: &str) -> Option<u64> {
    let of_late = percentiles.split("P99(").nth(1)?.split(',').next()?;
    let milliseconds: f64 = of_late.parse().ok().filter(|it: &f64| it.is_finite())?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time, and finite"
    )]
    Some(milliseconds.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_summed_and_the_slowest_tells_the_time() {
        let text = "http.admin.downstream_rq_total: 100\n\
            http.default/a.downstream_rq_total: 7\nhttp.default/b.downstream_rq_total: 5\n\
            http.default/a.downstream_rq_5xx: 2\n\
            http.admin.downstream_rq_time: P0(900,900) P99(900,900)\n\
            http.default/a.downstream_rq_time: P0(1,1) P95(3,3) P99(4.6,9) P99.5(7,9)\n\
            http.default/b.downstream_rq_time: P0(nan,1) P99(nan,50) P99.5(nan,9)\n\
            http.default/c.downstream_rq_time: No recorded values\nnonsense\n";
        let expected =
            NodeTraffic { requests: 12, errors: 2, p99_ms: Some(5), ..NodeTraffic::default() };
        assert_eq!(parse(text), expected);
        assert_eq!(parse(""), NodeTraffic::default());
    }
}
