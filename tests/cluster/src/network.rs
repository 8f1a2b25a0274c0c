//! One network namespace without an uplink: nothing in it can reach the machine's network, and default ports are free.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{run, succeeds};

/// The namespace's name.
pub const NAMESPACE: &str = "msars";
/// The kernel's module that lets bridged packets meet iptables: built in, or loaded by nothing else.
pub const BRIDGE_FILTER: &str = "br_netfilter";
/// Where it shows that it is there.
const BRIDGE_SETTINGS: &str = "/proc/sys/net/bridge";
/// Variables by which Go's clients would ask a proxy of the machine for the node itself, which it cannot reach.
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];
/// The node's address, on a bridge inside the namespace.
pub const NODE_ADDRESS: &str = "172.31.0.1";

/// A command that runs inside the namespace. `nsenter`, not `ip netns exec`, which would hide the cgroups.
pub fn inside(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    past_proxies(&mut command)
        .arg(format!("--net=/run/netns/{NAMESPACE}"))
        .arg("--")
        .arg(program);
    command
}

/// Lets a command know no proxy of the machine.
pub(crate) fn past_proxies(command: &mut Command) -> &mut Command {
    for name in PROXIES {
        command.env_remove(name);
    }
    command
}

/// Whether bridged packets can meet iptables already.
pub fn filters_bridges() -> bool {
    Path::new(BRIDGE_SETTINGS).exists()
}

/// Makes the namespace with bridge, address and default route; does nothing if its last step is already done.
pub fn make() -> Result<()> {
    if !filters_bridges() {
        run(Command::new("/sbin/modprobe").arg(BRIDGE_FILTER))?;
    }
    if !succeeds(&mut inside("true")) {
        // A name without a namespace behind it is what `ip` leaves when it is killed half-way.
        if Path::new("/run/netns").join(NAMESPACE).exists() {
            run(Command::new("ip").args(["netns", "del", NAMESPACE]))?;
        }
        run(Command::new("ip").args(["netns", "add", NAMESPACE]))?;
    }
    // Without a default route kube-proxy's OUTPUT rules never see a packet to a ClusterIP.
    let script = format!(
        "set -e
         ip route show default | grep -q node0 && exit 0
         ip link set lo up
         ip link show node0 >/dev/null 2>&1 || ip link add node0 type bridge
         ip link set node0 up
         ip addr replace {NODE_ADDRESS}/24 dev node0
         echo 1 >/proc/sys/net/ipv4/ip_forward
         echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
         echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
         ip route replace default dev node0"
    );
    run(inside("sh").args(["-c", &script]))?;
    Ok(())
}
