//! Netlink messages as bytes: requests are built, answers taken apart (pure).
//!
//! The format is that of <https://docs.kernel.org/userspace-api/netlink/intro.html>: headers and
//! attributes in the machine's byte order, each aligned to four bytes.

/// Bytes of a message's header: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// Bytes of an attribute's header: length, type.
const ATTRIBUTE: usize = 4;
/// Bits of an attribute's type that are none (`NLA_TYPE_MASK`).
const FLAGS: u16 = 0xc000;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// Begins a request with the header of its family.
    pub(crate) fn new(kind: u16, flags: u16, family_header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(family_header);
        pad(&mut bytes);
        Self(bytes)
    }

    /// Appends an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).expect("requests are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(&mut self.0);
        self
    }

    /// Ends it.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("requests are short");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message: its type, and what follows its header.
pub(crate) type Message<'a> = (u16, &'a [u8]);

/// Takes a datagram apart; ends at the first message that is cut off.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    split(bytes, HEADER, |head| {
        (u32_at(head, 0).unwrap_or(0) as usize, u16_at(head, 4).unwrap_or(0))
    })
}

/// Takes a message's attributes apart; `bytes` begin after the header of the family.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    split(bytes, ATTRIBUTE, |head| {
        let length = u16_at(head, 0).unwrap_or(0);
        (length.into(), u16_at(head, 2).unwrap_or(0) & !FLAGS)
    })
}

/// Returns an attribute.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

fn split(
    mut bytes: &[u8],
    header: usize,
    read: impl Fn(&[u8]) -> (usize, u16),
) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = read(bytes.get(..header)?);
        let value = bytes.get(header..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Reads a number at an offset.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a number at an offset.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads a number at an offset.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Reads text that ends with a zero byte, or with the bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_read_back_with_its_attributes() {
        let request = Request::new(18, 1, &[7, 0, 0, 0]).with(3, b"eth0\0").with(0x8004, &[9; 8]);
        let bytes = request.bytes();
        let all: Vec<Message<'_>> = messages(&bytes).collect();
        let [(18, body)] = all[..] else { panic!("{all:?}") };
        let attributes: Vec<_> = attributes(&body[4..]).collect();
        assert_eq!(attributes, [(3, &b"eth0\0"[..]), (4, &[9u8; 8][..])]);
        assert_eq!(attribute(&body[4..], 3).map(text).as_deref(), Some("eth0"));
        assert_eq!(attribute(&body[4..], 5), None);
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        let bytes = Request::new(18, 1, &[]).with(3, b"eth0\0").bytes();
        for end in 0..bytes.len() {
            assert_eq!(messages(&bytes[..end]).count(), 0, "{end}");
        }
        // A length below the header's own would never end.
        assert_eq!(attributes(&[0, 0, 1, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!((u16_at(&[1], 0), u32_at(&[1; 4], 1), u64_at(&[], 0)), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_without_a_panic_or_an_endless_loop(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
            text(&bytes);
        }
    }
}
