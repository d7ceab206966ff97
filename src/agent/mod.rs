//! How a coding agent is started and how its output is read; knows nothing of Daytona.
