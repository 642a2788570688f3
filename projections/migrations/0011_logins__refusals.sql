-- How often was a closed address turned away? From `at` to `until`, in rows of kind `refused`.

ALTER TABLE logins ADD COLUMN count bigint;
