//! One plugin alone, without a server, in a data folder that is thrown away: for `call` and `check`.

use std::time::Duration;

use tempfile::TempDir;
use toru_core::{
    Config, PluginSupervisor,
    supervisor::{PluginStatus, StateName},
};

use crate::{
    build::Source,
    failure::{Failure, why_not_running},
};

/// A plugin that runs alone. Dropped, it is killed.
pub(crate) struct Solo {
    supervisor: PluginSupervisor,
    status: PluginStatus,
    // Removed after the supervisor has let go of it.
    _data: TempDir,
}

impl Solo {
    /// Starts the plugin and waits until it is ready.
    pub(crate) async fn start(source: &Source, start_timeout: Duration) -> Result<Self, Failure> {
        let data = tempfile::Builder::new()
            .prefix("toru-")
            .tempdir()
            .map_err(|error| Failure::new(format!("no temporary folder can be made: {error}")))?;
        let mut config = Config::new(data.path().join("installed"), data.path().join("data"));
        config.start_timeout = start_timeout;
        let supervisor =
            PluginSupervisor::builder(config).source_dir(&source.dir).build().map_err(Failure::new)?;
        supervisor.initialize().await.map_err(Failure::new)?;
        let status = supervisor.wait_until(source.metadata.id(), is_settled).await.map_err(Failure::new)?;
        if status.state != StateName::Running {
            supervisor.shutdown().await;
            return Err(Failure::new(why_not_running(&status)));
        }
        Ok(Self { supervisor, status, _data: data })
    }

    pub(crate) fn supervisor(&self) -> &PluginSupervisor {
        &self.supervisor
    }

    /// How it was when it became ready.
    pub(crate) fn status(&self) -> &PluginStatus {
        &self.status
    }
}

/// The first start is decided: a plugin that would be tried again has failed here.
fn is_settled(status: &PluginStatus) -> bool {
    matches!(status.state, StateName::Running | StateName::Backoff | StateName::Failed)
}
