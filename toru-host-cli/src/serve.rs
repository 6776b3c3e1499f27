//! `toru serve`

use toru_core::{Config, PluginSupervisor};

use crate::{args::Serve, failure::Failure, host::Host, signals::Signals};

/// A setting of tests: the numbers of streams begin after this one, so that they wrap under a load that a test can make.
const NUMBERS_VARIABLE: &str = "TORU_TEST_STREAM_NUMBERS_AFTER";

pub(crate) async fn run(args: Serve) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let mut config = Config::new(&args.plugins, &args.data);
    config.stream_numbers_after = stream_numbers_after()?;
    let supervisor = PluginSupervisor::builder(config).build().map_err(Failure::new)?;
    let host = Host::listen(supervisor, &args.data, &args.listen).await?;
    host.run(signals, |announcement| async move { announcement.tell_how_to_enter() }).await
}

fn stream_numbers_after() -> Result<Option<u32>, Failure> {
    let Some(text) = std::env::var_os(NUMBERS_VARIABLE) else { return Ok(None) };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Failure::new(format!("{NUMBERS_VARIABLE} is no number of 32 bits: {text:?}")))
}
