//! What the fuzzer chooses: the limits of both ends, and the list of operations.

use arbitrary::Arbitrary;
use toru_plugin_api::{
    frame::Limits,
    message::lifecycle::Features,
    proto::{Settings, Side},
};

/// No chunk is longer: a few windows, and a body that is not inline.
const MAX_SIZE: usize = 12_000;
/// No window is larger, so that short lists of operations meet its end.
const MAX_WINDOW: u32 = 8_192;

/// A run: two ends, and what happens to them.
#[derive(Debug, Arbitrary)]
pub(super) struct Plan {
    heads: bool,
    pub(super) http_out: bool,
    /// The stream numbers of both sides begin shortly before their end.
    pub(super) wrap: bool,
    host: Accepts,
    plugin: Accepts,
    pub(super) operations: Vec<Operation>,
}

/// What one side accepts.
#[derive(Debug, Arbitrary)]
struct Accepts {
    window: u16,
    max_streams: u8,
    max_data: u16,
}

impl Plan {
    /// The settings of one end.
    pub(super) fn settings(&self, side: Side) -> Settings {
        let accepts = match side {
            Side::Host => &self.host,
            Side::Plugin => &self.plugin,
        };
        let mut settings = Settings::default();
        settings.limits = Limits {
            window: u32::from(accepts.window) % MAX_WINDOW + 1,
            max_streams: u32::from(accepts.max_streams) % 8 + 1,
            max_message: 65_536,
            // The least that the handshake allows is 1,024.
            max_data: u32::from(accepts.max_data) % 8_192 + 1_024,
        };
        let features = [(true, "streams"), (self.heads, "heads"), (self.http_out, "http-out")];
        settings.features = Features::new(features.iter().filter(|(on, _)| *on).map(|(_, name)| *name));
        settings.ping_interval = None;
        settings
    }
}

/// One of the ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(super) enum End {
    Host,
    Plugin,
}

impl From<End> for Side {
    fn from(end: End) -> Self {
        match end {
            End::Host => Self::Host,
            End::Plugin => Self::Plugin,
        }
    }
}

/// Which of several an operation means: taken modulo their number.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) struct Pick(u8);

impl Pick {
    /// `None`: there is none.
    pub(super) fn of<T>(self, all: &[T]) -> Option<usize> {
        usize::from(self.0).checked_rem(all.len())
    }
}

/// How much.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) struct Size(u16);

impl Size {
    pub(super) fn get(self) -> usize {
        usize::from(self.0) % MAX_SIZE
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum RequestForm {
    Empty,
    Head,
    Full,
    Stream,
    /// Streamed, with this content-length.
    Declared,
    Tunnel,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum AnswerForm {
    Empty,
    Full,
    Stream,
    /// Streamed, with this content-length.
    Declared,
    /// 204 with a body, which is discarded.
    NoContent,
    /// 101, though it may not have been offered.
    Tunnel,
    /// 103, for which the protocol has no form.
    Interim,
}

#[derive(Debug, Arbitrary)]
pub(super) enum Operation {
    Request(End, RequestForm, Size),
    Respond(End, Pick, AnswerForm, Size),
    Call(End, Size),
    AnswerCall(End, Pick, Size),
    Send(End, Pick, Size),
    Finish(End, Pick),
    Read(End, Pick),
    Discard(End, Pick),
    Reset(End, Pick),
    HangUp(End, Pick),
    Transmit(End, Size),
    Arrive(End, Size),
    /// Bytes move until there are none under way.
    Rest,
    Wait {
        millis: u16,
    },
    Notice,
    Shutdown,
}
