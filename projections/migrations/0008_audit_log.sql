-- What happened, to what, by whom? A row an event, never changed.

CREATE TABLE audit_log (
    seq            bigint PRIMARY KEY,
    time           timestamptz NOT NULL,
    tenant         text NOT NULL,
    kind           text NOT NULL,
    aggregate_id   text NOT NULL,
    type           text NOT NULL,
    version        integer NOT NULL,
    actor          text NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id   uuid,
    event_id       uuid NOT NULL,
    data           jsonb NOT NULL
);
CREATE INDEX audit_log_tenant ON audit_log (tenant, seq);
CREATE INDEX audit_log_aggregate ON audit_log (kind, aggregate_id, seq);
-- Times grow with the sequence, so a summary per block range finds a span.
CREATE INDEX audit_log_time ON audit_log USING brin (time);
