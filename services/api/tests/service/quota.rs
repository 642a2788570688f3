//! Does the quota hold against everyone at once?

use serde_json::json;

use crate::world::{asked, problem, world};

#[tokio::test(flavor = "multi_thread")]
async fn of_64_creators_exactly_ten_get_an_environment() {
    let world = world().await;
    let body = json!({"name": "Small", "quota": {"environments": 10}});
    world.admin.post("/api/tenants", &body).await.unwrap().expect(201).unwrap();
    let api = world.caller("small", "developer").await;
    let racing: Vec<_> = (0..64)
        .map(|number| {
            let api = api.clone();
            tokio::spawn(async move { api.post("/api/environments", &asked(&format!("e{number}"))).await })
        })
        .collect();
    let mut made = 0;
    for answer in racing {
        let answer = answer.await.unwrap().unwrap();
        if answer.status == 202 {
            made += 1;
        } else {
            problem(&answer, 403, "quota_exceeded");
        }
    }
    assert_eq!(made, 10);
    let head = world.head().await;
    let quota =
        api.get(&format!("/api/tenants/small/quota?after={head}")).await.unwrap().expect(200).unwrap();
    assert_eq!(quota.body["used"]["environments"], 10);
    assert_eq!(quota.body["limits"], json!({"environments": 10}));
    assert_eq!(api.list("/api/environments").await.unwrap().len(), 10);
    // raised, and lifted
    for (limits, status) in [(json!({"environments": 11}), 202), (json!({"cpu": 5.5}), 403), (json!({}), 202)]
    {
        world.admin.put("/api/tenants/small/quota", &limits).await.unwrap().expect(200).unwrap();
        let answer = api.post("/api/environments", &asked("more")).await.unwrap();
        assert_eq!(answer.status, status, "{limits}: {}", answer.body);
    }
}
