//! Which cluster runs the environments, and how? The flags that `up` and the provisioner share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use events::Milli;
use ipnet::IpNet;
use provisioner::kube_settings::{Access, Exposure, Kept, Settings};

use crate::settings::{self, BadSetting};
use kit::error::chain;

/// What makes an environment's processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compute {
    Containers,
    Kubernetes,
}

/// How people get in to environments on Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KubeExposure {
    /// A port of the pool on every node
    #[value(name = "nodeport")]
    NodePort,
    /// The gateway alone; no port of the pool is taken
    GatewayOnly,
    /// A port of the pool at the address of a load balancer
    LoadBalancer,
}

impl From<KubeExposure> for Exposure {
    fn from(exposure: KubeExposure) -> Self {
        match exposure {
            KubeExposure::NodePort => Self::NodePort,
            KubeExposure::GatewayOnly => Self::GatewayOnly,
            KubeExposure::LoadBalancer => Self::LoadBalancer,
        }
    }
}

/// How people get in, for those who only show it.
#[derive(Debug, clap::Args)]
pub struct ExposureArgs {
    /// How people get in to environments on Kubernetes
    #[arg(long, env = "PORTREEVE_KUBE_EXPOSURE", value_enum, default_value = "nodeport")]
    pub kube_exposure: KubeExposure,
}

/// Environments on Kubernetes
#[derive(Debug, clap::Args)]
pub struct KubeArgs {
    /// The cluster: a kubeconfig; else KUBECONFIG, the Pod's service account, or ~/.kube/config
    #[arg(long, env = "PORTREEVE_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// The namespace of all environments
    #[arg(long, env = "PORTREEVE_KUBE_NAMESPACE", default_value = "portreeve-envs", value_parser = dns_label)]
    kube_namespace: String,
    #[command(flatten)]
    pub exposure: ExposureArgs,
    /// The storage class of volumes; the cluster's default if not given
    #[arg(long, env = "PORTREEVE_KUBE_STORAGE_CLASS", value_parser = dns_name)]
    kube_storage_class: Option<String>,
    /// GiB of /gemini/code where an environment names no size, and of /gemini/output
    #[arg(long, env = "PORTREEVE_KUBE_STORAGE_GIB", default_value = "10,10", value_name = "CODE,OUTPUT", value_parser = sizes)]
    kube_storage_gib: (Milli, Milli),
    /// Labels of the nodes that may run environments: KEY=VALUE, more after commas
    #[arg(long, env = "PORTREEVE_KUBE_NODE_SELECTOR", value_parser = pair, value_delimiter = ',')]
    kube_node_selector: Vec<(String, String)>,
    /// The priority class of environments
    #[arg(long, env = "PORTREEVE_KUBE_PRIORITY_CLASS", value_parser = dns_name)]
    kube_priority_class: Option<String>,
    /// Where Pods have their addresses: ranges after commas, closed to environments
    #[arg(long, env = "PORTREEVE_KUBE_POD_CIDRS", value_delimiter = ',')]
    kube_pod_cidrs: Vec<IpNet>,
    /// Percent of an environment's cpu and memory that its node keeps for it alone; the rest is shared
    #[arg(long, env = "PORTREEVE_KUBE_KEPT_PERCENT", default_value = "100,100", value_name = "CPU,MEMORY", value_parser = percents)]
    kube_kept_percent: Kept,
    /// A Secret of the namespace with which images are pulled
    #[arg(long, env = "PORTREEVE_KUBE_IMAGE_PULL_SECRET", value_parser = dns_name)]
    kube_image_pull_secret: Option<String>,
    /// Annotations of the Services with --kube-exposure load-balancer: KEY=VALUE, more after commas
    #[arg(long, env = "PORTREEVE_KUBE_LOAD_BALANCER_ANNOTATIONS", value_parser = pair, value_delimiter = ',')]
    kube_load_balancer_annotations: Vec<(String, String)>,
    /// What sentries in Pods dial to reach the provisioner: http://host:port
    #[arg(long, env = "PORTREEVE_SENTRY_URL", value_parser = sentry_url)]
    sentry_url: Option<String>,
}

impl KubeArgs {
    /// `listen`: where sentries are heard, for a URL that nobody named and this machine can serve.
    pub fn check(self, instance: &str, listen: Option<SocketAddr>) -> Result<Settings, BadSetting> {
        let access = Access::find(self.kubeconfig.as_deref());
        let access = access.map_err(|error| BadSetting::new(KUBECONFIG, chain(&error)))?;
        let Some(server) = access.server() else {
            let why = "its current context names no cluster";
            return Err(BadSetting::new(KUBECONFIG, why));
        };
        let sentry_url = match (self.sentry_url, listen) {
            (Some(url), _) => url,
            (None, Some(listen)) => url_of_this_machine(&server, listen)?,
            (None, None) => return Err(BadSetting::new(SENTRY_URL, "is needed with --compute kubernetes")),
        };
        let (code_gib, output_gib) = self.kube_storage_gib;
        let map = |pairs: Vec<(String, String)>| pairs.into_iter().collect::<BTreeMap<_, _>>();
        Ok(Settings {
            access,
            namespace: self.kube_namespace,
            instance: instance.to_owned(),
            exposure: self.exposure.kube_exposure.into(),
            sentry_url,
            storage_class: self.kube_storage_class,
            code_gib,
            output_gib,
            node_selector: map(self.kube_node_selector),
            priority_class: self.kube_priority_class,
            image_pull_secret: self.kube_image_pull_secret,
            kept: self.kube_kept_percent,
            load_balancer_annotations: map(self.kube_load_balancer_annotations),
            pod_cidrs: self.kube_pod_cidrs,
        })
    }
}

const KUBECONFIG: &str = "--kubeconfig (PORTREEVE_KUBECONFIG)";
const SENTRY_URL: &str = "--sentry-url (PORTREEVE_SENTRY_URL)";
/// An address that nobody has: the way to it is the way to everywhere.
const ELSEWHERE: &str = "192.0.2.1:9";

/// The address from which this machine reaches the cluster is one at which the cluster reaches it,
/// unless that is its own loopback: then the one from which it reaches the world.
fn url_of_this_machine(server: &str, listen: SocketAddr) -> Result<String, BadSetting> {
    let own = match listen.ip() {
        named if !named.is_unspecified() => Some(named),
        _ => address_toward(&authority(server)).or_else(|| address_toward(ELSEWHERE)),
    };
    match own.filter(|own| !own.is_loopback()) {
        Some(own) => Ok(format!("http://{}", SocketAddr::new(own, listen.port()))),
        None => {
            let why = "no address of this machine is found that Pods could dial; name one";
            Err(BadSetting::new(SENTRY_URL, why))
        }
    }
}

/// `host:port` of a URL.
fn authority(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:443") }
}

/// Asks the kernel for the way; nothing is sent.
fn address_toward(place: &str) -> Option<IpAddr> {
    let from = |any: &str| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(place).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    from("0.0.0.0:0").or_else(|| from("[::]:0")).filter(|own| !own.is_loopback())
}

fn sentry_url(text: &str) -> Result<String, String> {
    let shape = "write it as http://host:port";
    let rest = text.strip_prefix("http://").ok_or(shape)?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':').ok_or(shape)?;
    let host = host.trim_matches(['[', ']']);
    match (settings::host_name(host), port.parse::<u16>()) {
        (Ok(_), Ok(port)) if port > 0 => Ok(format!("http://{rest}")),
        _ => Err(shape.to_owned()),
    }
}

fn dns_label(text: &str) -> Result<String, String> {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = (1..=63).contains(&text.len())
        && text.starts_with(ends)
        && text.ends_with(ends)
        && text.chars().all(|c| ends(c) || c == '-');
    if good { Ok(text.to_owned()) } else { Err("1 to 63 characters of a-z, 0-9 and '-'".to_owned()) }
}

fn dns_name(text: &str) -> Result<String, String> {
    match text.len() <= 253 && text.split('.').all(|label| dns_label(label).is_ok()) {
        true => Ok(text.to_owned()),
        false => Err("this is no name of an object: a-z, 0-9, '-' and '.'".to_owned()),
    }
}

/// `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic()) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        Some(_) | None => Err("write it as KEY=VALUE, more after commas".to_owned()),
    }
}

/// `CODE,OUTPUT` in GiB.
fn sizes(text: &str) -> Result<(Milli, Milli), String> {
    let shape = "write it as CODE,OUTPUT in GiB, for example 10,10";
    let size = |text: &str| {
        let size = text.trim().parse().ok().and_then(Milli::from_f64);
        size.filter(|size| *size > Milli::default()).ok_or(shape)
    };
    let (code, output) = text.split_once(',').ok_or(shape)?;
    Ok((size(code)?, size(output)?))
}

/// `CPU,MEMORY` in percent.
fn percents(text: &str) -> Result<Kept, String> {
    let shape = "write it as CPU,MEMORY in percent from 1 to 100, for example 25,50";
    let percent = |text: &str| {
        let percent = text.trim().parse::<u8>().ok();
        percent.filter(|percent| (1..=100).contains(percent)).ok_or(shape)
    };
    let (cpu, memory) = text.split_once(',').ok_or(shape)?;
    Ok(Kept { cpu_percent: percent(cpu)?, memory_percent: percent(memory)? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sentries_dial_an_address_that_is_not_this_machines_own_loopback() {
        let named = url_of_this_machine("https://127.0.0.1:6443", "10.1.2.3:8082".parse().unwrap()).unwrap();
        assert_eq!(named, "http://10.1.2.3:8082", "the address that is listened on");
        let loopback = url_of_this_machine("https://127.0.0.1:6443", "127.0.0.1:8082".parse().unwrap());
        assert!(loopback.unwrap_err().to_string().contains("--sentry-url"));
        assert_eq!(authority("https://10.0.0.1"), "10.0.0.1:443");
        assert_eq!(authority("https://[2001:db8::1]:6443/x"), "[2001:db8::1]:6443");
        assert_eq!(address_toward("127.0.0.1:1"), None);
    }

    #[test]
    fn values_are_written_as_they_are_meant() {
        assert_eq!(sizes("10,2.5"), Ok((Milli::from_thousandths(10_000), Milli::from_thousandths(2_500))));
        for wrong in ["10", "0,1", "1,-1", "a,b", "1,2,3"] {
            assert!(sizes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(percents("25, 100"), Ok(Kept { cpu_percent: 25, memory_percent: 100 }));
        for wrong in ["25", "0,1", "1,101", "1.5,1", "a,b"] {
            assert!(percents(wrong).is_err(), "{wrong}");
        }
        assert_eq!(pair("a/b=c=d"), Ok(("a/b".to_owned(), "c=d".to_owned())));
        assert!(pair("a").is_err() && pair("=b").is_err());
        assert_eq!(sentry_url("http://p.envs.svc:8082/"), Ok("http://p.envs.svc:8082".to_owned()));
        for wrong in ["https://a:1", "http://a", "http://:1", "http://a:0", "a:1"] {
            assert!(sentry_url(wrong).is_err(), "{wrong}");
        }
        assert!(dns_name("fast.example").is_ok() && dns_name("Fast").is_err() && dns_label("a.b").is_err());
    }
}
