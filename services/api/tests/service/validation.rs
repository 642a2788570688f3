//! Is a wrong request refused whole, naming every wrong field, with nothing in the log?

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{problem, world};

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_field_is_named_and_nothing_is_written() {
    let world = world().await;
    let api = &world.admin;
    let head = world.head().await;
    let many = json!({"name": "", "resources": {"cpu": "1", "memory": 0, "disk": 1}, "image": 1,
        "ssh_public_keys": ["x", 1], "jupyter": 1, "ttl_s": 1, "allow_list": ["x"], "extra": 1});
    let fields = [
        "allow_list[0]",
        "extra",
        "image",
        "jupyter",
        "name",
        "resources.cpu",
        "resources.disk",
        "resources.memory",
        "ssh_public_keys[0]",
        "ssh_public_keys[1]",
        "ttl_s",
    ];
    let cases: Vec<(Method, &str, Value, Vec<&str>)> = vec![
        (Method::POST, "/api/environments", many, fields.to_vec()),
        (Method::POST, "/api/environments", json!([]), vec![""]),
        (Method::POST, "/api/environments", json!({}), vec!["name", "resources"]),
        (Method::POST, "/api/ssh-keys", json!({"name": " x", "public_key": "x"}), vec!["name", "public_key"]),
        (
            Method::POST,
            "/api/tenants",
            json!({"name": "+", "quota": {"cpu": -1, "x": 1}}),
            vec!["name", "quota.cpu", "quota.x"],
        ),
        (
            Method::POST,
            "/api/users",
            json!({"username": "A B", "password": "s3same", "tenant_id": "_sys", "role": "king"}),
            vec!["password", "role", "tenant_id", "username"],
        ),
        (
            Method::POST,
            "/api/users",
            json!({"username": "a", "password": "long enough 12", "tenant_id": "none", "role": "auditor"}),
            vec!["tenant_id"],
        ),
        (
            Method::POST,
            "/api/tokens",
            json!({"name": 1, "role": "king", "expires_in_s": 0}),
            vec!["expires_in_s", "name", "role"],
        ),
        (Method::POST, "/api/tokens", json!({"name": "a", "owner": "nobody"}), vec!["owner"]),
        (
            Method::PUT,
            "/api/tenants/default/quota",
            json!({"environments": 1.5, "memory": "x"}),
            vec!["environments", "memory"],
        ),
        (Method::POST, "/api/auth/login", json!({"username": 1}), vec!["password", "username"]),
    ];
    for (method, path, body, expected) in cases {
        let answer = api.call(method, path, Some(&body), None).await.unwrap();
        problem(&answer, 422, "validation_failed");
        let errors = answer.body["errors"].as_array().unwrap();
        let mut named: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, expected, "{path} {body}");
        assert!(errors.iter().all(|error| error["detail"].is_string() && error["code"].is_string()));
        assert!(!answer.body.to_string().contains("s3same"), "a password is in the answer");
    }
    assert_eq!(world.head().await, head);

    let made = api.post("/api/environments", &crate::world::asked("one")).await.unwrap().expect(202).unwrap();
    let path = format!("/api/environments/{}", made.text("env_id").unwrap());
    let ready = world.everything().await.len() as u64;
    for (way, body, field) in [
        ("stop", json!({"x": 1}), "x"),
        ("start", json!([]), ""),
        ("reset-password", json!({"reason": 1}), "reason"),
        ("unlock", json!({"ip": "x"}), "ip"),
    ] {
        let answer = api.post(&format!("{path}/{way}"), &body).await.unwrap();
        problem(&answer, 422, "validation_failed");
        assert_eq!(answer.body["errors"][0]["field"], field, "{way}");
    }
    for (body, field) in [
        (json!({}), "ranges"),
        (json!({"ranges": "10.0.0.0/8"}), "ranges"),
        (json!({"ranges": ["10.0.0.0/8", "x"]}), "ranges[1]"),
    ] {
        let answer = api.put(&format!("{path}/allow-list"), &body).await.unwrap();
        problem(&answer, 422, "validation_failed");
        assert_eq!(answer.body["errors"][0]["field"], field, "{body}");
    }
    for query in ["status=none", "limit=0", "limit=501", "cursor=x", "after=-1", "x=1"] {
        let answer = api.get(&format!("/api/environments?{query}")).await.unwrap();
        problem(&answer, 400, "parameter_invalid");
    }
    let by_admin: Vec<_> = world.everything().await.into_iter().filter(|event| event.seq > ready).collect();
    assert!(by_admin.iter().all(|event| event.meta.actor == "service:provisioner"), "{by_admin:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages_and_after_what_was_written() {
    let world = world().await;
    let api = &world.admin;
    let mut last = 0;
    for number in 0..5 {
        let body = crate::world::asked(&format!("e{number}"));
        last = api.post("/api/environments", &body).await.unwrap().expect(202).unwrap().position.unwrap();
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/environments?limit=2&after={last}{cursor}");
        let page = api.get(&path).await.unwrap().expect(200).unwrap();
        let items = page.body["items"].as_array().unwrap();
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["e4", "e3", "e2", "e1", "e0"]);
    let by_name = api.list(&format!("/api/environments?name=e3&after={last}")).await.unwrap();
    assert_eq!(by_name.len(), 1);
    let audit = api.list(&format!("/api/audit?type=EnvRequested&after={last}")).await.unwrap();
    assert_eq!(audit.len(), 5);
    assert!(audit[0]["actor"].as_str().unwrap().starts_with("token:tok-"));
    let correlation = audit[0]["correlation_id"].as_str().unwrap();
    let caused = api.list(&format!("/api/audit?correlation_id={correlation}")).await.unwrap();
    assert!(caused.len() >= 5, "the whole chain carries the request's id: {caused:?}");
    let began = std::time::Instant::now();
    let far = world.head().await + 1000;
    problem(&api.get(&format!("/api/environments?after={far}")).await.unwrap(), 504, "read_model_behind");
    assert!((4..20).contains(&began.elapsed().as_secs()));
    let projections = api.get("/api/projections").await.unwrap().expect(200).unwrap();
    for projection in projections.body["items"].as_array().unwrap() {
        assert!(projection["head"].as_u64() >= projection["position"].as_u64());
        assert!(projection["lag"].is_u64() && projection["state"].is_string());
    }
}
