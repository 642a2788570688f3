//! Does a service refuse a server that is not what it relies on, and is it left as it is?

use harness::nats::NatsServer;
use nats::TopologyError;
use serde_json::{Value, json};

use crate::stand::*;

async fn empty_server() -> NatsServer {
    NatsServer::start_with_users(nats::SERVER_CONF).await.unwrap()
}

async fn config_of(client: &async_nats::Client, stream: &str) -> Value {
    let answer = client.request(format!("LOG.API.STREAM.INFO.{stream}"), "".into()).await.unwrap();
    serde_json::from_slice::<Value>(&answer.payload).unwrap()["config"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_is_repeatable_and_check_needs_it() {
    let server = empty_server().await;
    let (setup, api) = (user(&server, "setup").await, user(&server, "api").await);
    let absent = api.check().await.unwrap_err();
    assert!(matches!(absent, TopologyError::Absent { .. }), "{absent:?}");
    setup.setup(1).await.unwrap();
    setup.setup(1).await.unwrap();
    api.check().await.unwrap();
    assert!(api.ping().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_differs_is_named_with_its_field_and_left_alone() {
    let server = empty_server().await;
    let raw = raw(&server, "setup").await;
    let wrong = json!({
        "name": "EVENTS", "subjects": ["ev.>"], "storage": "file", "retention": "limits",
        "discard": "old", "max_age": 60_000_000_000u64,
    });
    raw.request("LOG.API.STREAM.CREATE.EVENTS", wrong.to_string().into()).await.unwrap();
    let before = config_of(&raw, "EVENTS").await;
    let (setup, api) = (user(&server, "setup").await, user(&server, "api").await);
    for refused in [setup.setup(1).await, api.check().await] {
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, TopologyError::Differs { .. }), "{refused:?}");
        assert!(refused.to_string().contains("stream EVENTS has allow_direct"), "{refused}");
    }
    assert_eq!(config_of(&raw, "EVENTS").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_differs_is_named_with_its_field() {
    let server = empty_server().await;
    let setup = user(&server, "setup").await;
    setup.setup(1).await.unwrap();
    let template = raw(&server, "setup").await;
    // A server from nothing, where the consumer was made by somebody else.
    let other = empty_server().await;
    let raw = raw(&other, "setup").await;
    for stream in ["EVENTS", "PARKED", "KV_VAULT", "KV_POSITIONS", "RECORDINGS", "OUTPUTS", "ANCHORS"] {
        let config = config_of(&template, stream).await;
        raw.request(format!("LOG.API.STREAM.CREATE.{stream}"), config.to_string().into()).await.unwrap();
    }
    let consumer = json!({ "stream_name": "EVENTS", "config": {
        "durable_name": "provisioner", "name": "provisioner", "ack_policy": "explicit",
        "filter_subjects": nats::topology::subjects_of("provisioner"), "max_deliver": 3,
    }});
    raw.request("LOG.API.CONSUMER.CREATE.EVENTS.provisioner", consumer.to_string().into()).await.unwrap();
    let refused = user(&other, "setup").await.setup(1).await.unwrap_err().to_string();
    assert!(refused.contains("consumer provisioner has max_deliver = 3"), "{refused}");
}

/// Any text is a password once it is quoted, and the users are those of the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_may_look_like_anything() {
    for password in ["0123", "12k", "true", "$HOME", "a\"b\\c", "# x", "{}", "'"] {
        let variables =
            nats::USERS.iter().map(|user| (nats::password_variable(user), nats::quoted(password)));
        let issuer = nats::Issuer::of(&password.into());
        let variables = variables.chain([(nats::ISSUER_VARIABLE.to_owned(), nats::quoted(issuer.public()))]);
        let server = NatsServer::start(nats::SERVER_CONF, variables.collect()).await.unwrap();
        for user in nats::USERS {
            let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
            options.connect(server.url()).await.unwrap_or_else(|error| panic!("{user} {password}: {error}"));
        }
        let wrong = async_nats::ConnectOptions::with_user_and_password("api".into(), "wrong".into());
        assert!(wrong.connect(server.url()).await.is_err());
    }
}

/// Somebody's own server, with neither users nor accounts.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_one_account_for_everything_works_too() {
    let conf = "host: $PORTREEVE_NATS_HOST\nport: $PORTREEVE_NATS_PORT\njetstream { store_dir: $PORTREEVE_NATS_STORE }\n";
    let server = NatsServer::start(conf, Vec::new()).await.unwrap();
    user(&server, "setup").await.setup(1).await.unwrap();
    let api = user(&server, "api").await;
    api.check().await.unwrap();
    claim_for(&api.log(), "any", 1).await.unwrap();
    assert_eq!(everything(&api.log()).await.len(), 1);
}
