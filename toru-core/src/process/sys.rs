//! The only unsafe code of this crate.
