//! One run over there: it outlives us.
