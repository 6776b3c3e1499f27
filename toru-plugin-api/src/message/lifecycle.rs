//! The lifecycle conversation: init, ready, failed, ping, pong, draining, shutdown.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    MessageError, Parsed,
    envelope::{close, is_action, open, put_key, put_text},
    fields::Fields,
    json::{self, Reader, put_map, put_number, put_string},
};
use crate::frame::{
    Limits,
    limits::{MAX_WINDOW, MIN_MAX_DATA, MIN_MAX_MESSAGE},
};

/// How long a plugin may take for what is in flight, where `shutdown` does not say (protocol section 8).
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// The version of a handshake that names none.
const UNNAMED_PROTOCOL: u32 = 1;

/// The features of the protocol that a side may name in `init` and `ready`.
pub mod feature {
    /// Bodies may be streamed as DATA.
    pub const STREAMS: &str = "streams";
    /// HTTP heads may come as HEAD frames.
    pub const HEADS: &str = "heads";
    /// The plugin may send requests to its host.
    pub const HTTP_OUT: &str = "http-out";
    /// All that this crate speaks.
    pub const ALL: [&str; 3] = [STREAMS, HEADS, HTTP_OUT];
    /// What both sides offer unless they are told otherwise: all that needs nobody who answers a plugin's requests.
    pub const USUAL: [&str; 2] = [STREAMS, HEADS];
}

/// The names that a side offers: `[a-z0-9-]{1,32}` each, sorted, no name twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features(Vec<String>);

impl Features {
    /// Those of `names` that are well formed, in order; the rest is ignored, as unknown features are.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(names: I) -> Self {
        let mut names: Vec<String> = names
            .into_iter()
            .map(Into::into)
            .filter(|name| {
                (1..=32).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
            .collect();
        names.sort();
        names.dedup();
        Self(names)
    }

    /// Whether this side named it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }

    /// Those that `others` holds too.
    #[must_use]
    pub fn common(&self, others: &Self) -> Self {
        Self(self.iter().filter(|name| others.has(name)).map(str::to_owned).collect())
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// What the host tells a plugin first, on each link.
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    /// The version in force.
    pub protocol: u32,
    /// The instance id of the host (UUID v4).
    pub instance_id: String,
    /// The id of the plugin.
    pub plugin_id: String,
    /// The path of the plugin's socket; empty where it was inherited.
    pub plugin_socket: String,
    /// Where the host writes this plugin's log.
    pub log_path: String,
    /// A folder of the plugin's own.
    pub data_dir: String,
    /// The settings: the operator's over the manifest's. Empty on an extra link.
    pub config: Map<String, Value>,
    /// The number of an extra link; `None` on the first.
    pub link: Option<u32>,
    /// What the host speaks.
    pub features: Features,
    /// What the host accepts.
    pub limits: Limits,
}

/// A plugin's answer: it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Must equal that of `init`.
    pub protocol: u32,
    /// What the plugin speaks.
    pub features: Features,
    /// What the plugin accepts.
    pub limits: Limits,
}

/// A plugin's answer: it refuses to run. Not a crash, and not tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// A short code of the plugin's own.
    pub code: String,
    /// What the operator reads.
    pub message: String,
}

/// How a plugin says it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pong {
    /// The plugin says it works with less than it needs.
    pub degraded: bool,
    /// Why, in the plugin's words.
    pub detail: Option<String>,
}

/// A plugin wants a successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draining {
    /// Why, in the plugin's words.
    pub reason: String,
}

/// The host ends the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long the plugin may take for what is in flight.
    pub grace: Duration,
}

impl Init {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out, "lifecycle", None, "init");
        put_key(out, "protocol");
        put_number(out, self.protocol.into());
        put_text(out, "instance_id", &self.instance_id);
        put_text(out, "plugin_id", &self.plugin_id);
        put_text(out, "plugin_socket", &self.plugin_socket);
        put_text(out, "log_path", &self.log_path);
        put_text(out, "data_dir", &self.data_dir);
        if let Some(link) = self.link {
            put_key(out, "link");
            put_number(out, link.into());
        } else {
            put_key(out, "config");
            put_map(out, &self.config);
        }
        put_offer(out, &self.features, &self.limits);
        close(out);
    }
}

impl Ready {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out, "lifecycle", None, "ready");
        put_key(out, "protocol");
        put_number(out, self.protocol.into());
        put_offer(out, &self.features, &self.limits);
        close(out);
    }
}

impl Failed {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out, "lifecycle", None, "failed");
        put_text(out, "code", &self.code);
        put_text(out, "message", &self.message);
        close(out);
    }
}

/// Appends a ping.
pub fn encode_ping(out: &mut Vec<u8>) {
    open(out, "lifecycle", None, "ping");
    close(out);
}

impl Pong {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out, "lifecycle", None, "pong");
        put_text(out, "status", if self.degraded { "degraded" } else { "ok" });
        if let Some(detail) = &self.detail {
            put_text(out, "detail", detail);
        }
        close(out);
    }
}

impl Draining {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out, "lifecycle", None, "draining");
        put_text(out, "reason", &self.reason);
        close(out);
    }
}

impl Shutdown {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        open(out, "lifecycle", None, "shutdown");
        put_key(out, "grace_ms");
        put_number(out, u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX));
        close(out);
    }
}

fn put_offer(out: &mut Vec<u8>, features: &Features, limits: &Limits) {
    put_key(out, "features");
    out.push(b'[');
    for (index, name) in features.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_string(out, name);
    }
    out.push(b']');
    let numbers = [
        ("window", limits.window),
        ("max_streams", limits.max_streams),
        ("max_message", limits.max_message),
        ("max_data", limits.max_data),
    ];
    for (key, number) in numbers {
        put_key(out, key);
        put_number(out, number.into());
    }
}

/// Reads a payload of type `lifecycle`; `None`: an action that is not known here.
pub(super) fn read(action: Option<&str>, reader: &mut Reader<'_>) -> Result<Option<Parsed>, MessageError> {
    let is = |name| is_action(action, name);
    let parsed = if is("init") {
        Parsed::Init(Box::new(read_init(reader)?))
    } else if is("ready") {
        Parsed::Ready(read_ready(reader)?)
    } else if is("failed") {
        let mut fields = Fields::read(reader, &["type", "action", "code", "message"])?;
        let code = fields.required_string("code")?;
        Parsed::Failed(Failed { code, message: fields.required_string("message")? })
    } else if is("ping") {
        Fields::read(reader, &["type", "action"])?;
        Parsed::Ping
    } else if is("pong") {
        let mut fields = Fields::read(reader, &["type", "action", "status", "detail"])?;
        let degraded = fields.string("status")?.as_deref() == Some("degraded");
        Parsed::Pong(Pong { degraded, detail: fields.string("detail")? })
    } else if is("draining") {
        let mut fields = Fields::read(reader, &["type", "action", "reason"])?;
        Parsed::Draining(Draining { reason: fields.required_string("reason")? })
    } else if is("shutdown") {
        let mut fields = Fields::read(reader, &["type", "action", "grace_ms"])?;
        let grace = fields.number("grace_ms")?.map_or(DEFAULT_GRACE, Duration::from_millis);
        Parsed::Shutdown(Shutdown { grace })
    } else {
        return Ok(None);
    };
    Ok(Some(parsed))
}

fn read_init(reader: &mut Reader<'_>) -> Result<Init, MessageError> {
    let mut fields = Fields::read(
        reader,
        &[
            "type",
            "action",
            "protocol",
            "instance_id",
            "plugin_id",
            "plugin_socket",
            "log_path",
            "data_dir",
            "config",
            "link",
            "features",
            "window",
            "max_streams",
            "max_message",
            "max_data",
        ],
    )?;
    let protocol = read_u32(&mut fields, "protocol")?.unwrap_or(UNNAMED_PROTOCOL);
    // What version 1 does not have is empty there, and so is what an extra link need not repeat.
    let link = read_u32(&mut fields, "link")?;
    let optional = protocol == UNNAMED_PROTOCOL || link.is_some();
    let added = |fields: &mut Fields<'_>, name| match fields.string(name)? {
        None if optional => Ok(String::new()),
        found => found.ok_or(MessageError::MissingField(name)),
    };
    Ok(Init {
        protocol,
        instance_id: fields.required_string("instance_id")?,
        plugin_id: added(&mut fields, "plugin_id")?,
        plugin_socket: fields.required_string("plugin_socket")?,
        log_path: fields.required_string("log_path")?,
        data_dir: added(&mut fields, "data_dir")?,
        config: fields.map("config")?,
        link,
        features: read_features(&mut fields)?,
        limits: read_limits(&mut fields)?,
    })
}

fn read_ready(reader: &mut Reader<'_>) -> Result<Ready, MessageError> {
    let mut fields = Fields::read(
        reader,
        &["type", "action", "protocol", "features", "window", "max_streams", "max_message", "max_data"],
    )?;
    Ok(Ready {
        protocol: read_u32(&mut fields, "protocol")?.ok_or(MessageError::MissingField("protocol"))?,
        features: read_features(&mut fields)?,
        limits: read_limits(&mut fields)?,
    })
}

fn read_u32(fields: &mut Fields<'_>, field: &'static str) -> Result<Option<u32>, MessageError> {
    let Some(value) = fields.number(field)? else { return Ok(None) };
    u32::try_from(value).map(Some).map_err(|_| MessageError::LimitOutOfRange { field, value })
}

fn read_features(fields: &mut Fields<'_>) -> Result<Features, MessageError> {
    const WRONG: MessageError =
        MessageError::WrongType { field: "features", expected: "an array of strings" };
    let text = match fields.take("features") {
        None | Some(json::Value::Null) => return Ok(Features::default()),
        Some(json::Value::Array(text)) => text,
        Some(_) => return Err(WRONG),
    };
    let names: Vec<String> = serde_json::from_str(text).map_err(|_| WRONG)?;
    Ok(Features::new(names))
}

fn read_limits(fields: &mut Fields<'_>) -> Result<Limits, MessageError> {
    let default = Limits::DEFAULT;
    let mut limit = |field, default, least: u32, most: u32| {
        let Some(value) = fields.number(field)? else { return Ok(default) };
        if value < u64::from(least) || (most < u32::MAX && value > u64::from(most)) {
            return Err(MessageError::LimitOutOfRange { field, value });
        }
        // Who accepts more than a length field can say accepts all that it can.
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    };
    Ok(Limits {
        window: limit("window", default.window, 1, MAX_WINDOW)?,
        max_streams: limit("max_streams", default.max_streams, 1, MAX_WINDOW)?,
        max_message: limit("max_message", default.max_message, MIN_MAX_MESSAGE, u32::MAX)?,
        max_data: limit("max_data", default.max_data, MIN_MAX_DATA, u32::MAX)?,
    })
}
