//! Runs against a server in memory, on a clock that jumps.

mod bench;
mod binding;
mod kill;
mod order;
mod waiting;

use bench::{Bench, config_map, deployment, id};
