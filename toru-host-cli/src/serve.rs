//! `toru serve`

use toru_core::{Config, PluginSupervisor};

use crate::{args::Serve, failure::Failure, host::Host, signals::Signals};

pub(crate) async fn run(args: Serve) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let config = Config::new(&args.plugins, &args.data);
    let supervisor = PluginSupervisor::builder(config).build().map_err(Failure::new)?;
    let host = Host::listen(supervisor, &args.data, &args.listen).await?;
    host.run(signals, |announcement| async move { announcement.tell_how_to_enter() }).await
}
