//! What the kernel's verifier makes of each program: the instructions that it follows, and the stack of
//! the deepest chain of calls, within stated budgets. Needs root.
//!
//! The figures stand in docs/benchmarks.md.

mod stack;

use aya::programs::{ProgramInfo, loaded_programs};
use ebpf_common::layout::{PROGRAM, TASK_PROGRAMS};

use crate::support::bench::Bench;

/// What a program may take: instructions followed, of the kernel's million
/// (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h), and bytes of stack, of the kernel's 512
/// (`MAX_BPF_STACK`, include/linux/filter.h).
///
/// A quarter of the instructions leaves room for kernels that prune less.
const BUDGETS: [(&str, u32, u32); 1 + TASK_PROGRAMS.len()] = [
    (PROGRAM, 250_000, 496),
    (TASK_PROGRAMS[0], 250_000, 512),
    (TASK_PROGRAMS[1], 250_000, 496),
    (TASK_PROGRAMS[2], 250_000, 496),
    (TASK_PROGRAMS[3], 250_000, 496),
    (TASK_PROGRAMS[4], 250_000, 496),
    (TASK_PROGRAMS[5], 250_000, 496),
    (TASK_PROGRAMS[6], 250_000, 512),
    (TASK_PROGRAMS[7], 250_000, 496),
];

#[test]
fn root_instructions_and_stack_of_each_program_are_within_their_budgets() {
    let mut bench = Bench::new(&[]);
    // Which only a host with VLANs has.
    bench.engine.program().take_vlans().unwrap();
    // An engine loads its tasks right after the program that leaves them.
    let first = bench.engine.program().xdp().info().unwrap().id();
    let loaded: Vec<_> = loaded_programs().map(|program| program.unwrap()).collect();
    let mut over: Vec<&str> = Vec::new();
    for (name, instructions, stack) in BUDGETS {
        // The kernel keeps fifteen characters of a name.
        let short = &name[..name.len().min(15)];
        let is_its = |info: &&ProgramInfo| info.name_as_str() == Some(short) && info.id() >= first;
        let info = loaded.iter().filter(is_its).min_by_key(|info| info.id());
        let info = info.unwrap_or_else(|| panic!("{name} is loaded"));
        let verified = info.verified_instruction_count().expect("Linux 5.16 or newer");
        let translated = stack::instructions_of(&info.fd().unwrap());
        let depth = stack::depth(&translated);
        println!(
            "{name}: {verified} instructions followed of {}, {} bytes of stack in {} functions",
            translated.len(),
            depth.bytes,
            depth.functions
        );
        println!("  the deepest chain of calls: {:?}", depth.chain);
        let within = verified <= instructions && depth.bytes <= stack;
        over.extend((!within).then_some(name));
    }
    drop(bench);
    assert!(over.is_empty(), "over their budgets, see above: {over:?}");
}
