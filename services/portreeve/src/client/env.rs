//! `portreeve env`: what is asked of environments, and how are they shown?

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::env_create::CreateArgs;
use super::env_ssh::SshArgs;
use super::http::Http;
use super::table::{self, Column};
use super::{ClientError, Target};

/// How long `--wait` waits for an environment to get where it was sent.
const WAIT_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(300);

const LIST: &[Column] = &[
    ("ENVIRONMENT", "env_id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("OWNER", "owner"),
    ("SSH PORT", "ssh_port"),
    ("CPU", "resources/cpu"),
    ("MEMORY GiB", "resources/memory"),
    ("CREATED", "created_at"),
    ("REASON", "reason"),
];

const ONE: &[Column] = &[
    ("environment", "env_id"),
    ("name", "name"),
    ("status", "status"),
    ("phase", "phase"),
    ("reason", "reason"),
    ("owner", "owner"),
    ("tenant", "tenant_id"),
    ("image", "image"),
    ("cpu", "resources/cpu"),
    ("memory GiB", "resources/memory"),
    ("gpu", "resources/gpu"),
    ("storage GiB", "resources/storage"),
    ("ssh host", "ssh_host"),
    ("ssh port", "ssh_port"),
    ("ssh user", "ssh_username"),
    ("jupyter", "jupyter_url"),
    ("allow-list", "allow_list"),
    ("created", "created_at"),
    ("expires", "expires_at"),
    ("idle s", "idle_s"),
    ("job until", "job_until"),
    ("stops", "stops_at"),
    ("deletes", "deletes_at"),
];

const SESSIONS: &[Column] = &[
    ("SESSION", "session_id"),
    ("FROM", "ip"),
    ("USER", "user"),
    ("ENTRANCE", "entrance"),
    ("METHOD", "method"),
    ("CLIENT", "client"),
    ("OPENED", "opened_at"),
    ("CLOSED", "closed_at"),
    ("BYTES IN", "bytes_in"),
    ("BYTES OUT", "bytes_out"),
    ("REASON", "reason"),
];

const RECORDINGS: &[Column] = &[
    ("RECORDING", "recording_id"),
    ("USER", "user"),
    ("ENTRANCE", "entrance"),
    ("STARTED", "started_at"),
    ("ENDED", "ended_at"),
    ("BYTES", "bytes"),
    ("COMPLETE", "complete"),
];

const LOGINS: &[Column] = &[
    ("AT", "at"),
    ("LOGIN", "kind"),
    ("FROM", "ip"),
    ("USER", "user"),
    ("METHOD", "method"),
    ("CLASS", "class"),
    ("UNTIL", "until"),
];

/// Environments
#[derive(Debug, clap::Args)]
pub struct EnvArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Env,
}

#[derive(Debug, clap::Subcommand)]
enum Env {
    Create(CreateArgs),
    /// All environments you may see
    List {
        /// creating, running, stopping, stopped, starting, failed, deleting or deleted
        #[arg(long)]
        status: Option<String>,
    },
    /// One environment
    Show(Named),
    Ssh(SshArgs),
    /// Stop it; its data stays
    Stop(Moved),
    /// Start it again
    Start(Moved),
    /// Delete it with its data
    Delete(Moved),
    /// Make a new password; the old one stops working first
    ResetPassword(Named),
    /// Who is and was connected
    Sessions(Named),
    /// Which terminals were recorded
    Recordings(Named),
    /// Which logins succeeded and failed
    Logins(Named),
    /// Open it again to addresses that were locked out
    Unlock {
        #[command(flatten)]
        env: Named,
        /// Only this address
        #[arg(long)]
        ip: Option<std::net::IpAddr>,
    },
    /// Mark a running job: until then it is neither stopped as idle nor deleted
    Job {
        #[command(flatten)]
        env: Named,
        /// Seconds from now, at most a week; 0 takes the mark away
        #[arg(long)]
        for_s: u64,
        /// What it is, for people
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Set the source ranges that may connect; none means everyone
    AllowList {
        #[command(flatten)]
        env: Named,
        ranges: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// Id or name
    env: String,
}

#[derive(Debug, clap::Args)]
struct Moved {
    #[command(flatten)]
    env: Named,
    /// Return only when it is done
    #[arg(long)]
    wait: bool,
}

impl EnvArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        match self.what {
            Env::Create(create) => create.run(&http, json).await,
            Env::List { status } => list(&http, status, json).await,
            Env::Show(env) => {
                let env = http.get(&env.path(&http, "").await?, &[]).await?;
                show(&env, json);
                Ok(())
            }
            Env::Ssh(ssh) => ssh.run(&http, json).await,
            Env::Stop(moved) => moved.send(&http, Method::POST, "/stop", "stopped", json).await,
            Env::Start(moved) => moved.send(&http, Method::POST, "/start", "running", json).await,
            Env::Delete(moved) => moved.send(&http, Method::DELETE, "", "deleted", json).await,
            Env::ResetPassword(env) => {
                let answer = env.post(&http, "/reset-password", None).await?;
                show_as(&answer, &[("password", "ssh_password")], json);
                Ok(())
            }
            Env::Sessions(env) => env.list(&http, "/sessions", SESSIONS, json).await,
            Env::Recordings(env) => env.list(&http, "/recordings", RECORDINGS, json).await,
            Env::Logins(env) => env.list(&http, "/logins", LOGINS, json).await,
            Env::Unlock { env, ip } => {
                let body = ip.map_or_else(|| json!({}), |ip| json!({ "ip": ip }));
                let answer = env.post(&http, "/unlock", Some(&body)).await?;
                done(&answer, "unlocked", json);
                Ok(())
            }
            Env::Job { env, for_s, note } => {
                let path = env.path(&http, "/job").await?;
                let body = json!({ "for_s": for_s, "note": note });
                let answer = http.write(Method::PUT, &path, Some(&body)).await?;
                show_as(&answer, &[("job until", "job_until")], json);
                Ok(())
            }
            Env::AllowList { env, ranges } => {
                let path = env.path(&http, "/allow-list").await?;
                let answer = http.write(Method::PUT, &path, Some(&json!({ "ranges": ranges }))).await?;
                done(&answer, "allow-list set", json);
                Ok(())
            }
        }
    }
}

async fn list(http: &Http, status: Option<String>, json: bool) -> Result<(), ClientError> {
    let query: Vec<_> = status.map(|status| ("status", status)).into_iter().collect();
    let items = http.all("/api/environments", &query).await?;
    show_all(items, LIST, json);
    Ok(())
}

/// Prints a list as JSON or as a table.
pub fn show_all(items: Vec<Value>, columns: &[Column], json: bool) {
    if json { table::print_json(&json!({ "items": items })) } else { table::print(&items, columns) }
}

/// The items of one page.
pub fn items(page: &Value) -> Vec<Value> {
    list_of(page, "items")
}

/// A list inside an answer.
pub fn list_of(answer: &Value, field: &str) -> Vec<Value> {
    answer.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn show(env: &Value, json: bool) {
    show_as(env, ONE, json);
}

/// Prints one thing as JSON or a field a line.
pub fn show_as(value: &Value, columns: &[Column], json: bool) {
    if json { table::print_json(value) } else { table::print_one(value, columns) }
}

/// Prints that something was done, or the answer as JSON.
pub fn done(answer: &Value, what: &str, json: bool) {
    if json { table::print_json(answer) } else { table::out(&format!("{what}\n")) }
}

impl Named {
    /// The path of the environment's resource; a name is looked up.
    pub async fn path(&self, http: &Http, below: &str) -> Result<String, ClientError> {
        Ok(format!("/api/environments/{}{below}", self.id(http).await?))
    }

    pub async fn id(&self, http: &Http) -> Result<String, ClientError> {
        if events::ids::EnvId::parse(self.env.as_str()).is_ok() {
            return Ok(self.env.clone());
        }
        let all = http.all("/api/environments", &[]).await?;
        let text = |env: &Value, name: &str| env.get(name).and_then(Value::as_str).map(str::to_owned);
        let ids: Vec<String> = all
            .iter()
            .filter(|env| text(env, "name").as_deref() == Some(self.env.as_str()))
            .filter_map(|env| text(env, "env_id"))
            .collect();
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            [] => Err(ClientError::Name { name: self.env.clone(), why: "no environment has it".to_owned() }),
            several => {
                let why = format!("several environments have it: {}", several.join(", "));
                Err(ClientError::Name { name: self.env.clone(), why })
            }
        }
    }

    async fn post(&self, http: &Http, below: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        http.write(Method::POST, &self.path(http, below).await?, body).await
    }

    async fn list(
        &self,
        http: &Http,
        below: &str,
        columns: &[Column],
        json: bool,
    ) -> Result<(), ClientError> {
        show_all(http.all(&self.path(http, below).await?, &[]).await?, columns, json);
        Ok(())
    }
}

impl Moved {
    async fn send(
        self,
        http: &Http,
        method: Method,
        below: &str,
        toward: &str,
        json: bool,
    ) -> Result<(), ClientError> {
        let id = self.env.id(http).await?;
        let answer = http.write(method, &format!("/api/environments/{id}{below}"), None).await?;
        if !self.wait {
            let status = table::cell(&answer, "status");
            done(&answer, &format!("{id} {}", if status == "-" { "is told" } else { &status }), json);
            return Ok(());
        }
        let env = wait_for(http, &id, toward).await?;
        done(&env, &format!("{id} is {toward}"), json);
        Ok(())
    }
}

/// Waits until the environment has this status; `failed` is an error.
pub async fn wait_for(http: &Http, id: &str, toward: &str) -> Result<Value, ClientError> {
    let began = Instant::now();
    loop {
        let env = http.get(&format!("/api/environments/{id}"), &[]).await?;
        let status = table::cell(&env, "status");
        if status == toward {
            return Ok(env);
        }
        if status == "failed" {
            let last = format!("failed in {}: {}", table::cell(&env, "phase"), table::cell(&env, "reason"));
            return Err(ClientError::WentWrong { what: id.to_owned(), last });
        }
        if began.elapsed() > WAIT_WITHIN {
            let waited_s = WAIT_WITHIN.as_secs();
            return Err(ClientError::TookTooLong { what: id.to_owned(), last: status, waited_s });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
