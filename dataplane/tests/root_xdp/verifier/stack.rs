//! The stack of a program, of its translated instructions.
//!
//! As the verifier counts it (`check_max_stack_depth` in kernel/bpf/verifier.c): what a function
//! reaches below its frame pointer, rounded up to 16 bytes, added up over the deepest chain of calls.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::programs::ProgramFd;

/// `BPF_OBJ_GET_INFO_BY_FD` (include/uapi/linux/bpf.h).
const GET_INFO: libc::c_int = 15;
/// More than `struct bpf_prog_info` has.
const INFO: usize = 512;
/// Where `xlated_prog_len` and `xlated_prog_insns` are in it.
const LENGTH: usize = 20;
const POINTER: usize = 32;
/// The frame pointer.
const FRAME: u8 = 10;

/// An instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

/// The deepest chain of calls.
#[derive(Debug)]
pub(super) struct Depth {
    pub(super) bytes: u32,
    pub(super) functions: usize,
    /// What each function of the chain takes.
    pub(super) chain: Vec<u32>,
}

/// Reads the translated instructions of a loaded program.
pub(super) fn instructions_of(program: &ProgramFd) -> Vec<Instruction> {
    let fd = program.as_fd().as_raw_fd();
    let length = u32::from_ne_bytes(info(fd, &mut [])[LENGTH..LENGTH + 4].try_into().unwrap());
    let mut bytes = vec![0; length as usize];
    info(fd, &mut bytes);
    let instruction = |it: &[u8]| Instruction {
        code: it[0],
        destination: it[1] & 15,
        source: it[1] >> 4,
        offset: i16::from_ne_bytes([it[2], it[3]]),
        immediate: i32::from_ne_bytes(it[4..8].try_into().unwrap()),
    };
    bytes.chunks(8).map(instruction).collect()
}

/// Asks for what the kernel says of a program, and for as many of its instructions as there is room for.
fn info(fd: i32, instructions: &mut [u8]) -> [u8; INFO] {
    let mut info = [0; INFO];
    info[LENGTH..LENGTH + 4].copy_from_slice(&(instructions.len() as u32).to_ne_bytes());
    if !instructions.is_empty() {
        let pointer = instructions.as_mut_ptr() as u64;
        info[POINTER..POINTER + 8].copy_from_slice(&pointer.to_ne_bytes());
    }
    // `info` of `union bpf_attr`: descriptor, length, pointer.
    let mut attributes = [0u64; 16];
    attributes[0] = fd as u64 | (INFO as u64) << 32;
    attributes[1] = info.as_mut_ptr() as u64;
    // SAFETY: the attributes are what the call takes, and refer to memory of the lengths given.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, GET_INFO, attributes.as_mut_ptr(), size_of_val(&attributes))
    };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    info
}

/// Finds the deepest chain of calls from the first function.
pub(super) fn depth(program: &[Instruction]) -> Depth {
    let calls: Vec<(usize, usize)> = program
        .iter()
        .enumerate()
        .filter(|(_, it)| it.code == 0x85 && it.source == 1)
        .map(|(at, it)| (at, at.checked_add_signed(it.offset.into()).unwrap() + 1))
        .collect();
    let mut starts: Vec<usize> = calls.iter().map(|(_, target)| *target).collect();
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    let ends = starts[1..].iter().copied().chain([program.len()]);
    let functions: BTreeMap<usize, (u32, Vec<usize>)> = starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| {
            let called = calls.iter().filter(|(at, _)| (start..end).contains(at));
            (start, (own(&program[start..end]), called.map(|(_, target)| *target).collect()))
        })
        .collect();
    let chain = deepest(&functions, 0);
    Depth { bytes: chain.iter().sum(), functions: functions.len(), chain }
}

fn deepest(functions: &BTreeMap<usize, (u32, Vec<usize>)>, start: usize) -> Vec<u32> {
    let (own, called) = &functions[&start];
    let below = called.iter().map(|target| deepest(functions, *target));
    let mut chain = vec![own.max(&1).next_multiple_of(16)];
    chain.extend(below.max_by_key(|chain| chain.iter().sum::<u32>()).unwrap_or_default());
    chain
}

/// Returns how far a function reaches below its frame pointer.
fn own(function: &[Instruction]) -> u32 {
    let mut reach = 0i32;
    // Registers that hold the frame pointer.
    let mut copies = 1u16 << FRAME;
    for it in function {
        let holds = |register: u8| copies >> register & 1 == 1;
        match it.code & 7 {
            // Loads; an immediate one has no pointer.
            1 if holds(it.source) => reach = reach.max(-i32::from(it.offset)),
            2 | 3 if holds(it.destination) => reach = reach.max(-i32::from(it.offset)),
            // `r += immediate`, which leads to what a function is given.
            7 if it.code == 0x07 && holds(it.destination) => reach = reach.max(-it.immediate),
            _ => {}
        }
        let writes = matches!(it.code & 7, 0 | 1 | 4 | 7);
        if writes && it.destination != FRAME {
            let copied = it.code == 0xbf && it.source == FRAME;
            copies = copies & !(1 << it.destination) | u16::from(copied) << it.destination;
        }
    }
    reach as u32
}
