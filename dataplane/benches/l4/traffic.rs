//! What sends at one end of a site and counts at the other.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use ebpf_common::generate::{
    COUNTER, CREDIT_MAP, GENERATOR, HEADER_CHECKSUM, HEADERS, RECEIVED_MAP, RECEIVER, Received,
    TCP_CHECKSUM, TEMPLATE_MAP, Template, UDP_CHECKSUM,
};

use crate::{
    cases::{Case, FRAME},
    site::{Site, pin, within},
    support::{
        namespaces::Namespace,
        packets::{Frame, TCP},
    },
};

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/marchproxy-generate"));

/// Frames that the kernel makes at a time, after which the node is woken: fewer than may be under
/// way, since the generator would wait for frames that nobody has been woken for.
const BATCH: u32 = 128;
/// Frames in one call: some hundredths of a second, so that it ends soon after it is told to.
const FRAMES: u32 = 1 << 16;
/// Words of what a CPU has received.
const WORDS: usize = size_of::<Received>() / 8;

/// Loads one program of the object, with maps of its own.
pub(crate) fn load(name: &str) -> Ebpf {
    let mut ebpf = EbpfLoader::new().load(OBJECT).expect("the object");
    xdp(&mut ebpf, name).load().expect("the kernel takes the program");
    ebpf
}

/// Attaches a program in native mode for as long as its object lives.
pub(crate) fn attach(ebpf: &mut Ebpf, name: &str, namespace: &Namespace, interface: &str) {
    attach_in(XdpMode::Driver, ebpf, name, namespace, interface);
}

fn attach_in(mode: XdpMode, ebpf: &mut Ebpf, name: &str, namespace: &Namespace, interface: &str) {
    let xdp = xdp(ebpf, name);
    let _link = within(namespace, || xdp.attach(interface, mode)).expect("it takes the program");
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    let program = ebpf.program_mut(name).expect("the object has the program");
    program.try_into().expect("an XDP program")
}

/// Sends frames of some flows, in no order, as fast as they get through, and counts what comes.
pub(crate) struct Traffic {
    ebpf: Ebpf,
    ifindex: u32,
    cpu: usize,
    bytes: Vec<u8>,
}

impl Traffic {
    /// Makes the client of a site send, and both its ends count.
    pub(crate) fn new(site: &Site, cpu: usize) -> Self {
        let mut ebpf = load(GENERATOR);
        xdp(&mut ebpf, COUNTER).load().expect("the kernel takes the program");
        attach(&mut ebpf, COUNTER, &site.client, "eth0");
        attach(&mut ebpf, COUNTER, &site.server, "eth0");
        // A call waits for two RCU grace periods, and nothing is sent meanwhile, unless the program
        // is attached somewhere (`bpf_dispatcher_change_prog` in kernel/bpf/dispatcher.c).
        attach_in(XdpMode::Skb, &mut ebpf, GENERATOR, &site.client, "lo");
        let ifindex = within(&site.client, || nix::net::if_::if_nametoindex("eth0"));
        Self { ebpf, ifindex: ifindex.expect("the interface"), cpu, bytes: Vec::new() }
    }

    /// Makes the node count and drop.
    pub(crate) fn drop_at_node(&mut self, site: &Site) {
        attach(&mut self.ebpf, COUNTER, &site.node, &site.near);
    }

    /// Returns how many frames have come.
    pub(crate) fn frames(&self) -> u64 {
        self.cpus().iter().map(|words| words[0]).sum()
    }

    /// Returns the start of a frame that has come; all zero when hardly any has.
    pub(crate) fn sample(&self) -> [u8; HEADERS] {
        let cpus = self.cpus();
        let busiest = cpus.iter().max_by_key(|words| words[0]).expect("a CPU");
        let mut sample = [0; HEADERS];
        for (bytes, word) in sample.chunks_mut(8).zip(&busiest[1..]) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        sample
    }

    fn cpus(&self) -> PerCpuValues<[u64; WORDS]> {
        let map = self.ebpf.map(RECEIVED_MAP).expect("the object has the map");
        let map: PerCpuArray<&MapData, [u64; WORDS]> = map.try_into().expect("its shape");
        map.get(&0, 0).expect("the kernel gives it")
    }

    /// Sets what a case sends and counts, and forgets what has come.
    pub(crate) fn prepare(&mut self, case: &Case, frame: &Frame, flows: u64) {
        let mut bytes = frame.bytes();
        bytes.resize(FRAME, 0);
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let tcp = frame.protocol == TCP;
        let mut headers = [0; HEADERS / 8];
        for (word, chunk) in headers.iter_mut().zip(bytes.chunks(8)) {
            *word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
        }
        let receiver = case.receiver();
        let template = Template {
            counter: 0,
            flows_mask: flows - 1,
            window: case.window(),
            lost: 0,
            tcp: u32::from(tcp),
            receiver: u16::from_ne_bytes([receiver[RECEIVER], receiver[RECEIVER + 1]]).into(),
            checksums: [word(HEADER_CHECKSUM), word(if tcp { TCP_CHECKSUM } else { UDP_CHECKSUM })],
            padding: 0,
            headers,
        };
        // SAFETY: the template is integers without padding of the compiler's.
        let value =
            unsafe { std::mem::transmute::<Template, [u8; size_of::<Template>()]>(template) };
        self.set(TEMPLATE_MAP, value);
        self.set(CREDIT_MAP, [0; 8]);
        let zero = PerCpuValues::try_from(vec![[0u64; WORDS]; self.cpus().len()]);
        let map = self.ebpf.map_mut(RECEIVED_MAP).expect("the object has the map");
        let mut map: PerCpuArray<&mut MapData, [u64; WORDS]> = map.try_into().expect("its shape");
        map.set(0, zero.expect("a value a CPU"), 0).expect("the kernel takes it");
        self.bytes = bytes;
    }

    /// Sets the one value of an array.
    fn set<const N: usize>(&mut self, name: &str, value: [u8; N]) {
        let map = self.ebpf.map_mut(name).expect("the object has the map");
        let mut map: Array<&mut MapData, [u8; N]> = map.try_into().expect("its shape");
        map.set(0, value, 0).expect("the kernel takes it");
    }

    /// Sends from the client's namespace while some work is done.
    pub(crate) fn during<T>(&self, client: &Namespace, work: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                client.enter();
                pin(0, self.cpu);
                while !stop.load(Ordering::Relaxed) {
                    self.send();
                }
            });
            let done = work();
            stop.store(true, Ordering::Relaxed);
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done
        })
    }

    fn send(&self) {
        let program: &Xdp = self
            .ebpf
            .program(GENERATOR)
            .and_then(|program| program.try_into().ok())
            .expect("the object has the program");
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress.
        let context: Vec<u8> = [0, self.bytes.len() as u32, 0, self.ifindex, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        program
            .test_run(TestRunOptions {
                data_in: Some(&self.bytes),
                ctx_in: Some(&context),
                repeat: FRAMES,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            })
            .expect("a run that sends frames (Linux 5.18 or later)");
    }
}
