//! Does somebody who follows by NATS itself see their tenant's events and nothing else, and change nothing?

use async_nats::ConnectOptions;
use futures_util::{SinkExt, StreamExt};
use harness::nats::NatsServer;
use nats::followers::{FOLLOWED, FOLLOWERS, FOLLOWERS_API, LISTENERS};
use nats::{Way, inbox_prefix};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::stand::*;
use crate::tap_stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_hears_their_tenant_and_can_say_and_ask_nothing() {
    let stage = Stage::set().await;
    let listener = stage.acme.comes(&stage.server, Way::Live).await;
    let mut quota = listener.client.subscribe("stored.acme.quota.*").await.unwrap();
    listener.client.flush().await.unwrap();
    stage.happen("one").await;
    assert_eq!(heard(&mut quota).await, ["stored.acme.quota.one"]);
    assert!(listener.complaints().await.is_empty());

    let before = stage.state().await;
    for subject in [
        ">",
        "*",
        "stored.>",
        "stored.acme.>",
        "stored.acme.*.*",
        "stored.*.env.*",
        "stored.other.env.*",
        "stored.acme.session.*",
        "stored.acme.credential.*",
        "ev.>",
        "_INBOX.>",
        "$SYS.>",
        "$JS.>",
        "$SYS.REQ.USER.AUTH",
        "hub.*",
    ] {
        let mut subscription = listener.client.subscribe(subject).await.unwrap();
        assert!(!listener.complaints().await.is_empty(), "{subject} may be heard");
        stage.happen("two").await;
        assert_eq!(heard(&mut subscription).await, Vec::<String>::new(), "{subject}");
    }
    for subject in [
        "ev.acme.env.forged",
        "stored.acme.env.forged",
        "anything",
        "anchor.log",
        "$KV.VAULT.a.b.c",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.EVENTS",
        "LOG.API.CONSUMER.INFO.EVENTS.x",
        "SERVERS.CONNZ",
        "$SYS.REQ.USER.AUTH",
        "$SYS.REQ.USER.INFO",
    ] {
        listener.client.publish_with_reply(subject, "stored.acme.quota.x", "{}".into()).await.unwrap();
        assert!(!listener.complaints().await.is_empty(), "{subject} may be said");
    }
    heard(&mut quota).await;
    let after = stage.state().await;
    assert_eq!((&after[0], &after[3]), (&before[0], &before[3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_goes_on_where_they_were_with_the_sequences_of_the_log() {
    let mut stage = Stage::set().await;
    let head = stage.happen("one").await;
    let follower = stage.acme.comes(&stage.server, Way::Resume).await;
    let place = stage.acme.place(&follower).await;
    let mut first = place.fetch().max_messages(1).expires(SOON).messages().await.unwrap();
    let message = first.next().await.unwrap().unwrap();
    assert_eq!(message.subject.as_str(), "ev.acme.quota.one");
    assert_eq!(message.info().unwrap().stream_sequence, head - 2, "that of the log");
    message.double_ack().await.unwrap();
    drop(follower);
    let positions = user(&stage.server, "api").await.tap_positions();
    let at = positions.of(&stage.acme.consumer()).await.unwrap().unwrap();
    assert_eq!((at.delivered, at.acknowledged, at.pending), (head - 2, head - 2, 0));
    assert_eq!(positions.of("nobody").await.unwrap(), None);

    // over a kill of the server
    stage.server.kill();
    stage.server.restart().await.unwrap();
    let head = stage.happen("two").await;
    let back = harness::eventually("who answers is back", SOON, async || {
        if stage.taps.ping().await { Ok(()) } else { Err("not yet") }
    });
    back.await.unwrap();
    let behind = harness::eventually("it is behind", SOON, async || {
        match positions.of(&stage.acme.consumer()).await {
            Ok(Some(at)) if at.pending == 1 => Ok(at),
            other => Err(format!("{other:?}")),
        }
    });
    // an acknowledgement of the last moments may have gone with the server: then the event comes again
    assert!(behind.await.unwrap().acknowledged <= head - 5);
    let follower = stage.acme.comes(&stage.server, Way::Resume).await;
    let place = stage.acme.place(&follower).await;
    let mut rest = place.fetch().max_messages(10).expires(SILENCE).messages().await.unwrap();
    let mut all = Vec::new();
    while let Some(message) = rest.next().await {
        let message = message.unwrap();
        all.push(message.subject.to_string());
        message.ack().await.unwrap();
    }
    assert_eq!(all.pop().as_deref(), Some("ev.acme.quota.two"));
    assert!(all.iter().all(|subject| subject == "ev.acme.quota.one"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_asks_for_nothing_but_their_own() {
    let stage = Stage::set().await;
    stage.happen("one").await;
    let follower = stage.acme.comes(&stage.server, Way::Resume).await;
    let (own, others) = (stage.acme.consumer(), stage.other.consumer());
    let before = stage.state().await;
    let create = json!({"stream_name": FOLLOWED, "config": {"name": "mine", "ack_policy": "none", "deliver_policy": "all"}});
    for (subject, body) in [
        ("$JS.API.INFO".to_owned(), String::new()),
        (format!("{FOLLOWERS_API}.STREAM.INFO.{FOLLOWED}"), String::new()),
        (format!("{FOLLOWERS_API}.STREAM.NAMES"), String::new()),
        (format!("{FOLLOWERS_API}.STREAM.PURGE.{FOLLOWED}"), String::new()),
        (format!("{FOLLOWERS_API}.STREAM.DELETE.{FOLLOWED}"), String::new()),
        (format!("{FOLLOWERS_API}.STREAM.MSG.GET.{FOLLOWED}"), json!({"seq": 1}).to_string()),
        (format!("{FOLLOWERS_API}.DIRECT.GET.{FOLLOWED}"), json!({"seq": 1}).to_string()),
        (format!("{FOLLOWERS_API}.CONSUMER.NAMES.{FOLLOWED}"), String::new()),
        (format!("{FOLLOWERS_API}.CONSUMER.LIST.{FOLLOWED}"), String::new()),
        (format!("{FOLLOWERS_API}.CONSUMER.CREATE.{FOLLOWED}.mine"), create.to_string()),
        (format!("{FOLLOWERS_API}.CONSUMER.DELETE.{FOLLOWED}.{own}"), String::new()),
        (format!("{FOLLOWERS_API}.CONSUMER.RESET.{FOLLOWED}.{own}"), String::new()),
        (format!("{FOLLOWERS_API}.CONSUMER.PAUSE.{FOLLOWED}.{own}"), String::new()),
        (format!("{FOLLOWERS_API}.CONSUMER.INFO.{FOLLOWED}.{others}"), String::new()),
        (format!("{FOLLOWERS_API}.CONSUMER.MSG.NEXT.{FOLLOWED}.{others}"), json!({"batch": 1}).to_string()),
        (
            format!("{FOLLOWERS_API}.CONSUMER.MSG.NEXT.{FOLLOWED}.provisioner"),
            json!({"batch": 1}).to_string(),
        ),
        (format!("$JS.ACK.{FOLLOWED}.{others}.1.1.1.1.0"), String::new()),
        ("$JS.ACK.EVENTS.provisioner.1.1.1.1.0".to_owned(), String::new()),
        ("ev.acme.env.forged".to_owned(), "{}".to_owned()),
        ("SERVERS.CONNZ".to_owned(), String::new()),
        ("$SYS.REQ.USER.AUTH".to_owned(), String::new()),
    ] {
        let answer = follower.client.request(subject.clone(), body.into());
        let answer = tokio::time::timeout(SILENCE, answer).await;
        assert!(!matches!(answer, Ok(Ok(_))), "{subject}: {answer:?}");
        assert!(!follower.complaints().await.is_empty(), "{subject} may be asked");
    }
    for subject in
        [">", "_INBOX.>", &format!("{}.>", inbox_prefix(&others)), "stored.acme.env.*", "ev.>", "$JS.>"]
    {
        let _subscription = follower.client.subscribe(subject.to_owned()).await.unwrap();
        assert!(!follower.complaints().await.is_empty(), "{subject} may be heard");
    }
    assert_eq!(stage.state().await, before);
}

/// The reply subject of a request is hardly checked by the server, so it is tried as a weapon: an empty answer would be an
/// acknowledgement, a message whatever its subject says.
#[tokio::test(flavor = "multi_thread")]
async fn no_reply_subject_reaches_beyond_those_who_come_back() {
    let stage = Stage::set().await;
    stage.happen("one").await;
    let follower = stage.acme.comes(&stage.server, Way::Resume).await;
    let victim = stage.other.comes(&stage.server, Way::Live).await;
    let mut live = victim.client.subscribe("stored.other.env.*").await.unwrap();
    victim.client.flush().await.unwrap();
    // the worker of the log has a message in its hands; its acknowledgement is a subject that anybody can guess
    let worker = raw(&stage.server, "provisioner").await;
    let inbox = worker.new_inbox();
    let mut hands = worker.subscribe(inbox.clone()).await.unwrap();
    let next = "LOG.API.CONSUMER.MSG.NEXT.EVENTS.provisioner";
    stage.env_happens().await;
    worker.publish_with_reply(next, inbox, json!({"batch": 1}).to_string().into()).await.unwrap();
    let held = tokio::time::timeout(SOON, hands.next()).await.unwrap().unwrap();
    let unsettled = async || {
        let info = worker.request("LOG.API.CONSUMER.INFO.EVENTS.provisioner", "".into()).await.unwrap();
        serde_json::from_slice::<Value>(&info.payload).unwrap()["num_ack_pending"].clone()
    };
    assert_eq!(unsettled().await, 1);
    let before = stage.state().await;

    let own = stage.acme.consumer();
    let info = format!("{FOLLOWERS_API}.CONSUMER.INFO.{FOLLOWED}.{own}");
    let next = format!("{FOLLOWERS_API}.CONSUMER.MSG.NEXT.{FOLLOWED}.{own}");
    for target in [
        held.reply.unwrap().to_string(),
        format!("$JS.API.STREAM.DELETE.{FOLLOWED}"),
        format!("{FOLLOWERS_API}.STREAM.DELETE.{FOLLOWED}"),
        format!("{FOLLOWERS_API}.CONSUMER.DELETE.{FOLLOWED}.provisioner"),
        // what is handed out has a reply subject of its own, so it would be a request
        format!("{FOLLOWERS_API}.CONSUMER.MSG.NEXT.{FOLLOWED}.provisioner"),
        "stored.other.env.forged".to_owned(),
        "ev.acme.env.forged".to_owned(),
        "$SYS.REQ.USER.AUTH".to_owned(),
        "SERVERS.CONNZ".to_owned(),
    ] {
        // one message, and then the empty word that there is none
        for _ in 0..3 {
            let asked = json!({"batch": 1, "no_wait": true}).to_string();
            follower.client.publish_with_reply(next.clone(), target.clone(), asked.into()).await.unwrap();
        }
        follower.client.publish_with_reply(info.clone(), target, "".into()).await.unwrap();
    }
    follower.client.flush().await.unwrap();
    assert_eq!(heard(&mut live).await, Vec::<String>::new());
    assert_eq!(unsettled().await, 1, "it was acknowledged for the worker");
    assert_eq!(stage.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_come_in_while_nobody_answers_and_are_never_asked_about() {
    let server = server().await;
    for name in nats::USERS {
        raw(&server, name).await.flush().await.unwrap();
    }
    let tap = Tap::of(1, "acme");
    let (options, _) = tap.options(Way::Live, PASSWORD);
    assert!(options.connect(server.url()).await.is_err(), "a tap is let in by nobody");

    let stage = Stage::set().await;
    for name in nats::USERS {
        raw(&stage.server, name).await.flush().await.unwrap();
        let wrong = ConnectOptions::with_user_and_password(name.into(), PASSWORD.into());
        assert!(wrong.connect(stage.server.url()).await.is_err(), "{name}");
    }
    assert_eq!(stage.asked(), Vec::<String>::new());
    let (options, _) = stage.acme.options(Way::Live, "wrong");
    assert!(options.connect(stage.server.url()).await.is_err());
    assert!(ConnectOptions::new().connect(stage.server.url()).await.is_err(), "who says nothing is nobody");
    assert_eq!(stage.asked()[0], Way::Live.user(&stage.acme.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_is_known_and_can_be_sent_out() {
    let stage = Stage::set().await;
    let listener = stage.acme.comes(&stage.server, Way::Live).await;
    let follower = stage.acme.comes(&stage.server, Way::Resume).await;
    let bystander = stage.other.comes(&stage.server, Way::Live).await;
    let followers = stage.taps.followers();
    let user = Way::Live.user(&stage.acme.id);
    let listening = followers.connected(LISTENERS).await.unwrap();
    let mut names: Vec<&str> = listening.iter().map(|who| who.user.as_str()).collect();
    names.sort_unstable();
    let mut expected = [user.clone(), Way::Live.user(&stage.other.id)];
    expected.sort();
    assert_eq!(names, expected);
    let resuming = followers.connected(FOLLOWERS).await.unwrap();
    assert_eq!(resuming[0].user, Way::Resume.user(&stage.acme.id));
    for who in listening.iter().filter(|who| who.user == user).chain(&resuming) {
        followers.disconnect(who).await.unwrap();
    }
    for gone in [&listener, &follower] {
        let out = harness::eventually("they are out", SOON, async || {
            let told = gone.told.lock().unwrap().join("; ");
            if told.contains("disconnected") { Ok(()) } else { Err(told) }
        });
        out.await.unwrap();
    }
    assert!(bystander.complaints().await.is_empty());
    // and no consumer is left for them
    followers.remove_consumer(&stage.acme.consumer()).await.unwrap();
    followers.remove_consumer(&stage.acme.consumer()).await.unwrap();
    let positions = crate::stand::user(&stage.server, "api").await.tap_positions();
    assert_eq!(positions.of(&stage.acme.consumer()).await.unwrap(), None);
}

/// A browser has no other way to speak NATS.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_heard_over_a_web_socket() {
    let port = harness::free_ports::one().unwrap();
    let listener = format!("websocket {{ host: \"127.0.0.1\", port: {port}, no_tls: true }}");
    let conf = format!("{}\n{listener}\n", nats::SERVER_CONF);
    let stage = Stage::on(NatsServer::start_with_users(&conf).await.unwrap()).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{port}")).await.unwrap();
    let user = Way::Live.user(&stage.acme.id);
    let hello = json!({"user": user, "pass": PASSWORD, "verbose": false, "headers": true, "protocol": 1});
    let words =
        format!("CONNECT {hello}\r\nSUB stored.acme.quota.* 1\r\nSUB stored.other.quota.* 2\r\nPING\r\n");
    socket.send(Message::binary(words.into_bytes())).await.unwrap();
    let mut said = String::new();
    let mut until = async |word: &str| {
        while !said.contains(word) {
            let message = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
            said.push_str(&String::from_utf8_lossy(&message.into_data()));
        }
        said.clone()
    };
    assert!(until("PONG").await.contains("Permissions Violation"), "another tenant's is refused");
    stage.happen("one").await;
    let heard = until("stored.acme.quota.one").await;
    assert!(!heard.contains("MSG stored.other"), "{heard}");
}
