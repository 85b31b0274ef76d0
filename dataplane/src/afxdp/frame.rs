//! A packet in the memory of an AF_XDP socket.

use afxdp::{buf::Buf as _, buf_mmap::BufMmap};

use super::io::Frame;

/// Such a packet, from where it begins.
#[derive(Debug)]
pub struct XdpFrame {
    memory: BufMmap<'static, ()>,
    start: u16,
}

impl XdpFrame {
    /// The packet that was received into a piece of memory.
    #[must_use]
    pub fn new(memory: BufMmap<'static, ()>) -> Self {
        Self { memory, start: 0 }
    }

    /// Returns the memory, for something else.
    #[must_use]
    pub fn into_memory(self) -> BufMmap<'static, ()> {
        self.memory
    }

    /// Returns the memory with the packet at its beginning: the crate sends from there.
    #[must_use]
    pub fn into_outgoing(mut self) -> BufMmap<'static, ()> {
        let (start, end) = (usize::from(self.start), usize::from(self.memory.get_len()));
        if start > 0 {
            self.memory.get_data_mut().copy_within(start..end, 0);
            self.memory.set_len((end - start) as u16);
        }
        self.memory
    }
}

impl Frame for XdpFrame {
    fn bytes(&self) -> &[u8] {
        &self.memory.get_data()[usize::from(self.start)..usize::from(self.memory.get_len())]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, end) = (usize::from(self.start), usize::from(self.memory.get_len()));
        &mut self.memory.get_data_mut()[start..end]
    }

    fn trim_front(&mut self, bytes: usize) {
        let left = usize::from(self.memory.get_len() - self.start);
        assert!(bytes <= left, "{bytes} of {left} bytes");
        self.start += bytes as u16;
    }
}

#[cfg(test)]
mod tests {
    use afxdp::mmap_area::{MmapArea, MmapAreaOptions};

    use super::*;

    #[test]
    fn what_is_cut_off_the_front_is_not_sent() {
        let (_area, mut free) =
            MmapArea::<()>::new(2, 4_096, MmapAreaOptions::default()).expect("two pages");
        let mut memory = free.pop().expect("two of them");
        memory.get_data_mut()[..6].copy_from_slice(b"abcdef");
        memory.set_len(6);
        let mut frame = XdpFrame::new(memory);
        assert_eq!(frame.bytes(), b"abcdef");
        frame.trim_front(2);
        frame.trim_front(1);
        frame.bytes_mut()[0] = b'D';
        assert_eq!(frame.bytes(), b"Def");
        let sent = frame.into_outgoing();
        assert_eq!((&sent.get_data()[..3], sent.get_len()), (&b"Def"[..], 3));
        assert_eq!(XdpFrame::new(sent).bytes(), b"Def");
    }
}
