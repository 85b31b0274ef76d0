//! QoS policies at work: a line for each direction of a listener and node, then the classes.

use model::{
    flow::Direction,
    qos_report::{ClassQos, ListenerQos, QosReport, WorkerQos},
};

use super::yes;
use crate::cli::table;

const LISTENERS: [&str; 10] = [
    "LISTENER",
    "NODE",
    "DIRECTION",
    "CLASS",
    "POLICY",
    "ALLOWED MBIT/S",
    "MEASURED",
    "WAITING",
    "DROPPED",
    "MARKED",
];
const CLASSES: [&str; 5] = ["NODE", "WAITED (P99 OF LIMIT)", "P50", "P99.9", "WITHIN"];

/// Lays out what some nodes tell.
#[must_use]
pub fn tables(reports: &[QosReport]) -> String {
    let mut rows: Vec<_> = reports
        .iter()
        .flat_map(|report| report.listeners.iter().map(|it| (report.node, it)))
        .collect();
    rows.sort_by_key(|(node, it)| (&it.listener, it.direction as u8, *node));
    let mut out = if rows.is_empty() {
        "no listener that XDP carries has a QoS policy\n".to_owned()
    } else {
        let rows: Vec<_> = rows.iter().map(|(node, it)| listener(node.0, it)).collect();
        table::render(&LISTENERS, &rows)
    };
    let classes: Vec<_> = reports
        .iter()
        .flat_map(|report| report.classes.iter().map(|it| class(report.node.0, it)))
        .collect();
    if !classes.is_empty() {
        out.push('\n');
        out.push_str(&table::render(&CLASSES, &classes));
    }
    for report in reports {
        let told = report.workers.iter().filter_map(|it| worker(report.node.0, it));
        out.extend(told);
    }
    out
}

fn listener(node: u64, it: &ListenerQos) -> Vec<String> {
    let name = |key: &model::ObjectKey| format!("{}/{}", key.namespace, key.name);
    let dropped: Vec<String> = it
        .dropped
        .by_reason()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let waiting = match it.waiting.packets {
        0 => "0".to_owned(),
        packets => format!("{packets} ({} bytes)", it.waiting.bytes),
    };
    vec![
        name(&it.listener),
        node.to_string(),
        match it.direction {
            Direction::In => "in".to_owned(),
            Direction::Out => "out".to_owned(),
        },
        format!("{:?}", it.class),
        name(&it.policy),
        match (it.allowed_mbps, it.share_kbps) {
            (Some(mbps), Some(share)) => format!("{:.2} of {mbps}", share as f64 / 1e3),
            (Some(mbps), None) => mbps.to_string(),
            (None, _) => String::new(),
        },
        it.measured_kbps.map(|kbps| format!("{:.2}", kbps as f64 / 1e3)).unwrap_or_default(),
        waiting,
        if dropped.is_empty() { "0".to_owned() } else { dropped.join(", ") },
        it.marked_packets.to_string(),
    ]
}

fn class(node: u64, it: &ClassQos) -> Vec<String> {
    vec![
        node.to_string(),
        format!("{:?}: {} of {}", it.class, ms(it.p99_us), ms(it.limit_us)),
        ms(it.p50_us),
        ms(it.p999_us),
        // A quantile is told with an error of an eighth.
        yes(it.p999_us <= it.limit_us * 9 / 8),
    ]
}

fn worker(node: u64, it: &WorkerQos) -> Option<String> {
    let at = format!("node {node}: worker of {} queue {}", it.interface, it.queue);
    if !it.running {
        return Some(format!("{at} does not run: see `marchproxy status`\n"));
    }
    let lost = it.lost_in + it.lost_out;
    (lost > 0).then(|| {
        let WorkerQos { lost_in, lost_out, priority, .. } = it;
        format!(
            "{at} lost packets: {lost_in} on their way in, {lost_out} out (priority {priority})\n"
        )
    })
}

/// Writes microseconds as milliseconds, with as many digits as tell something.
fn ms(us: u64) -> String {
    let ms = us as f64 / 1e3;
    if us < 10 {
        return "<0.01 ms".to_owned();
    }
    let digits = if ms < 10.0 { 2 } else { 0 };
    let text = format!("{ms:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"node":1,"revision":9,
        "listeners":[
            {"policy":"QoSPolicy/default/gold","listener":"Listener/default/web","direction":"in",
             "class":"P0","excess":"Queue","allowedMbps":200,"measuredKbps":199984,
             "passed":{"packets":10,"bytes":14000},"waited":{"packets":7,"bytes":9800},
             "waiting":{"packets":3,"bytes":4200},
             "dropped":{"overLimit":12,"tooLate":0,"laneFull":5,"noRoom":0,"tooLarge":0,"noPolicy":0},
             "recodedPackets":0,"markedPackets":6},
            {"policy":"QoSPolicy/default/gold","listener":"Listener/default/web","direction":"out",
             "class":"P0","excess":"Queue","passed":{"packets":0,"bytes":0},
             "waited":{"packets":0,"bytes":0},"waiting":{"packets":0,"bytes":0},
             "dropped":{"overLimit":0,"tooLate":0,"laneFull":0,"noRoom":0,"tooLarge":0,"noPolicy":0},
             "recodedPackets":2,"markedPackets":0}],
        "classes":[{"class":"P0","p50Us":100,"p99Us":210,"p999Us":1200,"limitUs":1000}],
        "workers":[
            {"interface":"eth0","queue":0,"running":true,"priority":"realtime","lostIn":0,"lostOut":0},
            {"interface":"eth0","queue":1,"running":true,"priority":"usual","lostIn":4,"lostOut":1},
            {"interface":"eth1","queue":0,"running":false,"priority":"usual","lostIn":0,"lostOut":0}]}"#;

    #[test]
    fn directions_classes_and_workers_with_something_to_tell_are_shown() {
        let report: QosReport = serde_json::from_str(REPORT).unwrap();
        let expected = "\
LISTENER     NODE  DIRECTION  CLASS  POLICY        ALLOWED MBIT/S  MEASURED  WAITING         DROPPED                     MARKED
default/web  1     in         P0     default/gold  200             199.98    3 (4200 bytes)  12 over_limit, 5 lane_full  6
default/web  1     out        P0     default/gold  -               -         0               0                           0

NODE  WAITED (P99 OF LIMIT)  P50     P99.9   WITHIN
1     P0: 0.21 ms of 1 ms    0.1 ms  1.2 ms  no
node 1: worker of eth0 queue 1 lost packets: 4 on their way in, 1 out (priority usual)
node 1: worker of eth1 queue 0 does not run: see `marchproxy status`
";
        assert_eq!(tables(&[report]), expected);
        assert_eq!(tables(&[]), "no listener that XDP carries has a QoS policy\n");
    }

    #[test]
    fn times_have_the_digits_that_tell_something() {
        let check = |us, expected| assert_eq!(ms(us), expected);
        check(4, "<0.01 ms");
        check(1_000, "1 ms");
        check(9_994, "9.99 ms");
        check(20_000, "20 ms");
        check(100_663, "101 ms");
    }
}
