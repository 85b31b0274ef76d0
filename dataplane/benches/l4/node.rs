//! What nodes run: one of the floors, or the engine.

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use dataplane::xdp::{Engine, PinFolder, Settings, detach, program::Mode};
use ebpf_common::{
    generate::{ONWARD, SWAP, WAY_MAP, Way},
    verdict::Reason,
};
use model::listener::Protocol;

use crate::{
    cases::{PORT, SERVICES, Served},
    site::{ENDPOINTS, FAR_MAC, SERVER_MAC, Site, endpoint, within},
    support::objects::{Balanced, addresses, desired},
    traffic,
};

/// Makes a node send frames back with their Ethernet addresses swapped.
pub(crate) fn send_back(site: &Site) -> Ebpf {
    let mut ebpf = traffic::load(SWAP);
    traffic::attach(&mut ebpf, SWAP, &site.node, &site.near);
    ebpf
}

/// Makes a node send frames on to the server with Ethernet addresses for it.
pub(crate) fn send_on(site: &Site) -> Ebpf {
    let mut ebpf = traffic::load(ONWARD);
    let far = within(&site.node, || nix::net::if_::if_nametoindex(site.far.as_str()));
    let mut addresses = [0; 6];
    let bytes = [SERVER_MAC, FAR_MAC].concat();
    for (word, pair) in addresses.iter_mut().zip(bytes.chunks(2)) {
        *word = u16::from_ne_bytes([pair[0], pair[1]]);
    }
    let way = Way { ifindex: far.expect("the interface"), addresses };
    let map = ebpf.map_mut(WAY_MAP).expect("the object has the map");
    let mut map: Array<&mut MapData, [u8; size_of::<Way>()]> = map.try_into().expect("its shape");
    // SAFETY: the way is integers without padding.
    let value = unsafe { std::mem::transmute::<Way, [u8; size_of::<Way>()]>(way) };
    map.set(0, value, 0).expect("the kernel takes it");
    traffic::attach(&mut ebpf, ONWARD, &site.node, &site.near);
    ebpf
}

/// A node with the engine.
pub(crate) struct Ours {
    engine: Engine,
    pins: PinFolder,
}

impl Ours {
    /// Starts the engine with all services at once.
    pub(crate) fn start(site: &Site) -> Self {
        let pins = PinFolder::new("/sys/fs/bpf", &format!("bench-{}", site.near));
        let pins = pins.expect("a folder's name");
        let interfaces = vec![site.near.clone(), site.far.clone()];
        let settings = Settings::new(interfaces, pins.clone());
        let engine = within(&site.node, || {
            let mut engine = Engine::open(settings).expect("the kernel takes the program");
            engine.reconcile(&desired(1, &services())).expect("the kernel takes the services");
            engine
        });
        assert!(engine.attachments().values().all(|mode| *mode == Ok(Mode::Native)));
        Self { engine, pins }
    }

    /// Tells how many frames the program has left alone or dropped, by reason.
    pub(crate) fn not_forwarded(&mut self) -> Vec<String> {
        let statistics = self.engine.statistics().expect("the kernel gives them");
        Reason::ALL
            .into_iter()
            .filter(|reason| statistics.count(*reason) > 0)
            .map(|reason| format!("{}: {}", reason.name(), statistics.count(reason)))
            .collect()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _gone = detach(&self.pins);
    }
}

fn services() -> Vec<Balanced> {
    let mut all = Vec::new();
    for Served { names, vip, forwarding, near } in SERVICES {
        let list: Vec<String> =
            (0..ENDPOINTS).map(|n| format!("{}:{PORT}", endpoint(n, near))).collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        for (name, protocol) in names.into_iter().zip([Protocol::Udp, Protocol::Tcp]) {
            all.push(Balanced {
                name,
                protocol,
                address: Some(vip),
                port: PORT,
                forwarding,
                endpoints: addresses(&list),
            });
        }
    }
    all
}
