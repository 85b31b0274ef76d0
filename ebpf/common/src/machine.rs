//! What code on words that CPUs share needs of the machine: its tick counter and its atomic
//! instructions.

/// The machine.
pub trait Machine {
    /// Returns the kernel's tick counter.
    fn ticks(&self) -> u64;

    /// Replaces a word where it is the old one, and returns what it was. A full barrier, as
    /// [`Self::publish`] is.
    ///
    /// # Safety
    /// The word must be one that is written by these two only.
    unsafe fn exchange(&self, word: *mut u64, old: u64, new: u64) -> u64;

    /// Replaces a word.
    ///
    /// # Safety
    /// As for [`Self::exchange`].
    unsafe fn publish(&self, word: *mut u64, new: u64);
}
