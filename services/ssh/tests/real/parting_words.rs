//! Does somebody who may not come in read why? OpenSSH leaves after its last refused password.

use crate::world::{CLOSED, WHY, World, output, ssh};

#[tokio::test]
async fn the_reason_is_shown_instead_of_a_refusal() {
    let world = World::start().await;
    let port = world.relay().await;
    let at = format!("{CLOSED}@127.0.0.1");
    let told = output(ssh(port, &["-o", "NumberOfPasswordPrompts=1", &at, "true"])).await;
    let errors = String::from_utf8_lossy(&told.stderr);
    assert!(!told.status.success() && errors.contains(WHY), "{errors}");
}
