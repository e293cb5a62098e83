//! The lab's network: a bridge in its first namespace, with a cable to each node and one to the machine.
//!
//! On the machine there is one link with one address, and routes over it; they vanish with the link. Nothing else of the
//! machine's network is touched: no forwarding, no packet rules.

use anyhow::Result;
use tokio::process::Command;

use crate::lab::command::{run_command, run_line};
use crate::lab::config::{Config, MOST_NODES};
use crate::lab::layout::Layout;

/// Makes the bridge and the cable to the machine.
pub async fn create(layout: &Layout, config: &Config) -> Result<()> {
    let (network, link) = (config.network, layout.host_link());
    run_line("ip link set lo up").await?;
    run_line("ip link add lab0 type bridge").await?;
    run_line(&format!("ip address add {}/24 dev lab0", network.control_plane())).await?;
    run_line("ip link set lab0 up").await?;
    run_line("sysctl -qw net.ipv4.ip_forward=1").await?;

    // The number means this process in its own process namespace, which the kernel resolves for the caller.
    let this = std::process::id();
    on_machine(&format!("ip link add {link} type veth peer name host0 netns {this}")).await?;
    on_machine(&format!("ip address add {}/24 dev {link}", network.host())).await?;
    on_machine(&format!("ip link set {link} up")).await?;
    run_line("ip link set host0 master lab0 up").await?;
    // Services are reached through the first node: its kube-proxy forwards for others too.
    let first = network.node(1);
    on_machine(&format!("ip route add {} via {first} dev {link}", network.services())).await?;
    run_line(&format!("ip route add {} via {first}", network.services())).await?;
    for number in 1..=MOST_NODES {
        let (pods, node) = (network.pods(number), network.node(number));
        on_machine(&format!("ip route add {pods} via {node} dev {link}")).await?;
    }
    Ok(())
}

/// The control plane reaches a node's pods over that node.
pub async fn route_to_pods(config: &Config, number: u8) -> Result<()> {
    let (pods, node) = (config.network.pods(number), config.network.node(number));
    run_line(&format!("ip route replace {pods} via {node}")).await.map(drop)
}

/// Pulls or plugs in a node's cable, at the bridge's end: routes on the node stay.
pub async fn set_link(number: u8, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    run_line(&format!("ip link set n{number} {state}")).await.map(drop)
}

/// Runs a command in the machine's network namespace, of which our standard input is a handle.
async fn on_machine(line: &str) -> Result<()> {
    // The child gets a standard input of its own, so the handle is named by ours.
    let path = format!("/proc/{}/fd/0", std::process::id());
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={path}")).arg("--").args(line.split_whitespace());
    run_command(command).await.map(drop)
}
