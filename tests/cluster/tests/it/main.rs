//! The local Kubernetes, tested by starting it. The tests with a node need root.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod cloud;
#[cfg(test)]
mod command;
#[cfg(test)]
mod inside;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod nas;
#[cfg(test)]
mod node;
