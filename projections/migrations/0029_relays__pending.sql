-- Which relays registered themselves and wait to be accepted?

ALTER TABLE relays ADD COLUMN pending boolean NOT NULL DEFAULT false;
