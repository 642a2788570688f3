//! Why does a container's network not stop when another one comes? Its bridge keeps its hardware address.
//!
//! Linux gives a bridge the lowest address among its ports, so a container that comes or goes may change it;
//! the others then send to an address that is nobody's until they ask again, for up to half a minute. An
//! address that somebody set stays. Docker sets one, netavark 1.4 (Debian 12) does not.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use tokio::process::Command;

/// Somebody set it (`NET_ADDR_SET` of Linux, in `addr_assign_type`).
const SET: &str = "3";
const SET_WITHIN: Duration = Duration::from_secs(5);

/// Keeps the address of the bridge that containers know as `gateway`. Where it is none of this machine's,
/// the engine is elsewhere and nothing is done.
pub async fn hold_still(gateway: IpAddr) {
    match held_still(gateway).await {
        Ok(false) => {}
        Ok(true) => tracing::info!(%gateway, "the containers' bridge keeps its address from now on"),
        Err(error) => tracing::warn!(%gateway, %error,
            "the containers' bridge may change its address: sessions may stand still when a container comes"),
    }
}

/// Whether it had to be done.
async fn held_still(gateway: IpAddr) -> io::Result<bool> {
    let Some(name) = interface(gateway)? else { return Ok(false) };
    let place = Path::new("/sys/class/net").join(&name);
    if !place.join("bridge").exists() {
        return Ok(false);
    }
    let read = |what: &str| std::fs::read_to_string(place.join(what)).map(|text| text.trim().to_owned());
    if read("addr_assign_type")? == SET {
        return Ok(false);
    }
    let address = read("address")?;
    let mut command = Command::new("ip");
    command.args(["link", "set", "dev", &name, "address", &address]).kill_on_drop(true);
    let ended = tokio::time::timeout(SET_WITHIN, command.output()).await;
    let ended = ended.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if ended.status.success() {
        Ok(true)
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&ended.stderr).trim().to_owned()))
    }
}

/// Which interface of this machine has this address?
fn interface(address: IpAddr) -> io::Result<Option<String>> {
    let has = |interface: &nix::ifaddrs::InterfaceAddress| {
        let storage = interface.address.as_ref()?;
        let v4 = storage.as_sockaddr_in().map(|at| IpAddr::from(at.ip()));
        let v6 = || storage.as_sockaddr_in6().map(|at| IpAddr::from(at.ip()));
        v4.or_else(v6)
    };
    let mut all = getifaddrs()?;
    Ok(all.find(|interface| has(interface) == Some(address)).map(|interface| interface.interface_name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_no_bridge_of_ours_is_left_alone() {
        assert_eq!(interface("127.0.0.1".parse().unwrap()).unwrap().as_deref(), Some("lo"));
        assert!(!held_still("127.0.0.1".parse().unwrap()).await.unwrap());
        assert!(!held_still("192.0.2.1".parse().unwrap()).await.unwrap());
    }
}
