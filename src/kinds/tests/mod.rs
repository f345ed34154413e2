//! Tables and properties over the rules of all kinds.
