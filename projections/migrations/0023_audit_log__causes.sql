-- An event is found by its id, and everything that one request set in motion by the request's.

CREATE INDEX audit_log_event ON audit_log USING hash (event_id);
CREATE INDEX audit_log_correlation ON audit_log USING hash (correlation_id);
