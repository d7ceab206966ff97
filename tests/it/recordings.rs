//! Exchanges recorded from a real Daytona 0.190, replayed against ours.

mod control;
mod toolbox;
