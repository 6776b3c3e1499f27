//! Both ends in memory, in simulated time; and one end against frames that a broken peer would send.

mod pair;
mod simple;

use pair::{Lone, Pair};
