//! A supervisor inside this process, as an embedder has it, over a folder of plugins.

use std::{fs, path::Path, sync::Arc, time::Duration};

use toru_core::{
    Config, PluginSupervisor, RestartPolicy, RestartSettings,
    store::MemoryStateStore,
    supervisor::{Builder, PluginStatus, StateName},
};

use crate::{
    Outcome,
    system::{Heads, Host, Plugin},
};

/// What any step here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends its plugins when it is dropped.
pub(super) struct Scene {
    pub(super) supervisor: PluginSupervisor,
    _host: Host,
}

impl Scene {
    /// Over the folder of installed plugins.
    pub(super) fn new(host: Host) -> Outcome<Self> {
        let supervisor = builder(&host)?.build()?;
        Ok(Self { supervisor, _host: host })
    }

    /// Over the source folder of one plugin, whose `[dev]` table may name a program anywhere.
    pub(super) fn from_source(host: Host, install: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<Self> {
        let source = host.plugins().with_file_name("source");
        install(&source)?;
        let supervisor = builder(&host)?.source_dir(source).build()?;
        Ok(Self { supervisor, _host: host })
    }

    /// Resolves when a plugin is in this state.
    pub(super) async fn until(&self, id: &str, state: StateName) -> Outcome<PluginStatus> {
        self.until_status(id, |status| status.state == state).await
    }

    pub(super) async fn until_status(
        &self,
        id: &str,
        is: impl Fn(&PluginStatus) -> bool + Send,
    ) -> Outcome<PluginStatus> {
        let reached = self.supervisor.wait_until(id, is);
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                let status = self.supervisor.status(id);
                Err(format!("{id} is stuck: {:?}", status.map(|status| (status.state, status.reason))).into())
            }
        }
    }
}

/// What the operator wants is kept in memory, so that no disk is measured with a start; a crash is followed by a start after 1 ms,
/// for ever.
fn builder(host: &Host) -> Outcome<Builder> {
    let mut config = Config::new(host.plugins(), host.data());
    let first_delay = Duration::from_millis(1);
    config.restart = RestartPolicy::try_new(RestartSettings {
        first_delay,
        max_delay: first_delay,
        max_in_a_row: 10_000,
        max_in_window: 10_000,
        ..RestartSettings::default()
    })?;
    Ok(PluginSupervisor::builder(config).state_store(Arc::new(MemoryStateStore::default())))
}

/// The id of a copy.
pub(super) fn id(copy: usize) -> String {
    format!("hello-{copy:03}")
}

/// A host's folders with so many copies of the Rust example; their program lies on the disk once.
pub(super) fn host_with(copies: usize) -> Outcome<Host> {
    const PROGRAM: &str = "hello-plugin-rust";
    let host = Host::empty()?;
    let folder = |copy: usize| host.plugins().join(id(copy));
    for copy in 0..copies {
        Plugin::Rust.install(&folder(copy), &id(copy), Heads::AsShipped)?;
        if copy > 0 {
            link(&folder(0).join(PROGRAM), &folder(copy).join(PROGRAM))?;
        }
    }
    Ok(host)
}

fn link(from: &Path, to: &Path) -> Outcome<()> {
    fs::remove_file(to)?;
    Ok(fs::hard_link(from, to)?)
}
