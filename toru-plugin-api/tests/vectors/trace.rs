//! What a golden vector of kind `trace` says.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use toru_plugin_api::{frame::Limits, message::lifecycle::Features};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trace {
    pub(super) name: String,
    pub(super) side: String,
    #[serde(default, rename = "simple")]
    pub(super) _simple: bool,
    #[serde(default)]
    pub(super) start: Start,
    #[serde(default)]
    pub(super) own: Offer,
    #[serde(default)]
    pub(super) peer: Offer,
    #[serde(default)]
    pub(super) last: Last,
    pub(super) steps: Vec<Step>,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Start {
    #[default]
    Ready,
    Fresh,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    pub(super) features: Option<Vec<String>>,
    pub(super) window: Option<u32>,
    pub(super) max_streams: Option<u32>,
    pub(super) max_message: Option<u32>,
    pub(super) max_data: Option<u32>,
}

impl Offer {
    pub(super) fn features(&self) -> Features {
        self.features.clone().map_or_else(|| Features::new(["streams"]), Features::new)
    }

    pub(super) fn limits(&self) -> Limits {
        let default = Limits::DEFAULT;
        Limits {
            window: self.window.unwrap_or(default.window),
            max_streams: self.max_streams.unwrap_or(default.max_streams),
            max_message: self.max_message.unwrap_or(default.max_message),
            max_data: self.max_data.unwrap_or(default.max_data),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    pub(super) own: Option<u32>,
    pub(super) peer: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(super) enum Step {
    In(Value),
    Out(Value),
    Do(Act),
    Streams(BTreeMap<String, (String, String)>),
    Error(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "act", rename_all = "snake_case")]
pub(super) enum Act {
    Ready,
    Fail { code: String, message: String },
    Request { stream: u32, method: String, path: String, headers: Vec<(String, String)>, body: Value },
    Respond { stream: u32, status: u16, headers: Vec<(String, String)>, body: Value },
    CallKv { stream: u32, key: String },
    AnswerKv { stream: u32, value: Option<String> },
    Send { stream: u32, bytes: Value },
    Finish { stream: u32 },
    Read { stream: u32, bytes: usize, then: String },
    Reset { stream: u32, code: u8 },
    Wait { ms: u64 },
    Last { own: Option<u32>, peer: Option<u32> },
    Together { acts: Vec<Act> },
}
