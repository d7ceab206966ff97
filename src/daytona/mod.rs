//! The client of the Daytona API: no printing, no policy.

pub mod script;
