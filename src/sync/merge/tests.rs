//! Table of verdicts, row by row.
