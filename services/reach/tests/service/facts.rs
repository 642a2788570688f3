//! Does a machine say what it is, with nothing but a POSIX shell?

use events::server::Facts;
use harness::Sshd;

use crate::world::{PASSWORD, WHO, World, cause, tenant};

/// A world, a server in it, and what it said.
async fn gathered(prepare: &str) -> (World, Facts) {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    sshd.run_inside(&["sh", "-ec", prepare]).await.unwrap();
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    let gathered = world.reach.gather(&tenant(), &id, WHO, &cause()).await.unwrap();
    let facts = gathered.facts.unwrap_or_else(|| panic!("{:?}", gathered.outcome));
    assert_eq!(world.server(&id).await.facts.as_ref(), Some(&facts), "they are on record");
    (world, facts)
}

fn said_by(command: &str) -> String {
    let output = std::process::Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_machine_says_what_it_is() {
    let (_world, facts) = gathered("true").await;
    assert_eq!(facts.kernel_release, said_by("uname -r"));
    assert_eq!(facts.machine, said_by("uname -m"));
    assert_eq!(facts.cpus.to_string(), said_by("nproc"));
    assert_eq!(facts.memory_kib.to_string(), said_by("awk '/^MemTotal/ { print $2 }' /proc/meminfo"));
    assert_eq!(facts.system.id, said_by(". /etc/os-release; echo $ID"));
    assert!(facts.disks.iter().any(|disk| disk.size_kib > 0), "{facts:?}");
    assert!(facts.addresses.iter().any(|one| one.address.starts_with("127.0.0.1")), "{facts:?}");
    assert!(facts.virtualisation.is_some() && facts.uptime_s.is_some(), "{facts:?}");
}

#[tokio::test]
async fn it_needs_no_bash_no_python_and_no_tool_of_the_network() {
    let hide = "for tool in ip ifconfig python3 bash systemd-detect-virt; do for folder in /bin /usr/bin /sbin /usr/sbin; do \
                [ ! -e $folder/$tool ] || mount --bind /dev/null $(readlink -f $folder/$tool); done; done; \
                usermod --shell /bin/dash developer";
    // bash is hidden last of all from a shell that is not bash itself
    let (_world, facts) = gathered(hide).await;
    assert!(facts.addresses.iter().any(|one| one.address == "127.0.0.1"), "{facts:?}");
    assert!(facts.cpus > 0 && !facts.disks.is_empty(), "{facts:?}");
}

#[tokio::test]
async fn a_repeated_command_is_told_what_the_first_one_found() {
    let world = World::start().await;
    let sshd = Sshd::start(PASSWORD, "").await.unwrap();
    let id = world.with_password(PASSWORD, World::settings(sshd.port)).await;
    let cause = cause();
    let first = world.reach.gather(&tenant(), &id, WHO, &cause).await.unwrap();
    drop(sshd);
    let again = world.reach.gather(&tenant(), &id, WHO, &cause).await.unwrap();
    assert_eq!((first.facts, first.seq), (again.facts, again.seq));
    let away = world.reach.gather(&tenant(), &id, WHO, &crate::world::cause()).await.unwrap();
    assert_eq!((away.facts, away.outcome.class.as_deref()), (None, Some("connection_refused")));
    assert_eq!(
        world.server(&id).await.tested,
        Some(away.outcome),
        "a failure is on record as that of a test"
    );
    assert!(world.server(&id).await.facts.is_some(), "what was known stays known");
}
