//! The host over real sockets, with a supervisor on a folder of its own.

mod access;
mod api;
mod host;
mod kv;
mod limits;
mod pages;
mod plugin_routes;
