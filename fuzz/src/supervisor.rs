//! What happens to a plugin, in any order: the state machine of the supervisor.

use toru_core::fuzzing::run_schedule;

use crate::ends::start;

/// The first byte chooses how it ends, each of the others one thing that happens. The promises are those of the tests in
/// simulated time: one process at most, exact delays, and the last wish is obeyed.
pub fn supervisor(input: &[u8]) {
    run_schedule(input, start());
}
