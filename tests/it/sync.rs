//! The scripts of a sync, run directly against folders of this machine by each shell and toolbox it has.

mod bases;
mod capture;
mod edits;
mod history;
mod kills;
mod model;
mod nogit;
mod refusals;
mod since;
mod trees;
