//! Everything that needs a real Kubernetes: what a user sees, and what the API server saw of it.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod images;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod live;
#[cfg(test)]
mod quick_start;
#[cfg(test)]
mod reads_only;
#[cfg(test)]
mod still_unready;
#[cfg(test)]
mod tutorial;
