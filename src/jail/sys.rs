//! System calls no crate wraps.
