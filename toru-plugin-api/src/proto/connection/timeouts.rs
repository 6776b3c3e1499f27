//! Time passes.

use std::time::Instant;

use super::{Connection, Handled, Side};
use crate::{
    frame::ResetCode,
    message::lifecycle::encode_ping,
    proto::{Event, health::Tick, timer::Timer},
};

impl Connection {
    /// `next_timeout` has come.
    ///
    /// # Errors
    /// None so far: a peer that is silent is told of by events.
    pub fn handle_timeout(&mut self, now: Instant) -> Handled {
        if self.closed {
            return Ok(());
        }
        // Each expired timer is stopped with its stream, so this ends.
        while let Some((timer, id)) = self.timers.due(now) {
            let code = match timer {
                Timer::Response | Timer::Kv => ResetCode::TIMED_OUT,
                // The client has gone silent, which is not the plugin's fault.
                Timer::BodyIdle => ResetCode::CANCELLED,
            };
            self.expire_stream(id, code);
        }
        match self.pings.tick(now, self.peer_can_answer()) {
            Some(Tick::Ping) => {
                encode_ping(self.queue.draft());
                self.queue.message();
            }
            Some(Tick::Missed(missed)) => self.events.push_back(Event::PingsMissed(missed)),
            Some(Tick::Skip) | None => {}
        }
        Ok(())
    }

    /// A plugin that serves one stream at a time cannot answer a ping meanwhile; once the host has sent RESET for that
    /// stream, it must.
    fn peer_can_answer(&self) -> bool {
        debug_assert!(self.side == Side::Host || self.pings.next().is_none(), "only the host pings");
        self.peer.max_streams > 1
            || self
                .streams
                .iter()
                .all(|(id, stream)| stream.closed || stream.reset_sent || !self.ids.is_own(id))
    }
}
