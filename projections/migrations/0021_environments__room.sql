-- An environment's row is written again and again: room on its page keeps the indexes out of it.

ALTER TABLE environments SET (fillfactor = 70);
