//! Do secrets open only where they belong, and are they gone when they are purged?

use std::path::Path;

use events::credential::SecretRef;
use nats::{MasterKeys, Vault, VaultError};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::stand::*;

const PASSWORD: &str = "Plain-Pass9-looked-for-on-disk";

fn reference(owner: &str, version: u128) -> SecretRef {
    SecretRef { owner: owner.into(), name: "password".into(), version: Uuid::from_u128(version) }
}

async fn text(vault: &Vault, r: &SecretRef) -> Option<String> {
    vault.get(r).await.unwrap().map(|secret| secret.expose_secret().to_owned())
}

/// Whether any file below holds these bytes.
fn found_below(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return found_below(&path, needle);
        }
        std::fs::read(&path).unwrap().windows(needle.len()).any(|part| part == needle)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sealed_kept_and_purged_with_its_owner() {
    let server = server().await;
    let (keys, _) = MasterKeys::generate().unwrap();
    let api = user(&server, "api").await.vault(keys.clone());
    let provisioner = user(&server, "provisioner").await.vault(keys);
    let secret = SecretString::from(PASSWORD);
    for version in 1..=3 {
        provisioner.put(&reference("env-a", version), &secret).await.unwrap();
    }
    provisioner.put(&reference("env-b", 1), &secret).await.unwrap();
    assert_eq!(text(&api, &reference("env-a", 2)).await.as_deref(), Some(PASSWORD));
    assert_eq!(text(&api, &reference("env-a", 9)).await, None);
    api.remove(&reference("env-a", 2)).await.unwrap();
    assert_eq!(text(&api, &reference("env-a", 2)).await, None);

    assert!(found_below(&server.store(), b"$KV.VAULT"), "the search itself finds nothing");
    assert!(!found_below(&server.store(), PASSWORD.as_bytes()));

    assert_eq!(provisioner.purge_owner("env-a").await.unwrap(), 3);
    assert_eq!(text(&api, &reference("env-a", 1)).await, None);
    assert_eq!(text(&api, &reference("env-b", 1)).await.as_deref(), Some(PASSWORD));
    let owners = provisioner.owners().await.unwrap();
    assert_eq!(owners.into_iter().collect::<Vec<_>>(), ["env-b"]);
    assert_eq!(provisioner.purge_owner("env-a").await.unwrap(), 0, "repeatable");
    assert!(api.purge_owner("env-b").await.is_err(), "only the provisioner purges");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_make_the_same_secret_one_does() {
    let server = server().await;
    let (keys, _) = MasterKeys::generate().unwrap();
    let vault = user(&server, "provisioner").await.vault(keys);
    let secret = SecretRef::user_ca();
    let tries = (0..16).map(|number| {
        let (vault, secret) = (vault.clone(), secret.clone());
        async move { vault.put_if_absent(&secret, &format!("key {number}").into()).await.unwrap() }
    });
    let made: Vec<bool> = futures_util::future::join_all(tries).await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    let winner = made.iter().position(|made| *made).unwrap();
    assert_eq!(text(&vault, &secret).await, Some(format!("key {winner}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_moved_to_another_name_does_not_open() {
    let server = server().await;
    let (keys, _) = MasterKeys::generate().unwrap();
    let vault = user(&server, "api").await.vault(keys);
    let (mine, theirs) = (reference("env-a", 1), reference("env-b", 1));
    vault.put(&mine, &"mine".into()).await.unwrap();
    vault.put(&theirs, &"theirs".into()).await.unwrap();
    let raw = raw(&server, "api").await;
    let key = |r: &SecretRef| format!("$KV.VAULT.{}.{}.{}", r.owner, r.name, r.version);
    let read = format!("LOG.API.DIRECT.GET.KV_VAULT.{}", key(&theirs));
    let sealed = raw.request(read, "".into()).await.unwrap().payload;
    raw.request(key(&mine), sealed).await.unwrap();
    assert!(matches!(vault.get(&mine).await, Err(VaultError::Damaged(_))));
    assert_eq!(text(&vault, &theirs).await.as_deref(), Some("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_by_putting_the_new_one_first() {
    let server = server().await;
    let connection = user(&server, "api").await;
    let (old, old_text) = MasterKeys::generate().unwrap();
    let (new, new_text) = MasterKeys::generate().unwrap();
    let both = format!("{},{}", new_text.expose_secret(), old_text.expose_secret());
    let both = MasterKeys::parse(&both).unwrap();
    connection.vault(old.clone()).put(&reference("env-a", 1), &"before".into()).await.unwrap();
    let vault = connection.vault(both.clone());
    vault.put(&reference("env-a", 2), &"after".into()).await.unwrap();
    for (version, expected) in [(1, "before"), (2, "after")] {
        assert_eq!(text(&vault, &reference("env-a", version)).await.as_deref(), Some(expected));
    }
    let unknown = connection.vault(new.clone()).get(&reference("env-a", 1)).await;
    assert!(matches!(unknown, Err(VaultError::KeyUnknown { .. })), "{unknown:?}");
    assert_eq!(both.derive("sentry/env-a"), new.derive("sentry/env-a"));
    assert_ne!(both.derive("sentry/env-a"), old.derive("sentry/env-a"));
    assert_ne!(both.derive("sentry/env-a"), both.derive("sentry/env-b"));
    assert!(!format!("{both:?}").contains(&new_text.expose_secret()[10..]));
}
