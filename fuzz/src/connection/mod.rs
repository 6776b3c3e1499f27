//! Operations on a link: one end against any frames, or both ends against whatever their applications do.

mod acts;
mod lone;
mod pair;

use std::time::Instant;

use toru_plugin_api::{
    frame::Limits,
    message::lifecycle::{Features, Init},
    proto::{Settings, Side},
};

/// The first byte chooses what is tried and which features are in force; what follows are operations.
pub fn connection(input: &[u8]) {
    let mut input = Input(input);
    let Some(setup) = input.byte() else { return };
    let features: &[&str] = if setup & 1 == 0 { &["streams"] } else { &["heads", "streams"] };
    match setup >> 1 & 3 {
        0 => lone::run(Side::Host, features, input),
        1 => lone::run(Side::Plugin, features, input),
        _ => pair::run(features, input),
    }
}

/// Small limits, so that short inputs pass them.
const LIMITS: Limits = Limits { window: 300, max_streams: 4, max_message: 65_536, max_data: 1_024 };

fn settings(features: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.limits = LIMITS;
    settings.features = Features::new(features.iter().copied());
    settings
}

fn init(features: &[&str]) -> Init {
    Init {
        protocol: 2,
        instance_id: String::new(),
        plugin_id: String::new(),
        plugin_socket: String::new(),
        log_path: String::new(),
        data_dir: String::new(),
        config: serde_json::Map::new(),
        link: None,
        features: Features::new(features.iter().copied()),
        limits: LIMITS,
    }
}

/// A fixed moment would do; the runs only look at differences.
fn start() -> Instant {
    Instant::now()
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
