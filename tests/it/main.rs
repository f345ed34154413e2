//! Integration tests.

#[cfg(test)]
mod live;
