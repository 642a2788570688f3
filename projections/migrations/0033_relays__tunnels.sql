-- Where is the hub of each relay asked for tunnels through it?

ALTER TABLE relays ADD COLUMN tunnels text;
