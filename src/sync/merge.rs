//! Pure: what has to happen to each path.
