//! `portreeve tenant`, `user`, `token`: who may use this installation, and how much of it?

use std::io::Read;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::env::{done, show_all, show_as};
use super::table::Column;
use super::{ClientError, Target};

/// The longest password accepted, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;

const TENANTS: &[Column] = &[
    ("TENANT", "tenant_id"),
    ("NAME", "name"),
    ("ENVIRONMENTS", "used/environments"),
    ("OF", "limits/environments"),
    ("CPU", "used/cpu"),
    ("OF", "limits/cpu"),
    ("MEMORY GiB", "used/memory"),
    ("OF", "limits/memory"),
];

const USERS: &[Column] = &[
    ("USER", "username"),
    ("TENANT", "tenant_id"),
    ("ROLE", "role"),
    ("DISABLED", "disabled"),
    ("CREATED", "created_at"),
];

const TOKENS: &[Column] = &[
    ("TOKEN", "token_id"),
    ("NAME", "name"),
    ("TENANT", "tenant_id"),
    ("ROLE", "role"),
    ("ACTS FOR", "owner"),
    ("EXPIRES", "expires_at"),
    ("REVOKED", "revoked_at"),
];

/// Tenants and their quotas
#[derive(Debug, clap::Args)]
pub struct TenantArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Tenant,
}

#[derive(Debug, clap::Subcommand)]
enum Tenant {
    /// All tenants, with what they use
    List,
    /// Make a tenant
    Create {
        name: String,
        #[command(flatten)]
        quota: Limits,
    },
    /// Set a tenant's quota; what is not given is unlimited
    Quota {
        tenant_id: String,
        #[command(flatten)]
        quota: Limits,
    },
}

/// Each a maximum over all environments of the tenant.
#[derive(Debug, clap::Args)]
struct Limits {
    #[arg(long)]
    environments: Option<u32>,
    /// Cores
    #[arg(long)]
    cpu: Option<f64>,
    /// GiB
    #[arg(long)]
    memory: Option<f64>,
    #[arg(long)]
    gpu: Option<u32>,
    /// GiB
    #[arg(long)]
    storage: Option<f64>,
}

impl Limits {
    fn body(&self) -> Map<String, Value> {
        [
            ("environments", self.environments.map(|n| json!(n))),
            ("cpu", self.cpu.map(|n| json!(n))),
            ("memory", self.memory.map(|n| json!(n))),
            ("gpu", self.gpu.map(|n| json!(n))),
            ("storage", self.storage.map(|n| json!(n))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

impl TenantArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        match self.what {
            Tenant::List => show_all(http.all("/api/tenants", &[]).await?, TENANTS, self.target.json),
            Tenant::Create { name, quota } => {
                let mut body = json!({ "name": name });
                if let (false, Some(members)) = (quota.body().is_empty(), body.as_object_mut()) {
                    members.insert("quota".to_owned(), Value::Object(quota.body()));
                }
                let made = http.write(Method::POST, "/api/tenants", Some(&body)).await?;
                show_as(&made, &[("tenant", "tenant_id"), ("name", "name")], self.target.json);
            }
            Tenant::Quota { tenant_id, quota } => {
                let path = format!("/api/tenants/{tenant_id}/quota");
                let body = Value::Object(quota.body());
                done(&http.write(Method::PUT, &path, Some(&body)).await?, "quota set", self.target.json);
            }
        }
        Ok(())
    }
}

/// People who log in with a password
#[derive(Debug, clap::Args)]
pub struct UserArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: User,
}

#[derive(Debug, clap::Subcommand)]
enum User {
    /// All users you may see
    List,
    /// Register a user; the password is read from standard input
    Create {
        username: String,
        #[arg(long, default_value = "default")]
        tenant: String,
        /// admin, operator, developer or auditor
        #[arg(long, default_value = "developer")]
        role: String,
    },
}

impl UserArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        match self.what {
            User::List => show_all(http.all("/api/users", &[]).await?, USERS, self.target.json),
            User::Create { username, tenant, role } => {
                let body = json!({
                    "username": username, "password": password()?, "tenant_id": tenant, "role": role,
                });
                let made = http.write(Method::POST, "/api/users", Some(&body)).await?;
                let columns = &[("user", "username"), ("tenant", "tenant_id"), ("role", "role")];
                show_as(&made, columns, self.target.json);
            }
        }
        Ok(())
    }
}

/// From standard input, never from the command line, which everyone on the machine may read.
fn password() -> Result<String, ClientError> {
    use std::io::IsTerminal;
    if std::io::stdin().is_terminal() {
        eprintln!("password, then Enter and Ctrl-D (it is shown as you type):");
    }
    let mut text = String::new();
    std::io::stdin()
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|source| ClientError::Io { what: "read the password".to_owned(), source })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(ClientError::Usage("standard input holds no password".to_owned())),
        password => Ok(password.to_owned()),
    }
}

/// API tokens
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Token,
}

#[derive(Debug, clap::Subcommand)]
enum Token {
    /// Your tokens, without their text
    List,
    /// Make a token worthless
    Revoke { token_id: String },
    /// Issue a token; it is shown once
    Create {
        name: String,
        #[arg(long)]
        tenant: Option<String>,
        /// admin, operator, developer or auditor
        #[arg(long)]
        role: Option<String>,
        #[arg(long)]
        expires_in_s: Option<u64>,
    },
}

impl TokenArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        let (name, tenant, role, expires_in_s) = match self.what {
            Token::Create { name, tenant, role, expires_in_s } => (name, tenant, role, expires_in_s),
            Token::List => {
                show_all(http.all("/api/tokens", &[]).await?, TOKENS, json);
                return Ok(());
            }
            Token::Revoke { token_id } => {
                let path = format!("/api/tokens/{token_id}");
                done(&http.write(Method::DELETE, &path, None).await?, "revoked", json);
                return Ok(());
            }
        };
        let body: Map<String, Value> = [
            ("name", Some(json!(name))),
            ("tenant_id", tenant.map(|tenant| json!(tenant))),
            ("role", role.map(|role| json!(role))),
            ("expires_in_s", expires_in_s.map(|s| json!(s))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        let made = http.write(Method::POST, "/api/tokens", Some(&Value::Object(body))).await?;
        show_as(&made, &[("id", "token_id"), ("token", "token"), ("expires", "expires_at")], json);
        Ok(())
    }
}
