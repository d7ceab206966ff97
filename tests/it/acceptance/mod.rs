//! What a user may rely on when things are odd, hostile or go wrong.

mod beside;
mod edges;
mod endings;
mod failures;
mod ground_trouble;
mod held;
mod inside;
mod liars;
mod moved;
mod patches;
mod readers;
mod rows;
mod toolchains;
mod trees;
mod verdicts;
