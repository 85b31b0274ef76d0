//! The shape of a laboratory: subnets ("clouds") and the hosts in them. Pure; `network` builds it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail, ensure};

/// Host numbers in a subnet; .1 is the router.
const HOST_MIN: u8 = 2;
const HOST_MAX: u8 = 254;

/// A subnet: `10.A.B.0/24` and `fd00:A:B::/64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Name of the made-up cloud.
    pub name: String,
    /// Second and third byte of the IPv4 addresses.
    pub net: (u8, u8),
}

impl Subnet {
    /// The router's IPv4 address in this subnet.
    #[must_use]
    pub fn gateway_v4(&self) -> Ipv4Addr {
        self.v4(1)
    }

    /// The router's IPv6 address in this subnet.
    #[must_use]
    pub fn gateway_v6(&self) -> Ipv6Addr {
        self.v6(1)
    }

    fn v4(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.net.0, self.net.1, host)
    }

    fn v6(&self, host: u8) -> Ipv6Addr {
        let (a, b) = self.net;
        // The decimal digits of the IPv4 bytes, so that both families read alike.
        let digits = |byte: u8| {
            let byte = u16::from(byte);
            ((byte / 100) << 8) | ((byte / 10 % 10) << 4) | (byte % 10)
        };
        Ipv6Addr::new(0xfd00, digits(a), digits(b), 0, 0, 0, 0, digits(host))
    }
}

/// A host of the laboratory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name, unique in the plan.
    pub name: String,
    /// Index of its subnet.
    pub subnet: usize,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    /// Both addresses.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// Subnets and hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    subnets: Vec<Subnet>,
    hosts: Vec<Host>,
}

impl Plan {
    /// An empty plan.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client on the internet and two clouds: two nodes and two backends in the first, one node
    /// and two backends in the second. `examples/shop.yaml` names these backends.
    ///
    /// # Panics
    /// Never: the plan is fixed and tested.
    #[must_use]
    pub fn two_clouds() -> Self {
        let build = || {
            let mut plan = Self::new()
                .subnet("internet", 77, 0)?
                .subnet("cloud-a", 77, 1)?
                .subnet("cloud-b", 77, 2)?;
            for (name, cloud, number) in [
                ("client", "internet", 100),
                ("node-1", "cloud-a", 101),
                ("node-2", "cloud-a", 102),
                ("node-3", "cloud-b", 103),
                ("backend-a1", "cloud-a", 11),
                ("backend-a2", "cloud-a", 12),
                ("backend-b1", "cloud-b", 11),
                ("backend-b2", "cloud-b", 12),
            ] {
                plan = plan.host(name, cloud, number)?;
            }
            Ok::<_, anyhow::Error>(plan)
        };
        build().expect("the plan is fixed and tested")
    }

    /// Adds the subnet `10.a.b.0/24`.
    ///
    /// # Errors
    /// When the name or the numbers are taken.
    pub fn subnet(mut self, name: &str, a: u8, b: u8) -> Result<Self> {
        ensure!(
            self.subnets.iter().all(|subnet| subnet.name != name && subnet.net != (a, b)),
            "subnet {name} (10.{a}.{b}.0/24) is already in the plan"
        );
        self.subnets.push(Subnet { name: name.to_owned(), net: (a, b) });
        Ok(self)
    }

    /// Adds a host with the given number in a subnet.
    ///
    /// # Errors
    /// When the subnet is not there, or the name or the address is taken.
    pub fn host(mut self, name: &str, subnet: &str, number: u8) -> Result<Self> {
        let Some(index) = self.subnets.iter().position(|known| known.name == subnet) else {
            bail!("host {name}: no subnet named {subnet}");
        };
        ensure!(
            (HOST_MIN..=HOST_MAX).contains(&number),
            "host {name}: number {number} is not in {HOST_MIN}..={HOST_MAX}"
        );
        let (v4, v6) = (self.subnets[index].v4(number), self.subnets[index].v6(number));
        ensure!(
            self.hosts.iter().all(|host| host.name != name && host.v4 != v4),
            "host {name} ({v4}) is already in the plan"
        );
        self.hosts.push(Host { name: name.to_owned(), subnet: index, v4, v6 });
        Ok(self)
    }

    /// The hosts, in the order in which they were added.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The subnets.
    #[must_use]
    pub fn subnets(&self) -> &[Subnet] {
        &self.subnets
    }

    /// A host by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &str) -> Result<&Host> {
        let names = || self.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>();
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .ok_or_else(|| anyhow::anyhow!("no host named {name}; there are {:?}", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_read_alike() {
        let plan = Plan::two_clouds();
        let client = plan.find("client").unwrap();
        assert_eq!(client.v4.to_string(), "10.77.0.100");
        assert_eq!(client.v6.to_string(), "fd00:77::100");
        assert_eq!(plan.find("node-3").unwrap().v6.to_string(), "fd00:77:2::103");
        assert_eq!(plan.subnets()[2].gateway_v6().to_string(), "fd00:77:2::1");
    }

    #[test]
    fn a_plan_refuses_what_is_taken_or_unknown() {
        let plan = || Plan::new().subnet("a", 1, 1).unwrap().host("x", "a", 2).unwrap();
        for (result, want) in [
            (plan().host("x", "a", 3), "already"),
            (plan().host("y", "a", 2), "already"),
            (plan().host("y", "b", 2), "no subnet"),
            (plan().host("y", "a", 1), "not in"),
            (plan().subnet("b", 1, 1), "already"),
        ] {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(want), "{text}");
        }
    }
}
