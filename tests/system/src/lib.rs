//! What do stories through the public surface need? See `tests/stories`; there is nothing else here.
