-- Which commands does each relay have at this moment?

CREATE INDEX commands_in_flight ON commands (relay_id) WHERE status = 'dispatched';
