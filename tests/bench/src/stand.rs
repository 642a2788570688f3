//! What is measured on? A NATS server with the product's configuration, ours and theirs on the same.

use harness::nats::{NatsServer, password_of};

pub struct Stand {
    server: NatsServer,
    pub ours: nats::Connection,
    pub theirs: async_nats::jetstream::Context,
}

impl Stand {
    /// With this configuration; the product's own has an acknowledged event on disk.
    pub async fn start(conf: &str) -> anyhow::Result<Self> {
        let server = NatsServer::start_with_users(conf).await?;
        connect(&server, "setup").await?.setup(1).await?;
        let ours = connect(&server, "api").await?;
        let theirs = async_nats::jetstream::new(client(&server, "api").await?);
        Ok(Self { ours, theirs, server })
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The bare library, as another service, with a connection of its own.
    pub async fn client(&self, user: &str) -> anyhow::Result<async_nats::Client> {
        client(&self.server, user).await
    }

    /// The same for streams.
    pub async fn raw(&self, user: &str) -> anyhow::Result<async_nats::jetstream::Context> {
        Ok(async_nats::jetstream::new(self.client(user).await?))
    }
}

pub async fn connect(server: &NatsServer, user: &str) -> anyhow::Result<nats::Connection> {
    let config = nats::Config {
        url: server.url(),
        user: user.to_owned(),
        password: password_of(user).into(),
        name: "bench".to_owned(),
    };
    Ok(nats::connect(&config).await?)
}

async fn client(server: &NatsServer, user: &str) -> anyhow::Result<async_nats::Client> {
    let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password_of(user));
    Ok(options.connect(server.url()).await?)
}
