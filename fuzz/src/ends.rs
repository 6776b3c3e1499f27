//! What both targets of connections begin with.

use std::time::Instant;

use toru_plugin_api::{message::lifecycle::Init, proto::Settings};

/// The `init` of a host with these settings; its texts have no meaning here.
pub(crate) fn init(settings: &Settings) -> Init {
    Init {
        protocol: 2,
        instance_id: String::new(),
        plugin_id: String::new(),
        plugin_socket: String::new(),
        log_path: String::new(),
        data_dir: String::new(),
        config: serde_json::Map::new(),
        link: None,
        features: settings.features.clone(),
        limits: settings.limits,
    }
}

/// A fixed moment would do; the runs only look at differences.
pub(crate) fn start() -> Instant {
    Instant::now()
}
