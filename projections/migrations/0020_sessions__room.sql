-- A session's end is written where the session stands: room on its page keeps the indexes out of it.

ALTER TABLE sessions SET (fillfactor = 70);
