//! One end of a link, whose application does anything, against any frames.

mod acts;
mod lone;

use toru_plugin_api::{
    frame::Limits,
    message::lifecycle::Features,
    proto::{Settings, Side},
};

/// The first byte chooses the end and which features are in force; what follows are operations.
pub fn connection(input: &[u8]) {
    let mut input = Input(input);
    let Some(setup) = input.byte() else { return };
    let chosen = [(true, "streams"), (setup & 1 != 0, "heads"), (setup & 4 != 0, "http-out")];
    let features: Vec<&str> = chosen.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    let side = if setup & 2 == 0 { Side::Host } else { Side::Plugin };
    lone::run(side, &features, input);
}

/// Small limits, so that short inputs pass them.
const LIMITS: Limits = Limits { window: 300, max_streams: 4, max_message: 65_536, max_data: 1_024 };

fn settings(features: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.limits = LIMITS;
    settings.features = Features::new(features.iter().copied());
    settings
}

/// Bytes that are taken from the front; the run ends with them.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
