//! Waits until every XDP program that was running has ended.
//!
//! The kernel returns from a change of a map of maps only after an RCU grace period, for just this
//! purpose (kernel commit 1ae80cf31938, "bpf: wait for running BPF programs when updating
//! map-in-map"), so such a map is kept and changed when a wait is wanted.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use super::bpf;

/// The map of maps, whose single slot is set to the same map again and again.
#[derive(Debug)]
pub struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    /// Makes the maps.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn new() -> io::Result<Self> {
        let inner = bpf::array("mp_grace", size_of::<u32>(), 1, 0)?;
        let outer = bpf::slot_for_map("mp_grace", inner.as_fd())?;
        Ok(Self { outer, inner })
    }

    /// Waits. Programs that start meanwhile are not waited for.
    ///
    /// # Errors
    /// Returns what the kernel refused; nothing was waited for then.
    pub fn wait(&self) -> io::Result<()> {
        bpf::put_map(self.outer.as_fd(), 0, self.inner.as_fd())
    }
}
