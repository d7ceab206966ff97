//! From a chain of causes to an exit code and hints.
