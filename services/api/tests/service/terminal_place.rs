//! Where does a terminal lead to in these tests? An environment whose inner door is a real sshd.

use std::net::SocketAddr;

use chrono::Utc;
use events::Cause;
use events::credential::SecretRef;
use events::env::{Env, InnerDoor, observe};
use events::ids::TenantId;
use harness::terminal::Opening;
use harness::{Api, Sshd, Terminal};
use nats::MasterKeys;
use serde_json::Value;
use ssh::ca::UserCa;
use uuid::Uuid;

use crate::world::{World, asked, config, world_with};

pub struct Place {
    pub world: World,
    pub sshd: Sshd,
    pub env: String,
    pub tenant: TenantId,
}

/// One environment of the administrator's.
pub async fn place() -> Place {
    let mut keys: Option<MasterKeys> = None;
    let world = world_with(|config| keys = Some(config.master_keys.clone())).await;
    let provisioner = nats::connect(&config(&world.nats, "provisioner")).await.unwrap();
    let ca = UserCa::generate().unwrap();
    provisioner.vault(keys.unwrap()).put(&SecretRef::user_ca(), &ca.to_text().unwrap()).await.unwrap();
    let made = world.admin.post("/api/environments", &asked("place")).await.unwrap().expect(202).unwrap();
    let env = made.text("env_id").unwrap().to_owned();
    let tenant = TenantId::parse(api::DEFAULT_TENANT).unwrap();
    let sshd = inner_door(&ca, &env).await;
    let place = Place { world, sshd, env, tenant };
    place.opens_at(&provisioner.log()).await;
    place
}

async fn inner_door(ca: &UserCa, env: &str) -> Sshd {
    let more = "TrustedUserCAKeys {folder}/ca.pub\nAuthorizedPrincipalsFile {folder}/principals";
    let sshd = Sshd::start("Right-Pass-1", more).await.unwrap();
    std::fs::write(sshd.folder().join("ca.pub"), format!("{}\n", ca.public_line())).unwrap();
    std::fs::write(sshd.folder().join("principals"), format!("{env}\n")).unwrap();
    sshd
}

impl Place {
    /// The log says where its inner door is.
    async fn opens_at(&self, log: &nats::Log) {
        let host_key = self.sshd.host_key().unwrap().trim().to_owned();
        let door = InnerDoor { addr: SocketAddr::from(([127, 0, 0, 1], self.sshd.port)), host_key };
        // the double of the provisioner makes it run first
        harness::eventually("it runs", std::time::Duration::from_secs(20), async || {
            let status = log.load::<Env>(&self.tenant, &self.env).await.unwrap().state.status;
            if status == events::env::Status::Running { Ok(()) } else { Err(status.name()) }
        })
        .await
        .unwrap();
        let cause = Cause::new(Uuid::now_v7(), "service:provisioner");
        let rule = |env: &Env| observe::ready(env, Some(door.clone()));
        log.decide(&self.tenant, &self.env, &cause, 0, rule).await.unwrap();
    }

    /// It was found not to run any more.
    pub async fn is_lost(&self) {
        let provisioner = nats::connect(&config(&self.world.nats, "provisioner")).await.unwrap();
        let cause = Cause::new(Uuid::now_v7(), "service:provisioner");
        let rule = |env: &Env| observe::lost(env, "killed", Utc::now());
        provisioner.log().decide(&self.tenant, &self.env, &cause, 0, rule).await.unwrap();
    }

    pub fn admin(&self) -> &Api {
        &self.world.admin
    }

    pub async fn json(&self) -> Terminal {
        Opening::of(self.admin(), &self.env, "").await.unwrap().ready(self.admin()).await.unwrap()
    }

    pub async fn binary(&self) -> Terminal {
        let opening = Opening::of(self.admin(), &self.env, "").await.unwrap();
        opening.binary().ready(self.admin()).await.unwrap()
    }

    /// The same shell again, which was seen up to `offset`.
    pub async fn back(&self, session: &str, offset: u64, binary: bool) -> Terminal {
        let more = format!("&session={session}&offset={offset}");
        let opening = Opening::of(self.admin(), &self.env, &more).await.unwrap();
        let opening = if binary { opening.binary() } else { opening };
        opening.ready(self.admin()).await.unwrap()
    }

    /// The environment's sessions, once they are as expected.
    pub async fn sessions(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let path = format!("/api/environments/{}/sessions", self.env);
        harness::eventually(what, std::time::Duration::from_secs(90), async || {
            let items = self.admin().list(&path).await.map_err(|error| format!("{error:#}"))?;
            if holds(&items) { Ok(items) } else { Err(format!("{items:#?}")) }
        })
        .await
        .unwrap()
    }
}
