//! A znode tree for tests: a sorted map of whole paths, or the part of it that one partition owns.
//! Slow and plain on purpose; panics where an operation asks for what the partition cannot know.
//! Called by the tests of `apply`, `read` and `watch`.
