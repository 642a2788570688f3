-- Who got in, who did not, which addresses were closed and opened?

CREATE TABLE logins (
    seq             bigint PRIMARY KEY,
    env_id          text NOT NULL,
    tenant          text NOT NULL,
    at              timestamptz NOT NULL,
    kind            text NOT NULL,
    ip              inet,
    username        text,
    method          text,
    class           text,
    entrance        text,
    key_fingerprint text,
    session_id      text,
    until           timestamptz
);
CREATE INDEX logins_env ON logins (env_id, seq);
CREATE INDEX logins_tenant ON logins (tenant, seq);
