//! The peer: full NAT by nftables and connection tracking.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _, Seek as _, Write as _},
    process::{Command, Stdio},
};

use crate::{
    cases::{NAT_VIP, PORT},
    site::{ENDPOINTS, Site, endpoint, within},
};

/// Settings of the host that bound connection tracking in every namespace: entries, then buckets.
const LIMITS: [&str; 2] =
    ["/proc/sys/net/netfilter/nf_conntrack_max", "/proc/sys/net/netfilter/nf_conntrack_buckets"];
/// Entries of the namespace; where flows are counted.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// The host's limits of connection tracking, put back at the end.
#[derive(Debug)]
pub(crate) struct Conntrack {
    /// Held open: a path would be that of whichever namespace the thread is in.
    before: Vec<(fs::File, String)>,
}

impl Conntrack {
    /// Raises the limits to what so many flows need with one bucket each.
    pub(crate) fn size_for(flows: u64) -> Self {
        let mut before = Vec::new();
        for path in LIMITS {
            // A table that no namespace has used yet is as good as one that is too small.
            let opened = fs::File::options().read(true).write(true).open(path);
            let mut file = opened.unwrap_or_else(|error| panic!("{path}: {error}"));
            let mut found = String::new();
            file.read_to_string(&mut found).unwrap_or_else(|error| panic!("{path}: {error}"));
            let wanted = 2 * flows;
            if found.trim().parse::<u64>().is_ok_and(|number| number < wanted) {
                write(&mut file, &wanted.to_string())
                    .unwrap_or_else(|error| panic!("{path}: {error}"));
                before.push((file, found));
            }
        }
        Self { before }
    }
}

impl Drop for Conntrack {
    fn drop(&mut self) {
        for (file, value) in &mut self.before {
            if let Err(error) = write(file, value.trim()) {
                eprintln!("      a limit of connection tracking stays raised: {error}");
            }
        }
    }
}

fn write(file: &mut fs::File, value: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(value.as_bytes())
}

/// Makes a node translate what the engine would.
pub(crate) fn start(site: &Site) {
    let node = &site.node;
    // Checksums are what a network card verifies; nothing of this is meant to be slow.
    node.run(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 \
         net.ipv4.conf.default.rp_filter=0 net.netfilter.nf_conntrack_checksum=0 \
         net.netfilter.nf_conntrack_udp_timeout=3600",
    );
    node.run(&format!("sysctl -qw net.ipv4.conf.{}.rp_filter=0", site.near));
    // GRO makes the interface poll, as a program does on the others.
    node.run(&format!("ethtool -K {} gro on", site.near));
    let mut nft = Command::new("ip")
        .args(["netns", "exec", &node.0, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft starts (`cargo xtask setup` installs it)");
    let mut input = nft.stdin.take().expect("a pipe");
    input.write_all(rules(&site.far).as_bytes()).expect("nft reads");
    drop(input);
    assert!(nft.wait().is_ok_and(|status| status.success()), "nft refused the rules");
}

/// Returns how many flows the node tracks.
pub(crate) fn tracked(site: &Site) -> u64 {
    let text = within(&site.node, || fs::read_to_string(COUNT));
    text.ok().and_then(|text| text.trim().parse().ok()).expect("a number of flows")
}

fn rules(far: &str) -> String {
    let mut map = String::new();
    for n in 0..ENDPOINTS {
        write!(map, "{n} : {}, ", endpoint(n, false)).expect("a string takes it");
    }
    format!(
        "table ip bench {{
           chain before {{
             type nat hook prerouting priority dstnat;
             ip daddr {NAT_VIP} udp dport {PORT} \
               dnat to jhash ip saddr . udp sport mod {ENDPOINTS} map {{ {map} }}
           }}
           chain after {{
             type nat hook postrouting priority srcnat;
             oifname {far} masquerade
           }}
         }}"
    )
}
