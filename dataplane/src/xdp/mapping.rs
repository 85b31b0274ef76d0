//! The memory of an array map whose values are [`Record`]s, mapped into this process.

use std::{
    ffi::c_void,
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use ebpf_common::layout::Record;

/// The memory of a map in this process.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    records: usize,
}

impl Mapping {
    /// Maps a map of `records` records.
    ///
    /// # Errors
    /// Returns what the kernel refused.
    pub fn new(fd: BorrowedFd<'_>, records: usize) -> io::Result<Self> {
        let length = records * size_of::<Record>();
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, records })
    }

    /// Writes records in a row.
    pub fn fill(&mut self, start: usize, records: &[Record]) {
        assert!(start <= self.records && records.len() <= self.records - start);
        // SAFETY: the mapping is that long, page-aligned and writable.
        unsafe {
            self.first().add(start).copy_from_nonoverlapping(records.as_ptr(), records.len());
        }
    }

    /// Writes a record.
    pub fn set(&mut self, index: usize, record: &Record) {
        assert!(index < self.records);
        // SAFETY: as above, and the index is within the mapping.
        unsafe { self.first().add(index).write(*record) };
    }

    /// Reads a word of a record.
    #[must_use]
    pub fn load_word(&self, index: usize, word: usize) -> u32 {
        self.word(index, word).load(Ordering::Acquire)
    }

    /// Writes a word of a record at once, after all that was written before.
    pub fn store_word(&mut self, index: usize, word: usize, value: u32) {
        self.word(index, word).store(value, Ordering::Release);
    }

    fn word(&self, index: usize, word: usize) -> &AtomicU32 {
        assert!(index < self.records && word < size_of::<Record>() / size_of::<u32>());
        // SAFETY: the word is within the mapping, whose records are aligned to more than one.
        unsafe { AtomicU32::from_ptr(self.first().add(index).cast::<u32>().add(word)) }
    }

    /// Returns one of the eight words of a record, which others may write to.
    #[must_use]
    pub fn word64(&self, index: usize, word: usize) -> &AtomicU64 {
        assert!(index < self.records && word < size_of::<Record>() / size_of::<u64>());
        // SAFETY: the word is within the mapping, whose records are aligned to it.
        unsafe { AtomicU64::from_ptr(self.first().add(index).cast::<u64>().add(word)) }
    }

    /// Returns how many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    fn first(&self) -> *mut Record {
        self.start.cast::<Record>().as_ptr()
    }

    /// Returns the records.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        // SAFETY: the mapping is that long and page-aligned; nobody writes to it meanwhile.
        unsafe { std::slice::from_raw_parts(self.first(), self.records) }
    }
}

// SAFETY: the mapping belongs to its owner alone, and memory has no thread.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made; no reference to it is left.
        unsafe { libc::munmap(self.start.as_ptr(), self.records * size_of::<Record>()) };
    }
}
