//! What drivers say: `SIOCETHTOOL` (include/uapi/linux/ethtool.h). None of these needs rights.

use std::{collections::BTreeMap, io, net::UdpSocket, os::fd::AsRawFd as _};

use crate::{
    doctor::facts::{Channels, Driver, Feature, Gap, Hardware, Rings},
    netlink::wire,
};

const GET_DRIVER: u32 = 0x03;
const GET_RINGS: u32 = 0x10;
const GET_STRINGS: u32 = 0x1b;
const GET_STRING_SETS: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const GET_CHANNELS: u32 = 0x3c;
/// The set of the features' names (`ETH_SS_FEATURES`).
const FEATURES: u32 = 4;
/// Bytes of `struct ethtool_drvinfo`: the command, five texts of 32, 12 reserved, five counts.
const DRIVER_BYTES: usize = 4 + 5 * 32 + 12 + 5 * 4;
/// Bytes of `struct ethtool_ringparam` and of `struct ethtool_channels`: the command, eight counts.
const COUNTS_BYTES: usize = 4 + 8 * 4;
/// Bytes of `struct ethtool_sset_info` for one set: command, reserved, mask of 64 bits, a count.
const STRING_SETS_BYTES: usize = 4 + 4 + 8 + 4;
/// Bytes of a name (`ETH_GSTRING_LEN`).
const NAME: usize = 32;
/// More features than any kernel has: it has some 64.
const FEATURES_MAX: usize = 1024;

/// Asks an interface's driver.
pub(super) fn read(name: &str) -> Hardware {
    let ask = |command, length| ask(name, command, &[], length).ok();
    Hardware {
        driver: ask(GET_DRIVER, DRIVER_BYTES).map(|answer| driver(&answer)),
        features: features(name).map_err(|error| Gap::of(&error)),
        channels: ask(GET_CHANNELS, COUNTS_BYTES).map(|answer| channels(&answer)),
        rings: ask(GET_RINGS, COUNTS_BYTES).and_then(|answer| rings(&answer)),
    }
}

/// `struct ethtool_drvinfo`: driver, version, firmware and bus, of 32 bytes each, after the command.
fn driver(answer: &[u8]) -> Driver {
    let part = |at: usize| wire::text(&answer[4 + 32 * at..4 + 32 * (at + 1)]).trim().to_owned();
    // Drivers without firmware say so in words.
    let firmware = Some(part(2)).filter(|text| text != "N/A").unwrap_or_default();
    Driver { name: part(0), version: part(1), firmware, bus: part(3) }
}

/// `struct ethtool_channels`: the most of receive, send, other and combined ones, then the present.
/// Some drivers tell the most of both kinds, of which either may be had.
fn channels(answer: &[u8]) -> Channels {
    let count = |at| count(answer, at);
    let combined = count(3) > 0;
    let receive = count(4) + count(7);
    let most = if combined { count(3) } else { count(0) };
    Channels { receive, receive_max: most.max(receive), combined }
}

/// `struct ethtool_ringparam`: the most of receive, mini, jumbo and send entries, then the present.
fn rings(answer: &[u8]) -> Option<Rings> {
    let count = |at| count(answer, at);
    // A device without rings has a most of none.
    (count(0) > 0).then(|| Rings { receive: count(4), receive_max: count(0) })
}

/// One of the counts after the command.
fn count(answer: &[u8], at: usize) -> u32 {
    wire::u32_at(answer, 4 + 4 * at).unwrap_or(0)
}

fn features(name: &str) -> io::Result<BTreeMap<String, Feature>> {
    let mask = (1u64 << FEATURES).to_ne_bytes();
    let word = |at| wire::u32_at(&mask, at).unwrap_or(0);
    let answer = ask(name, GET_STRING_SETS, &[0, word(0), word(4)], STRING_SETS_BYTES)?;
    let count = (wire::u32_at(&answer, 16).unwrap_or(0) as usize).min(FEATURES_MAX);
    // `struct ethtool_gstrings`: set, count, names.
    let names = ask(name, GET_STRINGS, &[FEATURES, count as u32], 12 + count * NAME)?;
    // `struct ethtool_gfeatures`: blocks of 32, each available, requested, active, never changed.
    let blocks = count.div_ceil(32);
    let sets = ask(name, GET_FEATURES, &[blocks as u32], 8 + blocks * 16)?;
    let bit = |number: usize, word: usize| {
        let block = wire::u32_at(&sets, 8 + number / 32 * 16 + word * 4).unwrap_or(0);
        block & (1 << (number % 32)) != 0
    };
    Ok((0..count)
        .map(|number| {
            let name = wire::text(&names[12 + number * NAME..12 + (number + 1) * NAME]);
            let fixed = bit(number, 3) || !bit(number, 0);
            (name, Feature { on: bit(number, 2), fixed })
        })
        .filter(|(name, _)| !name.is_empty())
        .collect())
}

/// Sends a command with its first words; returns the structure as the kernel filled it. `length` is
/// that of the whole structure: the kernel writes as much, whatever room there is.
fn ask(name: &str, command: u32, words: &[u32], length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0u8; length];
    for (place, word) in buffer.chunks_exact_mut(4).zip([command].iter().chain(words)) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    // SAFETY: all fields are integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes();
    if bytes.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(bytes) {
        *place = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast();
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0"))?;
    // SAFETY: the name ends with a zero byte, and the buffer has the command's whole structure.
    let failed =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if failed < 0 { Err(io::Error::last_os_error()) } else { Ok(buffer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: [u32; 8]) -> Vec<u8> {
        [0].into_iter().chain(counts).flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn answers_are_read_at_their_places() {
        assert_eq!(counts([0; 8]).len(), COUNTS_BYTES);
        let check = |found: [u32; 8], (receive, receive_max, combined)| {
            let wanted = Channels { receive, receive_max, combined };
            assert_eq!(channels(&counts(found)), wanted, "{found:?}");
        };
        check([0, 0, 1, 64, 0, 0, 1, 8], (8, 64, true));
        check([74, 37, 0, 74, 0, 0, 0, 16], (16, 74, true));
        check([4, 5, 0, 0, 2, 3, 0, 0], (2, 4, false));
        let found = rings(&counts([4096, 1, 2, 512, 256, 3, 4, 128]));
        assert_eq!(found, Some(Rings { receive: 256, receive_max: 4096 }));
        assert_eq!(rings(&counts([0; 8])), None);
        let mut answer = vec![0; DRIVER_BYTES];
        for (at, text) in ["ena", "2.8", "N/A", "0000:00:05.0", "rom"].into_iter().enumerate() {
            answer[4 + 32 * at..][..text.len()].copy_from_slice(text.as_bytes());
        }
        let text = |text: &str| text.to_owned();
        let wanted = Driver {
            name: text("ena"),
            version: text("2.8"),
            firmware: text(""),
            bus: text("0000:00:05.0"),
        };
        assert_eq!(driver(&answer), wanted);
    }

    #[test]
    fn the_loopback_interface_answers_and_one_that_is_not_there_does_not() {
        let lo = read("lo");
        let features = lo.features.unwrap();
        let loopback = Feature { on: true, fixed: true };
        assert_eq!(features.get("loopback"), Some(&loopback), "{features:?}");
        let gone = read("no-such-thing");
        assert!(matches!(gone.features, Err(Gap::Failed(_))));
        assert_eq!((gone.driver, gone.channels, gone.rings), (None, None, None));
        assert!(ask("a-name-that-is-too-long", GET_DRIVER, &[], DRIVER_BYTES).is_err());
    }
}
