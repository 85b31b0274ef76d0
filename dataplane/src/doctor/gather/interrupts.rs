//! The interrupts of an interface's queues, where the kernel tells which they are: of PCI devices.

use std::{collections::BTreeSet, fs};

use super::text;
use crate::doctor::facts::Interrupt;

/// Parts of the names that drivers give to interrupts of receive queues, or of pairs of queues:
/// `eth0-TxRx-0`, `ice-eth0-TxRx-0`, `mlx5_comp0@pci:…`, `virtio3-input.0`, `ena0:eth0-Tx-Rx-1`,
/// `eth0-rx-0`, `eth0-fp-0`.
const QUEUES: [&str; 4] = ["rx", "comp", "input", "-fp-"];

/// Reads them; empty where they are not told.
pub(super) fn read(bus: &str) -> Vec<Interrupt> {
    if !is_name(bus) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(format!("/sys/bus/pci/devices/{bus}/msi_irqs")) else {
        return Vec::new();
    };
    let own = entries
        .filter_map(|entry| entry.ok()?.file_name().to_string_lossy().parse().ok())
        .collect();
    let table = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    of_queues(&table, &own)
        .into_iter()
        .filter_map(|number| Some(Interrupt { number, cpus: cpus(number)? }))
        .collect()
}

/// Reads the NUMA node of a PCI device; none where the machine does not tell.
pub(super) fn node(bus: &str) -> Option<u32> {
    if !is_name(bus) {
        return None;
    }
    // -1 where it is not told.
    text::value::<i32>(&format!("/sys/bus/pci/devices/{bus}/numa_node")).ok()??.try_into().ok()
}

/// Tells whether a place is a name: it comes from the driver, and must not be a path.
fn is_name(bus: &str) -> bool {
    !bus.is_empty() && !bus.contains('/')
}

fn cpus(number: u32) -> Option<Vec<usize>> {
    let read = |name| text::file(format!("/proc/irq/{number}/{name}")).ok().flatten();
    let list = read("effective_affinity_list")
        .filter(|list| !list.is_empty())
        .or_else(|| read("smp_affinity_list"))?;
    let cpus: Vec<usize> =
        text::ranges::<usize>(&list).into_iter().flat_map(|(first, last)| first..=last).collect();
    (!cpus.is_empty()).then_some(cpus)
}

/// Picks those of `own` that `/proc/interrupts` names as a queue's.
fn of_queues(table: &str, own: &BTreeSet<u32>) -> Vec<u32> {
    table
        .lines()
        .filter_map(|line| {
            let (number, rest) = line.trim_start().split_once(':')?;
            let number = number.parse().ok().filter(|number| own.contains(number))?;
            let name = rest.split_whitespace().last()?.to_ascii_lowercase();
            QUEUES.iter().any(|part| name.contains(part)).then_some(number)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_of_receive_queues_are_picked() {
        let table = "\
           CPU0       CPU1
  9:          0          0  IO-APIC   9-fasteoi   rx-of-another
 33:          0          0  PCI-MSIX-0000:00:03.0   0-edge      virtio1-config
 34:       5000          0  PCI-MSIX-0000:00:03.0   1-edge      virtio1-input.0
 35:        200          0  PCI-MSIX-0000:00:03.0   2-edge      virtio1-output.0
 36:          0       1000  PCI-MSIX-0000:3b:00.0   1-edge      ice-eth1-TxRx-0
 37:          0       1000  PCI-MSIX-0000:3b:00.0   2-edge      mlx5_comp0@pci:0000:3b:00.0
NMI:          0          0   Non-maskable interrupts
";
        let own = (33..=37).collect();
        assert_eq!(of_queues(table, &own), [34, 36, 37]);
        assert_eq!(of_queues("", &own), Vec::<u32>::new());
    }

    #[test]
    fn a_place_that_is_no_pci_device_has_none() {
        for bus in ["", "virtio0", "../../../proc", "0000:ff:1f.7"] {
            assert_eq!((read(bus), node(bus)), (Vec::new(), None));
        }
    }
}
