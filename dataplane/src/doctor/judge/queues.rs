//! Checks of how many CPUs take part: queues, their interrupts, their rings.

use std::collections::BTreeSet;

use super::{Check, Finding, Level, Looked};
use crate::doctor::facts::{Channels, Rings};

/// Entries of a ring that ride out a burst: at 10 million packets a second, 1,024 are 0.1 ms.
const RING_MIN: u32 = 1024;

/// What is not told is not judged: many drivers tell of neither interrupts nor rings.
pub(super) fn judge(looked: Looked<'_>) -> Vec<Finding> {
    let hardware = &looked.device.hardware;
    let mut findings = Vec::new();
    if let Some(channels) = hardware.channels {
        findings.push(queues(looked, channels));
        findings.extend(interrupts(looked, channels));
    }
    findings.extend(hardware.rings.map(|rings| ring(looked, rings)));
    findings
}

fn queues(looked: Looked<'_>, channels: Channels) -> Finding {
    let Channels { receive, receive_max, combined } = channels;
    let cpus = u32::try_from(looked.facts.host.cpus).unwrap_or(u32::MAX);
    let finding = |level, found: String| looked.finding(Check::Queues, level, found);
    let count = format!("{} for {}", many(receive, "receive queue"), many(cpus, "CPU"));
    if receive >= cpus {
        return finding(Level::Ok, count);
    }
    let possible = receive_max.min(cpus);
    if possible > receive {
        let option = if combined { "combined" } else { "rx" };
        let found =
            format!("{count}, and there may be {receive_max}: a CPU without one does not forward");
        finding(Level::Warning, found)
            .remedy(format!("ethtool -L {} {option} {possible}", looked.name))
    } else {
        finding(
            Level::Note,
            format!("{count}, and there are no more: a CPU without one does not forward"),
        )
    }
}

fn interrupts(looked: Looked<'_>, channels: Channels) -> Option<Finding> {
    let interrupts = &looked.device.interrupts;
    if interrupts.is_empty() {
        return None;
    }
    let finding = |level, found: String| looked.finding(Check::Irq, level, found);
    // One that may fall on several CPUs is not bound to be elsewhere than the others.
    let cpus: BTreeSet<&Vec<usize>> = interrupts.iter().map(|interrupt| &interrupt.cpus).collect();
    let places = cpus.iter().flat_map(|cpus| cpus.iter()).collect::<BTreeSet<_>>().len();
    let wanted = (channels.receive as usize).min(looked.facts.host.cpus).min(interrupts.len());
    let found = format!("{} on {}", many(interrupts.len(), "interrupt"), many(places, "CPU"));
    Some(if places < wanted {
        finding(Level::Warning, format!("{found}, where {wanted} could take part"))
            .remedy(spread(looked))
    } else {
        finding(Level::Ok, found)
    })
}

fn many(count: impl TryInto<u64>, noun: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// A command that deals the interrupts out over the CPUs.
fn spread(looked: Looked<'_>) -> String {
    let numbers = looked.device.interrupts.iter().map(|interrupt| interrupt.number.to_string());
    let numbers: Vec<String> = numbers.collect();
    format!(
        "i=0; for n in {}; do echo $((i % {})) > /proc/irq/$n/smp_affinity_list; i=$((i + 1)); done",
        numbers.join(" "),
        looked.facts.host.cpus.max(1)
    )
}

fn ring(looked: Looked<'_>, rings: Rings) -> Finding {
    let Rings { receive, receive_max } = rings;
    let finding = |level, found: String| looked.finding(Check::Ring, level, found);
    let possible = receive_max.min(2 * RING_MIN);
    if receive >= RING_MIN || receive >= receive_max {
        return finding(Level::Ok, format!("{receive} receive entries a queue"));
    }
    let found =
        format!("{receive} of {receive_max} receive entries a queue: bursts are lost sooner");
    finding(Level::Note, found).remedy(format!("ethtool -G {} rx {possible}", looked.name))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, finding};
    use super::*;
    use crate::doctor::facts::{Facts, Interrupt};

    #[test]
    fn there_should_be_a_queue_for_each_cpu() {
        let of = (Check::Queues, "eth0");
        let queues = |receive, receive_max, combined, level, found, remedy| {
            let spoil = |facts: &mut Facts| {
                let channels = Channels { receive, receive_max, combined };
                facts.eth0().hardware.channels = Some(channels);
                facts.eth0().interrupts.clear();
            };
            check(spoil, of, level, found, remedy);
        };
        queues(4, 4, true, Level::Ok, "4 receive queues for 4 CPUs", None);
        queues(8, 8, true, Level::Ok, "8 receive queues", None);
        queues(1, 1, true, Level::Note, "no more", None);
        let more = Some("ethtool -L eth0 combined 4");
        queues(
            1,
            64,
            true,
            Level::Warning,
            "1 receive queue for 4 CPUs, and there may be 64",
            more,
        );
        let more = Some("ethtool -L eth0 rx 3");
        queues(2, 3, false, Level::Warning, "may be 3", more);
        let untold = |facts: &mut Facts| facts.eth0().hardware.channels = None;
        assert_eq!(finding(untold, of.0, of.1), None);
    }

    #[test]
    fn interrupts_should_be_spread() {
        let of = (Check::Irq, "eth0");
        let irqs = |cpus: &[&[usize]], level, found, remedy| {
            let spoil = |facts: &mut Facts| {
                facts.eth0().interrupts = (50..)
                    .zip(cpus)
                    .map(|(number, cpus)| Interrupt { number, cpus: cpus.to_vec() })
                    .collect();
            };
            check(spoil, of, level, found, remedy);
        };
        irqs(&[&[0], &[1], &[2], &[3]], Level::Ok, "4 interrupts on 4 CPUs", None);
        irqs(&[&[0], &[1]], Level::Ok, "2 interrupts on 2 CPUs", None);
        let spread = "i=0; for n in 50 51 52 53; do echo $((i % 4)) > \
                      /proc/irq/$n/smp_affinity_list; i=$((i + 1)); done";
        let all_on_one: [&[usize]; 4] = [&[0], &[0], &[0], &[0]];
        irqs(&all_on_one, Level::Warning, "4 interrupts on 1 CPU, where 4", Some(spread));
        let untold = |facts: &mut Facts| facts.eth0().interrupts.clear();
        assert_eq!(finding(untold, of.0, of.1), None);
    }

    #[test]
    fn a_short_ring_is_noted_where_it_can_be_longer() {
        let of = (Check::Ring, "eth0");
        let ring = |receive, receive_max, level, found, remedy| {
            let rings = Some(Rings { receive, receive_max });
            let spoil = |facts: &mut Facts| facts.eth0().hardware.rings = rings;
            check(spoil, of, level, found, remedy);
        };
        ring(1024, 8192, Level::Ok, "1024", None);
        ring(256, 256, Level::Ok, "256", None);
        ring(512, 4096, Level::Note, "512 of 4096", Some("ethtool -G eth0 rx 2048"));
        ring(512, 1000, Level::Note, "512 of 1000", Some("ethtool -G eth0 rx 1000"));
        let untold = |facts: &mut Facts| facts.eth0().hardware.rings = None;
        assert_eq!(finding(untold, of.0, of.1), None);
    }
}
