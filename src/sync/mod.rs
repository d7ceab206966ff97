//! Between the two sides: what has to travel, how, and what may come back.

pub mod merge;
pub mod threats;
