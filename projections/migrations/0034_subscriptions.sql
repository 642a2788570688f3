-- Who wants to be told of which events, how, and which deliveries are parked?

CREATE TABLE subscriptions (
    subscription_id text PRIMARY KEY,
    tenant          text NOT NULL,
    -- What is true of it after its events.
    state           jsonb NOT NULL,
    removed         boolean NOT NULL,
    -- It is to be delivered, by us.
    delivers        boolean NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    created_seq     bigint NOT NULL,
    seq             bigint NOT NULL
);
CREATE UNIQUE INDEX subscriptions_created_seq ON subscriptions (created_seq);
CREATE INDEX subscriptions_tenant ON subscriptions (tenant, created_seq);
CREATE INDEX subscriptions_delivers ON subscriptions (created_seq) WHERE delivers;
