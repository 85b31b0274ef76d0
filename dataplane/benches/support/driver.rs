//! Runs an XDP program on many frames: a driver program in the kernel restores each, makes it one of
//! the next flow, and calls the program that is measured.

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use ebpf_common::drive::{
    BEFORE_WORDS, DRIVER, FLOOR, NEXT_MAP, RESTORED_V4, RESTORED_V6, STATE_MAP, State,
};

use crate::support::packets::Frame;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/marchproxy-drive"));

/// The driver.
pub(crate) struct Driver {
    ebpf: Ebpf,
    /// Whether frames are restored at their tails: where what is called answers them.
    pub(crate) tail: bool,
}

impl Driver {
    pub(crate) fn new() -> Self {
        let mut driver =
            Self { ebpf: EbpfLoader::new().load(OBJECT).expect("the driver"), tail: false };
        for name in [DRIVER, FLOOR] {
            driver.xdp(name).load().expect("the kernel takes the driver");
        }
        driver
    }

    /// Returns the program that does nothing.
    pub(crate) fn floor(&mut self) -> ProgramFd {
        handle(self.xdp(FLOOR))
    }

    /// Chooses the program that is called.
    pub(crate) fn call(&mut self, program: &ProgramFd) {
        let map = self.ebpf.map_mut(NEXT_MAP).expect("the object has the map");
        let mut next: ProgramArray<&mut MapData> = map.try_into().expect("a program array");
        next.set(0, program, 0).expect("the kernel takes the program");
    }

    /// Runs frames of some flows, of which this is the first one's, as come in by an interface;
    /// returns the verdict on the last and the mean cost in nanoseconds.
    pub(crate) fn run(
        &mut self,
        frame: &Frame,
        flows: u64,
        frames: u32,
        ifindex: u32,
    ) -> (u32, f64) {
        self.run_from(frame, 0, flows, frames, ifindex)
    }

    /// The same, but for the frames before a number of them.
    pub(crate) fn run_from(
        &mut self,
        frame: &Frame,
        counter: u64,
        flows: u64,
        frames: u32,
        ifindex: u32,
    ) -> (u32, f64) {
        let v6 = frame.source.is_ipv6();
        let mut bytes = frame.bytes();
        bytes.resize(if v6 { RESTORED_V6 } else { 64 }, 0);
        let mut words = [0; (RESTORED_V6 - BEFORE_WORDS) / 8];
        let restored = if v6 { RESTORED_V6 } else { RESTORED_V4 };
        for (word, chunk) in words.iter_mut().zip(bytes[BEFORE_WORDS..restored].chunks(8)) {
            *word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
        }
        let length = bytes.len() as u32;
        let state = State {
            counter,
            flows_mask: flows - 1,
            length,
            v6: v6.into(),
            words,
            first: u32::from_ne_bytes(bytes[..4].try_into().expect("four bytes")),
            second: u16::from_ne_bytes(bytes[4..6].try_into().expect("two bytes")),
            tail: self.tail.into(),
        };
        let map = self.ebpf.map_mut(STATE_MAP).expect("the object has the map");
        let mut states: Array<&mut MapData, [u8; size_of::<State>()]> =
            map.try_into().expect("an array of states");
        // SAFETY: the state is integers without padding.
        let value = unsafe { std::mem::transmute::<State, [u8; size_of::<State>()]>(state) };
        states.set(0, value, 0).expect("the kernel takes the state");
        let context: Vec<u8> =
            [0, length, 0, ifindex, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut out = vec![0; bytes.len() + 256];
        let options = TestRunOptions {
            data_in: Some(&bytes),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            repeat: frames,
            ..TestRunOptions::default()
        };
        let result = self.xdp(DRIVER).test_run(options).expect("a test run");
        (result.return_value, result.duration.as_nanos() as f64)
    }

    fn xdp(&mut self, name: &str) -> &mut Xdp {
        let program = self.ebpf.program_mut(name).expect("the object has the program");
        program.try_into().expect("an XDP program")
    }
}

/// Returns a second handle of a loaded program.
pub(crate) fn handle(program: &Xdp) -> ProgramFd {
    program.fd().expect("it is loaded").try_clone().expect("a second handle")
}
