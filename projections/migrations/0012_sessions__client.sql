-- What did people connect with?

ALTER TABLE sessions ADD COLUMN client text;
