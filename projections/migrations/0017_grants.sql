-- Who may do what on which servers, and which groups of people are there?

CREATE TABLE grants (
    tenant     text NOT NULL,
    -- `server:<id>`, `zone:<zone>`, `group:<group>` or `label:<key>=<value>`
    scope      text NOT NULL,
    servers    jsonb NOT NULL,
    grants     jsonb NOT NULL,
    updated_at timestamptz NOT NULL,
    seq        bigint NOT NULL,
    PRIMARY KEY (tenant, scope)
);
CREATE UNIQUE INDEX grants_seq ON grants (seq);

CREATE TABLE people_groups (
    tenant     text NOT NULL,
    name       text NOT NULL,
    members    text[] NOT NULL,
    updated_at timestamptz NOT NULL,
    seq        bigint NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE UNIQUE INDEX people_groups_seq ON people_groups (seq);
