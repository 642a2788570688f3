//! Where does a story take place? An installation on an engine, real or double, and its first steps.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::Context;
use harness::http::escaped;
use harness::{
    Answer, Api, EngineDouble, Installation, Portreeve, Proof, RealEngine, Setup, Ssh, eventually,
};
use serde_json::{Value, json};

/// How often the product looks for what no event told it; short, so that stories are.
pub const SWEEP_INTERVAL_S: u64 = 1;
pub const QUARANTINE_S: u64 = 2;

/// Between two tries to enter.
const ENTRANCE_LOOK_EVERY: Duration = Duration::from_millis(100);

/// A change asked for is there by then, on a busy machine.
pub const DONE_AT_MOST: Duration = Duration::from_secs(60);

pub trait Engine {
    /// What the product is started with to use it.
    fn setup(&self, ports: RangeInclusive<u16>) -> Setup;
    /// Removes what an installation left in it.
    fn clean(&self, _instance: &str) {}
}

/// An engine whose environments people can work in.
pub trait Inhabited: Engine + Send + Sync {
    /// So long after an environment runs its port may still refuse: who routes it is told by somebody else.
    const ENTRANCE_AT_MOST: Duration;
    /// A reference that its registry does not know, with `no-such-image` in it.
    fn no_such_image(&self) -> String;
    /// Names of everything it still has of an environment.
    fn left_of(&self, env_id: &str) -> impl Future<Output = anyhow::Result<Vec<String>>> + Send;
}

impl Engine for EngineDouble {
    fn setup(&self, ports: RangeInclusive<u16>) -> Setup {
        Setup::new(Some(self.url()), ports)
    }
}

impl Engine for RealEngine {
    fn setup(&self, ports: RangeInclusive<u16>) -> Setup {
        Setup::new(Some(self.url()), ports)
    }

    fn clean(&self, instance: &str) {
        harness::real_engine::remove_leftovers(instance);
    }
}

impl Inhabited for RealEngine {
    const ENTRANCE_AT_MOST: Duration = Duration::ZERO;

    fn no_such_image(&self) -> String {
        "portreeve/no-such-image:dev".to_owned()
    }

    async fn left_of(&self, env_id: &str) -> anyhow::Result<Vec<String>> {
        let name = format!("portreeve-{env_id}");
        let containers = self.containers()?.into_iter().map(|container| container.to_string());
        let mut left: Vec<String> = containers.filter(|container| container.contains(&name)).collect();
        left.extend(self.volumes()?.into_iter().filter(|volume| volume.starts_with(&name)));
        Ok(left)
    }
}

pub struct World<E: Engine> {
    pub engine: E,
    pub installation: Installation,
    /// `None` while it is down.
    pub product: Option<Portreeve>,
}

impl<E: Engine> Drop for World<E> {
    fn drop(&mut self) {
        drop(self.product.take());
        if let Ok(instance) = std::fs::read_to_string(self.installation.data_dir().join("instance")) {
            self.engine.clean(instance.trim());
        }
    }
}

impl World<EngineDouble> {
    pub async fn on_double(ports: RangeInclusive<u16>) -> anyhow::Result<Self> {
        Self::on(EngineDouble::start().await?, ports, |setup| setup).await
    }
}

impl World<RealEngine> {
    pub async fn on_real() -> anyhow::Result<Self> {
        let ports = harness::free_ports::range(REAL_PORTS)?;
        Self::on(RealEngine::start().await?, ports, |setup| setup).await
    }
}

/// Enough for a story on the real engine.
const REAL_PORTS: u16 = 40;

impl<E: Engine> World<E> {
    pub async fn on(
        engine: E,
        ports: RangeInclusive<u16>,
        change: impl FnOnce(Setup) -> Setup,
    ) -> anyhow::Result<Self> {
        let setup = engine
            .setup(ports)
            .with("PORTREEVE_SWEEP_INTERVAL_S", SWEEP_INTERVAL_S)
            .with("PORTREEVE_PORT_QUARANTINE_S", QUARANTINE_S);
        let installation = Installation::new(change(setup))?;
        let product = Some(installation.up().await?);
        Ok(Self { engine, installation, product })
    }

    pub fn api(&self) -> anyhow::Result<Api> {
        self.installation.admin()
    }

    /// Starts it again after it went down.
    pub async fn up_again(&mut self) -> anyhow::Result<()> {
        self.product = Some(self.installation.up().await?);
        Ok(())
    }

    pub fn kill(&mut self) {
        if let Some(product) = self.product.take() {
            product.kill_everything();
        }
    }

    /// Runs the story and, when it fails, adds what the product said last.
    pub fn blame<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| {
            let words = harness::child::log_tail(&self.installation.log());
            error_first(&error, "the product", &words)
        })
    }
}

/// What went wrong comes before what somebody said: who cuts a long text cuts its end or its middle.
pub fn error_first(error: &anyhow::Error, who: &str, words: &str) -> anyhow::Error {
    anyhow::anyhow!("{error:#}\nthe last words of {who}:\n{words}")
}

impl<E: Inhabited> World<E> {
    /// Waits until the port of a running environment answers, as long as the engine may take.
    pub async fn enter(&self, door: Ssh) -> anyhow::Result<Ssh> {
        enter(door, E::ENTRANCE_AT_MOST).await
    }
}

/// Waits while the port of a running environment refuses.
pub async fn enter(door: Ssh, at_most: Duration) -> anyhow::Result<Ssh> {
    let began = Instant::now();
    loop {
        let output = door.run("true").await?;
        let refused = output.stderr.contains("Connection refused");
        if !refused || began.elapsed() >= at_most {
            return output.expect_success().map(|_| door).context("the entrance of a running environment");
        }
        tokio::time::sleep(ENTRANCE_LOOK_EVERY).await;
    }
}

/// A new environment as its owner was told of it.
#[derive(Debug, Clone)]
pub struct Created {
    pub env_id: String,
    pub port: u16,
    pub password: String,
    pub body: Value,
}

/// What a small environment asks for.
pub fn small(name: &str) -> Value {
    json!({"name": name, "resources": {"cpu": 0.25, "memory": 0.25, "storage": 1}})
}

pub fn merged(mut body: Value, more: &Value) -> Value {
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

pub async fn create(api: &Api, body: &Value) -> anyhow::Result<Created> {
    created(&api.post("/api/environments", body).await?.expect(202)?)
}

pub fn created(answer: &Answer) -> anyhow::Result<Created> {
    let port = answer.body["ssh_port"].as_u64().with_context(|| format!("no ssh_port: {}", answer.body))?;
    Ok(Created {
        env_id: answer.text("env_id")?.to_owned(),
        port: u16::try_from(port)?,
        password: answer.text("ssh_password")?.to_owned(),
        body: answer.body.clone(),
    })
}

/// Creates one and waits until people can use it.
pub async fn create_running(api: &Api, body: &Value) -> anyhow::Result<Created> {
    let created = create(api, body).await?;
    until_status(api, &created.env_id, "running").await?;
    Ok(created)
}

pub async fn show(api: &Api, env_id: &str) -> anyhow::Result<Value> {
    Ok(api.get(&format!("/api/environments/{env_id}")).await?.expect(200)?.body)
}

pub async fn until_status(api: &Api, env_id: &str, status: &str) -> anyhow::Result<Value> {
    until(api, env_id, &format!("is {status}"), DONE_AT_MOST, |shown| shown["status"] == status).await
}

pub async fn until(
    api: &Api,
    env_id: &str,
    what: &str,
    at_most: Duration,
    holds: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    eventually(&format!("{env_id} {what}"), at_most, || async {
        let shown = show(api, env_id).await.map_err(|error| format!("{error:#}"))?;
        if holds(&shown) { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await
}

/// A deleted environment is either shown as deleted or not there.
pub async fn until_deleted(api: &Api, env_id: &str) -> anyhow::Result<()> {
    eventually(&format!("{env_id} is deleted"), DONE_AT_MOST, || async {
        let answer =
            api.get(&format!("/api/environments/{env_id}")).await.map_err(|error| error.to_string())?;
        let gone = answer.status == 404 || answer.body["status"] == "deleted";
        if gone { Ok(()) } else { Err(format!("{} {}", answer.status, answer.body)) }
    })
    .await
}

/// A write without a body, which must be taken.
pub async fn ask(api: &Api, env_id: &str, what: &str) -> anyhow::Result<Answer> {
    let answer = api.post(&format!("/api/environments/{env_id}/{what}"), &json!({})).await?;
    anyhow::ensure!(answer.is_success(), "{what} {env_id}: {} {}", answer.status, answer.body);
    Ok(answer)
}

pub async fn delete(api: &Api, env_id: &str) -> anyhow::Result<()> {
    api.delete(&format!("/api/environments/{env_id}")).await?.expect(202).map(drop)
}

/// Items of a list until they are as many as expected, and so for the look after that.
pub async fn until_listed(
    api: &Api,
    path: &str,
    what: &str,
    holds: impl Fn(&[Value]) -> bool,
) -> anyhow::Result<Vec<Value>> {
    eventually(&format!("{path}: {what}"), DONE_AT_MOST, || async {
        let items = api.list(path).await.map_err(|error| format!("{error:#}"))?;
        if holds(&items) { Ok(items) } else { Err(Value::Array(items).to_string()) }
    })
    .await
}

/// The way in that the owner was told.
pub fn door(created: &Created) -> Ssh {
    Ssh {
        user: "developer".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: created.port,
        proof: Proof::Password(created.password.clone()),
        from: None,
    }
}

/// The way in through the gateway, by the environment's id.
pub fn gateway_door<E: Engine>(world: &World<E>, created: &Created) -> Ssh {
    Ssh { user: created.env_id.clone(), port: world.installation.ssh_port(), ..door(created) }
}

/// `/api/environments?...` of every status.
pub async fn environments(api: &Api, status: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let filter = status.map_or_else(String::new, |status| format!("?status={}", escaped(status)));
    api.list(&format!("/api/environments{filter}")).await
}
