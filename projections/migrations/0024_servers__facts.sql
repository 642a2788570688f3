-- What a server said of itself, and the accounts that are kept there.
ALTER TABLE servers ADD COLUMN facts jsonb;
ALTER TABLE servers ADD COLUMN facts_at timestamptz;
ALTER TABLE servers ADD COLUMN accounts jsonb NOT NULL DEFAULT '{}';
-- When the first change of an account that has not ended must have ended.
ALTER TABLE servers ADD COLUMN account_due timestamptz;
CREATE INDEX servers_account_due ON servers (account_due) WHERE account_due IS NOT NULL;
