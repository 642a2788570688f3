//! Is somebody behind a proxy who the proxy says, and nobody else? And does what the gateway is told change
//! while people are in it?

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use harness::{Proof, RealEngine, Setup, Ssh, eventually, free_ports};
use serde_json::json;
use system::talk::Talk;
use system::world::{Created, DONE_AT_MOST, World, create_running, gateway_door, small, until_listed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// Proxies come from here; a loop has many addresses.
const PROXY: &str = "127.0.0.2";
const BELIEVED: (&str, &str) = ("PORTREEVE_SSH_PROXY_PROTOCOL_FROM", PROXY);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const RANGE: u16 = 10;
/// Failures that close the entrances to an address.
const FAILURES_MAX: usize = 5;

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// For a person at this address.
fn for_person(source: &str) -> Vec<u8> {
    let (mut addresses, family) = match source.parse().unwrap() {
        std::net::IpAddr::V4(ip) => ([ip.octets(), [192, 0, 2, 1]].concat(), 0x11),
        std::net::IpAddr::V6(ip) => ([ip.octets(), [0; 16]].concat(), 0x21),
    };
    addresses.extend([0xc0, 0x00, 0x08, 0xae]);
    // a unique id, as proxies add it
    addresses.extend([0x05, 0, 2, b'i', b'd']);
    header(0x21, family, &addresses)
}

/// A proxy of this test: each connection goes on to the gateway, from `from`, with `header` before it.
struct Proxy {
    port: u16,
    serving: JoinHandle<()>,
}

impl Proxy {
    async fn start(from: &'static str, gateway: u16, header: Vec<u8>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let serving = tokio::spawn(async move {
            while let Ok((mut person, _)) = listener.accept().await {
                let header = header.clone();
                tokio::spawn(async move {
                    if let Ok(mut onward) = connect(from, gateway).await
                        && onward.write_all(&header).await.is_ok()
                    {
                        tokio::io::copy_bidirectional(&mut person, &mut onward).await.ok();
                    }
                });
            }
        });
        Ok(Self { port, serving })
    }

    fn door(&self, door: &Ssh) -> Ssh {
        Ssh { port: self.port, ..door.clone() }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn connect(from: &str, port: u16) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse()?, 0))?;
    Ok(socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?)
}

async fn place(name: &str, variables: &[(&str, &str)]) -> anyhow::Result<(World<RealEngine>, Created, Ssh)> {
    let (engine, ports) = (RealEngine::start().await?, free_ports::range(RANGE)?);
    let with = |setup: Setup| variables.iter().fold(setup, |setup, (name, value)| setup.with(name, value));
    let world = World::on(engine, ports, with).await?;
    let created = world.blame(create_running(&world.api()?, &small(name)).await)?;
    let door = gateway_door(&world, &created);
    Ok((world, created, door))
}

/// How many connections were refused for this reason.
async fn refused(world: &World<RealEngine>, reason: &str) -> anyhow::Result<u64> {
    let metrics = reqwest::get(format!("{}/metrics", world.installation.url())).await?.text().await?;
    let name = format!("portreeve_gateway_refused_total{{reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(Ok(0), |number| Ok(number.parse()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_proxy_names_is_who_comes() {
    let (world, created, door) = place("proxied", &[BELIEVED]).await.unwrap();
    let story = async {
        let (api, env) = (world.api()?, created.env_id.as_str());
        let through = async |person: &str| Proxy::start(PROXY, door.port, for_person(person)).await;
        let (alice, bob, carol) =
            (through("203.0.113.7").await?, through("203.0.113.8").await?, through("2001:db8::7").await?);
        let local = Proxy::start(PROXY, door.port, header(0x20, 0x00, &[])).await?;
        for proxy in [&alice, &bob, &carol, &local] {
            assert_eq!(proxy.door(&door).run("echo in").await?.expect_success()?.trim(), "in");
        }
        door.run("true").await?.expect_success().context("who comes by themselves needs no header")?;
        let came = ["203.0.113.7", "203.0.113.8", "2001:db8::7", PROXY, "127.0.0.1"];
        until_listed(
            &api,
            &format!("/api/environments/{env}/sessions"),
            "each by the address named",
            |items| came.iter().all(|ip| items.iter().any(|item| item["ip"] == *ip)),
        )
        .await?;
        // guesses of one are not the other's
        let guess = |proxy: &Proxy| Ssh {
            proof: Proof::Password("wrong-Password-1".to_owned()),
            ..proxy.door(&door)
        };
        for _ in 0..FAILURES_MAX {
            ensure!(!guess(&alice).run("true").await?.success);
        }
        let told = alice.door(&door).run("true").await?;
        ensure!(told.stderr.contains("closed for another"), "{told:?}");
        bob.door(&door).run("true").await?.expect_success().context("bob did not guess")?;
        // the list of addresses is about people, not proxies
        let path = format!("/api/environments/{env}/allow-list");
        ensure!(api.put(&path, &json!({"ranges": ["203.0.113.8/32"]})).await?.is_success());
        bob.door(&door).run("true").await?.expect_success().context("bob is on the list")?;
        carol.door(&door).run("true").await?.expect_refused()?;
        door.run("true").await?.expect_refused()?;
        Ok(())
    };
    world.blame(story.await).unwrap();
}

/// What the gateway says to somebody who sends this; nothing when it hangs up.
async fn answer(from: &str, port: u16, bytes: &[u8]) -> anyhow::Result<String> {
    let mut stream = connect(from, port).await?;
    stream.write_all(bytes).await?;
    let mut said = [0; 64];
    let read = async {
        let mut length = 0;
        loop {
            match stream.read(&mut said[length..]).await {
                // bytes that nobody read make the end a reset
                Ok(0) | Err(_) => break,
                Ok(n) => length += n,
            }
            if length > 4 {
                break;
            }
        }
        length
    };
    let length = tokio::time::timeout(DONE_AT_MOST, read).await.context("it neither answers nor hangs up")?;
    Ok(String::from_utf8_lossy(&said[..length]).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_proxy_is_not_believed_and_a_wrong_header_leads_nowhere() {
    let (world, created, door) = place("wrong", &[BELIEVED]).await.unwrap();
    let story = async {
        let good = for_person("203.0.113.7");
        ensure!(answer(PROXY, door.port, &good).await?.starts_with("SSH-2.0-"), "a right header leads in");
        let wrong: &[(&str, &[u8])] = &[
            ("a client without a proxy", b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n"),
            ("version 1", b"PROXY TCP4 203.0.113.7 192.0.2.1 49152 2222\r\nSSH-2.0-x\r\n"),
            ("a version to come", &header(0x31, 0x11, &good[16..])),
            ("no command", &header(0x22, 0x11, &good[16..])),
            ("no family", &header(0x21, 0x51, &good[16..])),
            ("too few addresses", &header(0x21, 0x21, &good[16..28])),
            ("no TCP", &header(0x21, 0x12, &good[16..])),
            ("too long", &header(0x21, 0x11, &[0; 8000])),
            ("half of it", &good[..20]),
            ("a letter of it", &good[..1]),
        ];
        for (n, (what, bytes)) in wrong.iter().enumerate() {
            assert_eq!(answer(PROXY, door.port, bytes).await?, "", "{what}");
            let counted = refused(&world, "proxy_header").await?;
            assert_eq!(counted, n as u64 + 1, "{what}");
        }
        // who only looks is not counted
        assert_eq!(answer_to_nothing(door.port).await?, 0);
        assert_eq!(refused(&world, "proxy_header").await?, wrong.len() as u64);
        // an address that is no proxy's
        let lying = Proxy::start("127.0.0.3", door.port, for_person("203.0.113.9")).await?;
        ensure!(!lying.door(&door).run("true").await?.success);
        let path = format!("/api/environments/{}/sessions", created.env_id);
        door.run("true").await?.expect_success()?;
        let listed = until_listed(&world.api()?, &path, "one came", |items| !items.is_empty()).await?;
        ensure!(listed.iter().all(|item| item["ip"] == "127.0.0.1"), "{listed:#?}");
        Ok(())
    };
    world.blame(story.await).unwrap();
}

/// A load balancer's look: bytes that came back after our end.
async fn answer_to_nothing(port: u16) -> anyhow::Result<usize> {
    let mut stream = connect(PROXY, port).await?;
    stream.shutdown().await?;
    let mut came = Vec::new();
    tokio::time::timeout(DONE_AT_MOST, stream.read_to_end(&mut came)).await.context("too long")??;
    Ok(came.len())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    // as a whole, and never half
    let next = file.with_extension("next");
    std::fs::write(&next, text)?;
    Ok(std::fs::rename(next, file)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_settings_come_into_force_under_open_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ssh.json");
    write(&file, "{}").unwrap();
    let named = file.display().to_string();
    let (mut world, _created, door) =
        place("settings", &[("PORTREEVE_SSH_CONFIG", &named), ("PORTREEVE_SSH_DRAIN_S", "10")])
            .await
            .unwrap();
    let story = async {
        let mut talk = Talk::start(&door)?;
        talk.says("before").await?;
        // bytes that never pause
        let mut flow = door.program("ssh");
        flow.arg(door.at()).arg("cat /dev/zero").stdout(std::process::Stdio::piped());
        let mut flow = flow.spawn()?;
        let mut bytes = flow.stdout.take().context("piped")?;
        let flowing = tokio::spawn(async move {
            let (mut total, mut part) = (0_u64, vec![0; 1 << 16]);
            while let Ok(n) = bytes.read(&mut part).await
                && n > 0
            {
                total += n as u64;
            }
            total
        });
        let proxy = Proxy::start(PROXY, door.port, for_person("203.0.113.7")).await?;
        ensure!(!proxy.door(&door).run("true").await?.success, "nobody is a proxy yet");
        write(&file, r#"{"proxy_protocol_from": ["127.0.0.2/32"]}"#)?;
        let comes = |what: &'static str| {
            let proxied = proxy.door(&door);
            eventually(what, DONE_AT_MOST, move || {
                let proxied = proxied.clone();
                async move {
                    let output = proxied.run("true").await.map_err(|error| format!("{error:#}"))?;
                    if output.success { Ok(()) } else { Err(output.stderr) }
                }
            })
        };
        comes("the proxy is believed").await?;
        talk.says("with other settings").await?;
        // a file that cannot be meant changes nothing and is told
        write(&file, r#"{"proxy_protocol_from": "nobody", "drain_s": 1}"#)?;
        eventually("it is told in the log", DONE_AT_MOST, || async {
            lines(&world, "these settings cannot be used; the old ones stay")
        })
        .await?;
        comes("the proxy is believed on").await?;
        // lines that nobody asked for until now
        assert_eq!(answer_to_nothing(door.port).await?, 0);
        write(&file, r#"{"proxy_protocol_from": ["127.0.0.2/32"], "log": "info,gateway=debug"}"#)?;
        eventually("there are more lines", DONE_AT_MOST, || async {
            answer_to_nothing(door.port).await.map_err(|error| format!("{error:#}"))?;
            lines(&world, "a proxy looked whether somebody listens").map(drop)
        })
        .await?;
        write(&file, r#"{"drain_s": 0}"#)?;
        eventually("nobody is a proxy any more", DONE_AT_MOST, || async {
            let output = proxy.door(&door).run("true").await.map_err(|error| format!("{error:#}"))?;
            if output.success { Err("it is believed".to_owned()) } else { Ok(()) }
        })
        .await?;
        talk.says("with the first ones").await?;
        ensure!(!flowing.is_finished(), "the bytes stopped");
        drop(flow);
        let total = flowing.await?;
        ensure!(total > 1 << 20, "{total} bytes");
        anyhow::Ok(talk)
    };
    let mut talk = world.blame(story.await).unwrap();
    // nobody waits for it, as the file says; at the start it was ten seconds
    let stopping = std::time::Instant::now();
    world.product.take().unwrap().stop().await.unwrap();
    assert!(stopping.elapsed() < std::time::Duration::from_secs(9), "{:?}", stopping.elapsed());
    assert!(talk.says("after the end").await.is_err());
}

/// How many lines of the log say this; an error when none does.
fn lines(world: &World<RealEngine>, words: &str) -> Result<usize, String> {
    let log = std::fs::read_to_string(world.installation.log()).map_err(|error| error.to_string())?;
    let count = log.lines().filter(|line| line.contains(words)).count();
    if count > 0 { Ok(count) } else { Err(format!("no line says {words:?}")) }
}
