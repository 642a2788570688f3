//! Is a relayed connection as good as a direct one? With OpenSSH at both ends.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::world::{World, output, ssh};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_at_once_are_identical() {
    let world = World::start().await;
    let port = world.relay().await;
    let bytes: Vec<u8> =
        (0..32 * MIB / 4).flat_map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut command = ssh(port, &["any@127.0.0.1", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let sending = tokio::spawn(async move { input.write_all(&sent).await });
    let done =
        tokio::time::timeout(crate::world::SOON, child.wait_with_output()).await.expect("cat ends").unwrap();
    sending.await.unwrap().unwrap();
    assert!(done.status.success());
    assert!(done.stdout == bytes, "{} bytes came back of {}", done.stdout.len(), bytes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_has_enough_ends_the_command() {
    let world = World::start().await;
    let port = world.relay().await;
    // OpenSSH says so with eow@openssh.com, to servers of its own name only
    let mut shell = tokio::process::Command::new("bash");
    let line = format!(
        "sshpass -p {} ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
         -p {port} any@127.0.0.1 yes | head -1",
        crate::world::PASSWORD
    );
    shell.arg("-c").arg(line).kill_on_drop(true);
    assert_eq!(String::from_utf8_lossy(&output(shell).await.stdout).trim(), "y");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_right_on_one_shared_connection_beside_a_stalled_channel() {
    let world = World::start().await;
    let port = world.relay().await;
    let folder = tempfile::tempdir().unwrap();
    let path = format!("ControlPath={}/c", folder.path().display());
    let mut master = ssh(port, &["-o", &path, "-M", "any@127.0.0.1", "echo up; exec sleep 1000"]);
    let mut master = master.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut up = [0; 3];
    use tokio::io::AsyncReadExt;
    let ready = master.stdout.as_mut().unwrap().read_exact(&mut up);
    tokio::time::timeout(crate::world::SOON, ready).await.expect("the master is up").unwrap();
    // nobody reads what this one says
    let mut stalled = ssh(port, &["-o", &path, "any@127.0.0.1", "yes"]);
    let stalled = stalled.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut codes = Vec::new();
    for code in 0..20 {
        let command = ssh(port, &["-o", &path, "any@127.0.0.1", &format!("exit {code}")]);
        codes.push(output(command).await.status.code());
    }
    let expected: Vec<_> = (0..20).map(Some).collect();
    assert_eq!(codes, expected);
    drop((stalled, master));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_works_both_ways_and_a_missing_server_is_explained() {
    let world = World::start().await;
    let port = world.relay().await;
    // -W reaches sshd behind sshd: its identification comes through
    let mut through = ssh(port, &["-W", &format!("127.0.0.1:{}", world.sshd.port), "any@127.0.0.1"]);
    through.stdin(Stdio::piped());
    let text = output(through).await.stdout;
    assert!(text.starts_with(b"SSH-2.0-OpenSSH"), "{}", String::from_utf8_lossy(&text));
    drop(world);
    let lost = output(ssh(port, &["any@127.0.0.1", "true"])).await;
    let errors = String::from_utf8_lossy(&lost.stderr);
    assert_eq!(lost.status.code(), Some(255));
    assert!(errors.contains("Portreeve: 127.0.0.1:"), "{errors}");
}
