//! The records of a configuration, kept in step service by service (pure).
//!
//! ```text
//! record 0    then, in any order
//! [Header]    [ports]  [lookup table]  [backends][Maglev table]  [backends][Maglev table] …
//! ```
//! Services with the same backends share one pool of backends and Maglev table. What is freed is
//! reused at once: the kernel's copies follow the image, and the one in force is never written.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use ebpf_common::{
    layout::{
        Address, Entry, Header, MAGIC, Pool, SNAT_PORT_FIRST, SNAT_PORT_LAST, TCP, UDP, cookies,
        forwarding,
    },
    qos::Treatment,
};
use model::listener::{Forwarding, SynCookies};

use super::{
    arena::Arena,
    lookup::{self, Full, Lookup},
    maglev::Weighted,
    numbers::Numbers,
    plan::{Carried, Frontend, NodeView},
    pools::{PoolKey, Pools},
    ports::Ports,
    qos::treatments::Treatments,
    record::{backend_key, local_key, of_header, service_key, to_header},
    sheet::Sheet,
    slots::{DRAIN, Slot},
};

/// The image.
#[derive(Debug)]
pub struct Image {
    arena: Arena,
    ports: Ports,
    lookup: Lookup,
    services: BTreeMap<Frontend, Service>,
    /// Services of any local address.
    any_address: u32,
    pools: Pools,
    treatments: Treatments,
    /// When services forget the endpoints that they had before.
    forgettings: BTreeSet<(Instant, Frontend)>,
    node: NodeView,
    revision: u64,
}

#[derive(Debug)]
struct Service {
    slot: u32,
    forwarding: Forwarding,
    carried: Option<Arc<Carried>>,
    /// What is done to packets from its clients.
    treatment: Treatment,
    /// What it had before the last change, where flows may still be led by it.
    before: Option<Before>,
}

/// The endpoints that a service had before.
#[derive(Clone, Debug)]
struct Before {
    key: PoolKey,
    until: Instant,
}

impl Default for Image {
    fn default() -> Self {
        let mut arena = Arena::default();
        let ports = Ports::new(&mut arena, SNAT_PORT_FIRST..=SNAT_PORT_LAST);
        let mut image = Self {
            arena,
            ports,
            lookup: Lookup::default(),
            services: BTreeMap::new(),
            any_address: 0,
            pools: Pools::default(),
            treatments: Treatments::default(),
            forgettings: BTreeSet::new(),
            node: NodeView::default(),
            revision: 0,
        };
        image.lay_out_lookup(None);
        image
    }
}

impl Image {
    /// Returns the records, to be copied; [`Self::stamp`] comes first.
    pub fn sheet(&mut self) -> &mut Sheet {
        &mut self.arena.sheet
    }

    /// Returns how many records there are.
    #[must_use]
    pub fn length(&self) -> usize {
        self.arena.sheet.records().len()
    }

    /// Returns how many records there may be after the next growth.
    #[must_use]
    pub fn next_length(&self) -> usize {
        self.arena.next_length()
    }

    /// Tells whether something differs from what was last put in force.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.arena.sheet.is_changed()
    }

    /// Takes over the node's addresses.
    pub fn set_node(&mut self, node: &NodeView) {
        let old: BTreeSet<IpAddr> = std::mem::take(&mut self.node.local);
        self.node = node.clone();
        for gone in old.difference(&node.local) {
            self.lookup.remove(&mut self.arena.sheet, &local_key(*gone));
        }
        for address in node.local.difference(&old) {
            self.put_entry(Entry { key: local_key(*address), ..Entry::default() });
        }
        let header = Header { generation: self.header().generation, ..self.new_header() };
        self.arena.sheet.set(0, of_header(header));
    }

    /// Takes over the numbers of endpoints that an earlier process gave out.
    pub fn set_numbers(&mut self, numbers: Numbers) {
        self.pools.numbers = numbers;
    }

    /// Returns the numbers of endpoints.
    pub fn numbers(&mut self) -> &mut Numbers {
        &mut self.pools.numbers
    }

    /// Returns what is done to the packets of services.
    pub fn treatments(&mut self) -> &mut Treatments {
        &mut self.treatments
    }

    /// Takes over a service that an earlier process left: its connections go on.
    pub fn put_left(&mut self, slot: &Slot, forwarding: Forwarding) {
        let treatment = Treatment::default();
        let service =
            Service { slot: slot.slot, forwarding, carried: None, treatment, before: None };
        self.put_service(&slot.frontend, &service, Pool::default(), Pool::default());
        self.services.insert(slot.frontend, service);
        self.note_frontend(&slot.frontend, true);
    }

    /// Adds or changes a service; without endpoints, only its established connections go on.
    pub fn put(
        &mut self,
        frontend: Frontend,
        slot: u32,
        carried: Option<Arc<Carried>>,
        now: Instant,
    ) {
        let mut old = self.services.remove(&frontend);
        let had = old.as_ref().map(|old| udp_backends(&frontend, old.carried.as_deref()));
        let (had, wanted) = (had.unwrap_or_default(), udp_backends(&frontend, carried.as_deref()));
        // A frontend keeps its slot for as long as the image has it.
        let key = |address: &SocketAddr| backend_key(slot, frontend.protocol, *address);
        for gone in had.difference(&wanted) {
            self.lookup.remove(&mut self.arena.sheet, &key(gone));
        }
        for new in wanted.difference(&had) {
            self.put_entry(Entry { key: key(new), ..Entry::default() });
        }
        let forwarding = match (&carried, &old) {
            (Some(carried), _) => carried.forwarding,
            (None, Some(old)) => old.forwarding,
            (None, None) => Forwarding::Nat,
        };
        let treatment = self.treatments.put(&mut self.arena, frontend, slot, carried.as_deref());
        let mut service = Service { slot, forwarding, carried, treatment, before: None };
        let hold = |key| self.pools.hold(&mut self.arena, key, now);
        let [v4, v6] = service.pool_keys().map(hold);
        service.before = old.as_mut().and_then(|old| old.hand_over(&service, now));
        self.forgettings.extend(service.before.iter().map(|before| (before.until, frontend)));
        self.put_service(&frontend, &service, v4, v6);
        // After the new pools are held, so that an unchanged one stays where it is.
        match old {
            Some(old) => self.release_pools(old, now),
            None => self.note_frontend(&frontend, true),
        }
        self.services.insert(frontend, service);
    }

    /// Removes a service.
    pub fn remove(&mut self, frontend: &Frontend, now: Instant) {
        let Some(old) = self.services.remove(frontend) else { return };
        for address in udp_backends(frontend, old.carried.as_deref()) {
            let key = backend_key(old.slot, frontend.protocol, address);
            self.lookup.remove(&mut self.arena.sheet, &key);
        }
        self.lookup.remove(&mut self.arena.sheet, &service_key(frontend));
        self.treatments.clear(&mut self.arena, frontend, old.slot);
        self.note_frontend(frontend, false);
        self.release_pools(old, now);
    }

    /// Drops the endpoints that services had before, where their time is over.
    pub fn forget_before(&mut self, now: Instant) {
        while let Some((until, frontend)) = self.forgettings.first().copied()
            && until <= now
        {
            self.forgettings.pop_first();
            let Some(mut service) = self.services.remove(&frontend) else { continue };
            // A later change may have put other endpoints there, with a later time.
            if let Some(before) = service.before.take_if(|before| before.until == until) {
                let [v4, v6] = service.pool_keys().map(|key| self.pools.get(&key));
                self.put_service(&frontend, &service, v4, v6);
                self.pools.release(&mut self.arena, &before.key, now);
            }
            self.services.insert(frontend, service);
        }
    }

    /// Returns when the next endpoints of before are to be dropped.
    #[must_use]
    pub fn next_forgetting(&self) -> Option<Instant> {
        self.forgettings.first().map(|(until, _)| *until)
    }

    /// Writes the generation and the revision that the records are about to be put in force as.
    pub fn stamp(&mut self, generation: u64, revision: u64) {
        self.revision = revision;
        let header = Header { generation, ..self.new_header() };
        self.arena.sheet.set(0, of_header(header));
    }

    fn header(&self) -> Header {
        to_header(self.arena.sheet.get(0))
    }

    fn new_header(&self) -> Header {
        let source = |source: Option<IpAddr>| source.map(Address::from).unwrap_or_default();
        let (egress_start, egress_slots) = self.treatments.egress();
        Header {
            generation: 0,
            revision: self.revision,
            magic: MAGIC,
            table_start: self.lookup.extent.start,
            table_mask: self.lookup.extent.len() as u32 - 1,
            source_v4: source(self.node.source_v4).words[3],
            source_v6: source(self.node.source_v6),
            seed: self.lookup.seed,
            any_address: self.any_address,
            egress_start,
            egress_slots,
        }
    }

    /// Counts a frontend that has come or gone.
    fn note_frontend(&mut self, frontend: &Frontend, come: bool) {
        if come {
            self.ports.hold(&mut self.arena, frontend.port);
        } else {
            self.ports.release(&mut self.arena, frontend.port);
        }
        if frontend.address.is_none() {
            self.any_address = if come { self.any_address + 1 } else { self.any_address - 1 };
        }
    }

    fn put_entry(&mut self, entry: Entry) {
        if let Err(Full(homeless)) = self.lookup.put(&mut self.arena.sheet, entry) {
            self.lay_out_lookup(Some(homeless));
        }
    }

    /// Lays the lookup table out anew, with room to grow.
    fn lay_out_lookup(&mut self, homeless: Option<Entry>) {
        let mut entries = self.lookup.entries(&self.arena.sheet);
        entries.extend(homeless);
        let layout = lookup::lay_out(&entries);
        let extent = self.arena.allocate(layout.1.len() as u32);
        let old = std::mem::take(&mut self.lookup).extent;
        self.lookup = Lookup::written(&mut self.arena.sheet, extent, &entries, layout);
        self.arena.free(old);
    }

    fn put_service(&mut self, frontend: &Frontend, service: &Service, v4: Pool, v6: Pool) {
        let mut entry = Entry {
            key: service_key(frontend),
            slot: service.slot,
            draining: u8::from(service.carried.is_none()),
            forwarding: forwarding_byte(service.forwarding),
            cookies: cookies_byte(frontend, service.carried.as_deref()),
            v4,
            v6,
            treatment: service.treatment,
            ..Entry::default()
        };
        if let Some(before) = &service.before {
            let pool = self.pools.get(&before.key);
            if frontend.address.is_some_and(|address| address.is_ipv4()) {
                entry.v6 = pool;
            } else {
                entry.v4 = pool;
            }
        }
        self.put_entry(entry);
    }

    fn release_pools(&mut self, service: Service, now: Instant) {
        for key in service.pool_keys().iter().chain(service.before.iter().map(|it| &it.key)) {
            self.pools.release(&mut self.arena, key, now);
        }
    }
}

impl Service {
    /// Returns what its pools are made of: IPv4 and IPv6.
    fn pool_keys(&self) -> [PoolKey; 2] {
        let key = |backends: &Vec<Weighted>, carried: &Carried| PoolKey {
            by_number: carried.forwarding != Forwarding::Nat,
            backends: backends.clone(),
        };
        match &self.carried {
            Some(carried) => [key(&carried.v4, carried), key(&carried.v6, carried)],
            None => Default::default(),
        }
    }

    /// Gives the endpoints that `new` should still know of to it.
    fn hand_over(&mut self, new: &Self, now: Instant) -> Option<Before> {
        let carried = self.carried.as_ref().filter(|it| it.forwarding != Forwarding::Nat)?;
        let after = new.carried.as_ref().filter(|it| it.forwarding != Forwarding::Nat)?;
        if (&carried.v4, &carried.v6) == (&after.v4, &after.v6) {
            return self.before.take();
        }
        let key = self.pool_keys().into_iter().find(|key| !key.backends.is_empty())?;
        // What was before that is released with this one, whose own pool is handed over.
        self.carried = None;
        Some(Before { key, until: now + DRAIN })
    }
}

/// Returns the backends of which the program asks whether they are still the service's: those of
/// UDP, since an established TCP connection stays with its backend.
fn udp_backends(frontend: &Frontend, carried: Option<&Carried>) -> BTreeSet<SocketAddr> {
    let carried = carried.filter(|_| frontend.protocol == UDP);
    carried.into_iter().flat_map(Carried::backends).map(|backend| backend.address).collect()
}

/// Reads how a service forwards; what no version of this program wrote is full NAT.
#[must_use]
pub fn forwarding_of(entry: &Entry) -> Forwarding {
    [Forwarding::L2, Forwarding::Ipip, Forwarding::Gue]
        .into_iter()
        .find(|forwarding| forwarding_byte(*forwarding) == entry.forwarding)
        .unwrap_or_default()
}

fn forwarding_byte(forwarding: Forwarding) -> u8 {
    match forwarding {
        Forwarding::Nat => forwarding::NAT,
        Forwarding::L2 => forwarding::L2,
        Forwarding::Ipip => forwarding::IPIP,
        Forwarding::Gue => forwarding::GUE,
    }
}

/// Returns when SYNs are answered by cookies; where nothing begins, never.
fn cookies_byte(frontend: &Frontend, carried: Option<&Carried>) -> u8 {
    let nat = carried.filter(|it| it.forwarding == Forwarding::Nat && frontend.protocol == TCP);
    match nat.map(|carried| carried.syn_cookies) {
        Some(SynCookies::Always) => cookies::ALWAYS,
        Some(SynCookies::Auto) => cookies::AUTO,
        Some(SynCookies::Never) | None => cookies::NEVER,
    }
}

#[cfg(test)]
#[path = "image/tests.rs"]
mod tests;
