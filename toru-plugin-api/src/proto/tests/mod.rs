//! Both ends in one test.
