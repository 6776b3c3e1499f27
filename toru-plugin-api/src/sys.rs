//! The only unsafe code of this crate: adopting the socket that the host passed on.
