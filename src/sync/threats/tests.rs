//! Table of threats, row by row.
