//! All fault tests, in one binary: they share the time it takes to link it.

#[path = "faults/acme.rs"]
mod acme;
#[path = "faults/announce.rs"]
mod announce;
#[path = "faults/bad_input.rs"]
mod bad_input;
#[path = "faults/broken.rs"]
mod broken;
#[path = "faults/certificates.rs"]
mod certificates;
#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/connections.rs"]
mod connections;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/durability.rs"]
mod durability;
#[path = "faults/forming.rs"]
mod forming;
#[path = "faults/joining.rs"]
mod joining;
#[path = "faults/leader.rs"]
mod leader;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/modules.rs"]
mod modules;
#[path = "faults/poison.rs"]
mod poison;
#[path = "faults/ports.rs"]
mod ports;
#[path = "faults/repair.rs"]
mod repair;
#[path = "faults/rollout.rs"]
mod rollout;
#[path = "faults/shares.rs"]
mod shares;
#[path = "faults/static_stability.rs"]
mod static_stability;
#[path = "faults/xdp.rs"]
mod xdp;
