//! What a lab is started with, and the addresses in it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::command::system;

/// Changes when a running lab of an older checkout can no longer be used by a newer one.
pub const FORMAT: u32 = 3;
/// The most nodes of a lab.
pub const MOST_NODES: u8 = 4;
/// The object store's port.
const S3_PORT: u16 = 9000;

/// Written by `up`, read by the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// See [`FORMAT`].
    pub format: u32,
    /// How many nodes to begin with.
    pub nodes: u8,
    /// The lab's addresses.
    pub network: Network,
    /// The folder of the Go programs.
    pub binaries: PathBuf,
    /// The image archives that every node gets.
    pub images: Vec<PathBuf>,
    /// CloudNativePG's release manifest.
    pub cnpg_manifest: PathBuf,
    /// The operator's image in that archive list.
    pub operator_image: String,
    /// PostgreSQL's image in that archive list, for the tests.
    pub postgres_image: String,
}

/// One /16 of the lab's own: `10.B.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The second byte.
    pub second: u8,
}

impl Network {
    /// Those that are tried, the first free one is taken.
    pub const CANDIDATES: std::ops::RangeInclusive<u8> = 213..=222;

    const fn ip(self, third: u8, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.second, third, last)
    }

    /// The whole.
    pub fn cidr(self) -> String {
        format!("{}/16", self.ip(0, 0))
    }

    /// The control plane, in the lab's first network namespace.
    pub const fn control_plane(self) -> Ipv4Addr {
        self.ip(0, 1)
    }

    /// The machine's end of the cable into the lab.
    pub const fn host(self) -> Ipv4Addr {
        self.ip(0, 254)
    }

    /// A node, counted from 1.
    pub const fn node(self, number: u8) -> Ipv4Addr {
        self.ip(0, 10 + number)
    }

    /// The pods of one node.
    pub fn pods(self, number: u8) -> String {
        format!("{}/24", self.ip(10 + number, 0))
    }

    /// The pods of all nodes.
    pub fn all_pods(self) -> String {
        format!("{}/21", self.ip(8, 0))
    }

    /// Service addresses.
    pub fn services(self) -> String {
        format!("{}/20", self.ip(128, 0))
    }

    /// The service `kubernetes`: the first address of the range.
    pub const fn api_service(self) -> Ipv4Addr {
        self.ip(128, 1)
    }

    /// The service of the cluster's DNS.
    pub const fn dns_service(self) -> Ipv4Addr {
        self.ip(128, 10)
    }

    /// Where the API server answers.
    pub fn api_url(self) -> String {
        format!("https://{}:6443", self.control_plane())
    }

    /// Where the object store answers, on the host and in pods.
    pub const fn s3(self) -> SocketAddrV4 {
        SocketAddrV4::new(self.control_plane(), S3_PORT)
    }

    /// The first candidate that nothing on this machine routes to, other than over `own_link`.
    pub fn free(own_link: &str) -> Result<Self> {
        let output = system("ip")
            .args(["-json", "-4", "route", "show", "table", "all"])
            .output()
            .context("run `ip`: install iproute2")?;
        let routes: Vec<Route> = serde_json::from_slice(&output.stdout).context("parse the output of `ip route`")?;
        let taken: Vec<(u32, u32)> = routes
            .iter()
            .filter(|route| route.dev.as_deref() != Some(own_link))
            .filter_map(|route| range(&route.dst))
            .collect();
        for second in Self::CANDIDATES {
            let network = Self { second };
            let (first, last) = (u32::from(network.ip(0, 0)), u32::from(network.ip(255, 255)));
            // A default route is in nobody's way.
            if !taken.iter().any(|(from, to)| *from <= last && first <= *to) {
                return Ok(network);
            }
        }
        bail!("no free network among 10.213.0.0/16 to 10.222.0.0/16: this machine has routes into all of them")
    }
}

/// What `ip -json route` says of a route, as far as it matters here.
#[derive(Deserialize)]
struct Route {
    dst: String,
    dev: Option<String>,
}

/// First and last address of `a.b.c.d` or `a.b.c.d/n`; `None` for `default`.
fn range(destination: &str) -> Option<(u32, u32)> {
    let (address, bits) = destination.split_once('/').unwrap_or((destination, "32"));
    let (address, bits): (Ipv4Addr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    let host = u32::MAX.checked_shr(bits).unwrap_or(0);
    let first = u32::from(address) & !host;
    Some((first, first | host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_routes() {
        let ip = |text: &str| u32::from(text.parse::<Ipv4Addr>().unwrap());
        assert_eq!(range("10.0.0.0/8"), Some((ip("10.0.0.0"), ip("10.255.255.255"))));
        assert_eq!(range("10.213.0.7"), Some((ip("10.213.0.7"), ip("10.213.0.7"))));
        assert_eq!(range("default"), None);
    }

    #[test]
    fn the_parts_of_a_network_do_not_overlap() {
        let network = Network { second: 213 };
        let pods = range(&network.all_pods()).unwrap();
        for number in 1..=MOST_NODES {
            let one = range(&network.pods(number)).unwrap();
            assert!(pods.0 <= one.0 && one.1 <= pods.1);
        }
        let services = range(&network.services()).unwrap();
        assert!(pods.1 < services.0);
        let dns = u32::from(network.dns_service());
        assert!(services.0 < dns && dns < services.1);
        assert!(u32::from(network.host()) < pods.0);
    }
}
