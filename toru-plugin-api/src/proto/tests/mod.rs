//! Both ends in memory, in simulated time; and one end against frames that a broken peer would send.

mod credit;
mod flow;
mod handshake;
mod health;
mod http;
mod http_out;
mod kv;
mod lifecycle;
mod operations;
mod order;
mod pair;
mod simple;
mod streams;
mod timers;
mod tunnels;

use pair::{Lone, Pair};
