//! Media server.
