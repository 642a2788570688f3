//! `POST /api/environments`: claim the quota, ask for the environment, wait a moment for its door.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use events::credential::Credential;
use events::env::{
    Env, EnvRequested, PortPurpose, Status, deadlines,
    give_up::{PORT_POOL_EXHAUSTED, never_started},
    request::request,
};
use events::ids::{EnvId, TenantId, UserName};
use events::quota::{Quota, claim::claim};
use events::{Cause, Kind, Resources, Subject};
use ipnet::IpNet;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::environment::{Entrance, jupyter_url, reveal_password};
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::live::Bell;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::readers::{self, ResourcesShape};

/// Most keys of one environment.
const SSH_KEYS_MAX: usize = 20;
/// Most datasets of one environment.
const DATASETS_MAX: usize = 16;
/// A minute to a year.
const TTL_S: (u64, u64) = (60, 31_536_000);
/// Five minutes to thirty days.
const IDLE_S: (u64, u64) = (300, 2_592_000);

/// The facts of one create, by their index.
mod step {
    use super::index;
    pub const CLAIM: u32 = index::FIRST;
    pub const REQUEST: u32 = index::FIRST + 1;
}

/// What is asked for.
#[derive(ToSchema)]
#[schema(as = EnvironmentAsked, example = json!({
    "name": "my-env", "resources": {"cpu": 1, "memory": 2, "storage": 10},
    "ssh_public_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me"],
    "jupyter": false, "ttl_s": 86400, "idle_s": 7200, "allow_list": ["10.0.0.0/8"],
}))]
pub struct Asked {
    /// `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`; not unique.
    name: String,
    /// Image reference; absent means the default image.
    #[schema(value_type = Option<String>)]
    image: String,
    #[schema(value_type = ResourcesShape)]
    resources: Resources,
    /// At most 20 OpenSSH public keys, for this environment alone.
    #[schema(value_type = Option<Vec<String>>)]
    ssh_public_keys: Vec<String>,
    #[schema(value_type = Option<bool>)]
    jupyter: bool,
    /// Seconds after which it is deleted with its data: 60 to 31536000.
    ttl_s: Option<u64>,
    /// Seconds without traffic after which it is stopped: 300 to 2592000. Data stays.
    idle_s: Option<u64>,
    /// At most 100 ranges that may connect; none means everyone.
    #[schema(value_type = Option<Vec<String>>)]
    allow_list: Vec<IpNet>,
    /// At most 16 names of datasets, each to be read at `/gemini/data-<name>`. Kubernetes only.
    #[schema(value_type = Option<Vec<String>>)]
    datasets: Vec<String>,
}

/// The environment is asked for, and this is its door.
#[derive(Serialize, ToSchema)]
#[schema(as = EnvironmentAccepted, example = json!({
    "env_id": "env-abcdefghijkl", "name": "my-env", "ssh_host": "127.0.0.1", "ssh_port": 30000,
    "ssh_username": "developer", "ssh_password": "k7-Wq2mX:Rt4_bNp9cYd",
    "ssh_command": "ssh developer@127.0.0.1 -p 30000", "jupyter_url": null, "status": "creating",
    "position": 42,
}))]
pub struct Accepted {
    #[schema(value_type = String)]
    env_id: EnvId,
    name: String,
    ssh_host: String,
    /// `null` while no port is bound.
    ssh_port: Option<u16>,
    /// The account, or the environment's id where only the gateway leads to it.
    ssh_username: String,
    /// `null` while there is none; see `GET /api/environments/{id}/ssh`.
    ssh_password: Option<String>,
    ssh_command: Option<String>,
    /// With the token; `null` without `jupyter`.
    jupyter_url: Option<String>,
    /// `creating`; a repeated request may find it further on.
    status: &'static str,
    /// Sequence in the log of everything this shows; also in the header `Portreeve-Position`.
    position: u64,
}

/// Reads the whole body before anything is refused.
pub fn read(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.required("name", readers::name);
    let image = fields.optional("image", readers::image);
    let resources = fields.object("resources", true, readers::resources);
    let keys = fields.list("ssh_public_keys", SSH_KEYS_MAX, readers::public_key);
    let jupyter = fields.optional("jupyter", fields::boolean);
    let ttl_s = fields.optional("ttl_s", fields::whole(TTL_S.0, TTL_S.1));
    let idle_s = fields.optional("idle_s", fields::whole(IDLE_S.0, IDLE_S.1));
    let allow_list = fields.list("allow_list", events::env::allow_list::RANGES_MAX, readers::range);
    let mut datasets = fields.list("datasets", DATASETS_MAX, readers::dataset);
    datasets.sort();
    datasets.dedup();
    let asked = name.zip(resources).map(|(name, resources)| Asked {
        name,
        resources,
        image: image.unwrap_or_default(),
        ssh_public_keys: keys.into_iter().map(|key| key.line).collect(),
        jupyter: jupyter.unwrap_or_default(),
        ttl_s,
        idle_s,
        allow_list,
        datasets,
    });
    fields.finish(asked)
}

/// Ask for an environment
///
/// Answers as soon as port and password are known, after 2 seconds at the latest. The environment
/// accepts connections when its status is `running`. The password is shown, and that is an event.
#[utoipa::path(
    post, path = "/api/environments", tag = "environments", request_body = Asked,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the key repeats the answer")),
    responses(
        (status = 202, body = Accepted, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`quota_exceeded`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`: every wrong field is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "`port_pool_exhausted`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(app): State<App>, incoming: Incoming) -> Result<Response, Problem> {
    let asked = read(&incoming.body.json)?;
    let cause = incoming.accept(&app).await?;
    let create = Create {
        app: &app,
        tenant: &incoming.caller.tenant,
        env: EnvId::from_seed(&cause.command),
        cause: &cause,
    };
    // listening begins before the asking, so that no answer is missed
    let subjects = [Kind::Env, Kind::Credential]
        .map(|kind| Subject::new(create.tenant.clone(), kind, create.env.as_str()));
    let bell = app.live.bell(subjects.to_vec(), app.create_wait);
    create.request(&incoming.caller.owner, &asked).await?;
    let door = create.wait(bell).await?;
    if door.exhausted {
        return Err(exhausted());
    }
    create.answer(asked, door).await
}

struct Create<'c> {
    app: &'c App,
    tenant: &'c TenantId,
    env: EnvId,
    cause: &'c Cause,
}

/// What is known of the way in.
struct Door {
    env: Env,
    seq: u64,
    has_password: bool,
    exhausted: bool,
}

impl Create<'_> {
    /// The claim first: it is the check. A claim without its environment is released by a sweep.
    async fn request(&self, owner: &UserName, asked: &Asked) -> Result<(), Problem> {
        let (app, tenant, cause) = (self.app, self.tenant, self.cause);
        // a request repeated long after its environment went must not claim for it again
        if app.log.load::<Env>(tenant, self.env.as_str()).await?.state.status != Status::Absent {
            return Ok(());
        }
        let rule = |quota: &Quota| claim(quota, &self.env, asked.resources);
        app.log.decide::<Quota, _>(tenant, tenant.as_str(), cause, step::CLAIM, rule).await?;
        let rule = |env: &Env| {
            let requested = EnvRequested {
                name: asked.name.clone(),
                owner: owner.clone(),
                image: asked.image.clone(),
                resources: asked.resources,
                ssh_public_keys: asked.ssh_public_keys.clone(),
                jupyter: asked.jupyter,
                ttl_s: asked.ttl_s,
                idle_s: asked.idle_s,
                allow_list: asked.allow_list.clone(),
                datasets: asked.datasets.clone(),
                gateway_only: app.shown.gateway_only,
                deadline: deadlines::create(Utc::now()),
            };
            request(env, requested)
        };
        app.log.decide::<Env, _>(tenant, self.env.as_str(), cause, step::REQUEST, rule).await?;
        Ok(())
    }

    /// Until port and password are known, or the time is over.
    async fn wait(&self, mut bell: Bell) -> Result<Door, Problem> {
        loop {
            let env = self.app.log.load::<Env>(self.tenant, self.env.as_str()).await?;
            let credential = self.app.log.load::<Credential>(self.tenant, self.env.as_str()).await?;
            let door = Door {
                exhausted: never_started(&env.state),
                has_password: credential.state.password.is_some(),
                seq: env.seq.max(credential.seq),
                env: env.state,
            };
            let known = door.has_password && door.env.ports_missing().is_empty();
            let over = door.exhausted || door.env.status != Status::Creating;
            if known || over || !bell.ring().await {
                return Ok(door);
            }
        }
    }

    async fn answer(&self, asked: Asked, door: Door) -> Result<Response, Problem> {
        let gone = matches!(door.env.status, Status::Deleting | Status::Deleted);
        let password = if door.has_password && !gone {
            reveal_password(self.app, self.tenant, &self.env, self.cause).await?
        } else {
            None
        };
        let shown = &self.app.shown;
        let gateway_only = door.env.requested.as_ref().is_some_and(|requested| requested.gateway_only);
        let entrance = shown.entrance(&self.env, door.env.port(PortPurpose::Ssh), gateway_only);
        let position = password.as_ref().map_or(door.seq, |(_, seq)| door.seq.max(*seq));
        let accepted = Accepted {
            name: asked.name,
            ssh_host: shown.ssh_host.clone(),
            ssh_port: entrance.as_ref().map(|entrance| entrance.port),
            ssh_username: Entrance::user_of(entrance.as_ref()),
            ssh_password: password.map(|(secret, _)| secret.expose_secret().to_owned()),
            ssh_command: entrance.as_ref().map(|entrance| shown.ssh_command(entrance)),
            jupyter_url: jupyter_url(self.app, &self.env, &door.env).await?,
            // a repeated request gives the first one's answer while that is not untrue
            status: if gone { door.env.status.name() } else { Status::Creating.name() },
            position,
            env_id: self.env.clone(),
        };
        let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        Ok((StatusCode::ACCEPTED, no_store, position::header(position), axum::Json(accepted)).into_response())
    }
}

fn exhausted() -> Problem {
    Problem::new(
        PORT_POOL_EXHAUSTED,
        "every port of the pool is taken; delete an environment or widen --ports, then ask again with a new Idempotency-Key",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn wrong(body: &Value) -> Vec<(String, &'static str)> {
        match read(body) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors().iter().map(|error| (error.field.clone(), error.code)).collect(),
        }
    }

    #[test]
    fn a_whole_request_is_taken() {
        let body = json!({"name": "a", "resources": {"cpu": 0.5, "memory": 1}, "allow_list": ["10.1.1.1"],
            "image": null, "jupyter": true, "ttl_s": 60, "ssh_public_keys": [], "datasets": ["b-2", "a", "a"]});
        let asked = read(&body).unwrap();
        assert_eq!(asked.allow_list[0].to_string(), "10.1.1.1/32");
        assert_eq!(asked.resources.cpu.thousandths(), 500);
        assert!(asked.jupyter);
        assert_eq!(asked.datasets, ["a", "b-2"], "each once");
    }

    #[test]
    fn every_field_wrong_in_every_way_is_named() {
        let good = json!({"name": "a", "resources": {"cpu": 1, "memory": 1}});
        let cases = [
            ("/name", json!(""), "name", "too_short"),
            ("/name", json!(7), "name", "wrong_type"),
            ("/name", json!("a".repeat(64)), "name", "too_long"),
            ("/name", json!("a\nb"), "name", "malformed"),
            ("/image", json!("a b"), "image", "malformed"),
            ("/image", json!([]), "image", "wrong_type"),
            ("/resources", json!(1), "resources", "wrong_type"),
            ("/resources/cpu", json!(0.09), "resources.cpu", "out_of_range"),
            ("/resources/cpu", json!(256.001), "resources.cpu", "out_of_range"),
            ("/resources/cpu", json!("1"), "resources.cpu", "wrong_type"),
            ("/resources/memory", json!(0.124), "resources.memory", "out_of_range"),
            ("/resources/memory", json!(4097), "resources.memory", "out_of_range"),
            ("/resources/gpu", json!(17), "resources.gpu", "out_of_range"),
            ("/resources/gpu", json!(0.5), "resources.gpu", "wrong_type"),
            ("/resources/storage", json!(-1), "resources.storage", "out_of_range"),
            ("/resources/disk", json!(1), "resources.disk", "unknown"),
            ("/ssh_public_keys", json!("k"), "ssh_public_keys", "wrong_type"),
            ("/ssh_public_keys", json!(["k"]), "ssh_public_keys[0]", "malformed"),
            ("/ssh_public_keys", json!(vec!["k"; 21]), "ssh_public_keys", "too_long"),
            ("/jupyter", json!("yes"), "jupyter", "wrong_type"),
            ("/ttl_s", json!(59), "ttl_s", "out_of_range"),
            ("/ttl_s", json!(31_536_001), "ttl_s", "out_of_range"),
            ("/ttl_s", json!("1h"), "ttl_s", "wrong_type"),
            ("/idle_s", json!(299), "idle_s", "out_of_range"),
            ("/idle_s", json!(2_592_001), "idle_s", "out_of_range"),
            ("/datasets", json!("imagenet"), "datasets", "wrong_type"),
            ("/datasets", json!(["Imagenet"]), "datasets[0]", "malformed"),
            ("/datasets", json!(["-a"]), "datasets[0]", "malformed"),
            ("/datasets", json!([""]), "datasets[0]", "too_short"),
            ("/datasets", json!(vec!["a"; 17]), "datasets", "too_long"),
            ("/allow_list", json!({}), "allow_list", "wrong_type"),
            ("/allow_list", json!(["10.0.0.0/33"]), "allow_list[0]", "malformed"),
            ("/allow_list", json!(vec!["10.0.0.0/8"; 101]), "allow_list", "too_long"),
            ("/extra", json!(1), "extra", "unknown"),
        ];
        for (pointer, value, field, code) in cases {
            let mut body = good.clone();
            let (parent, leaf) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[leaf] = value.clone();
            assert_eq!(wrong(&body), [(field.to_owned(), code)], "{pointer} = {value}");
        }
        assert_eq!(wrong(&json!([])), [(String::new(), "wrong_type")]);
        let missing = wrong(&json!({"resources": {}}));
        let names: Vec<_> = missing.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(names, ["name", "resources.cpu", "resources.memory"]);
    }
}
