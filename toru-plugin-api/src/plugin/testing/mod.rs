//! A plugin in memory, against a host side.
