-- Which tenants have their terminals recorded?

ALTER TABLE quotas ADD COLUMN recording boolean NOT NULL DEFAULT false;
