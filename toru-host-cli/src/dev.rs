//! `toru dev`

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::task::JoinSet;
use toru_core::{
    Config, PluginSupervisor, SupervisorError,
    supervisor::{PluginStatus, StateName},
};

use crate::{
    args::Dev,
    attach::{self, Attach},
    build::Source,
    failure::{Failure, why_not_running},
    host::{Announcement, Host},
    signals::Signals,
    speak::{say, tell},
};

/// Inside the data folder: where plugins would be installed. `dev` installs none.
const INSTALLED: &str = "installed";

pub(crate) async fn run(args: Dev) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let sources = args.dirs.iter().map(|dir| Source::read(dir)).collect::<Result<Vec<_>, _>>()?;
    check_ids(&sources)?;
    attach::check(&args.attach, sources.iter().map(|source| source.metadata.id()))?;
    for source in &sources {
        signals.unless(source.build()).await?;
    }
    let mut config = Config::new(args.data.join(INSTALLED), &args.data);
    config.start_timeout = args.start.timeout;
    let builder = sources
        .iter()
        .fold(PluginSupervisor::builder(config), |builder, source| builder.source_dir(&source.dir));
    let builder = args.attach.iter().fold(builder, |builder, Attach { id, path }| builder.attach(id, path));
    let supervisor = builder.build().map_err(|error| match error {
        SupervisorError::Config(_) => Failure::usage(error),
        error => Failure::new(error),
    })?;
    let host = Host::listen(supervisor, &args.data, &args.listen).await?;
    let logs = args.data.join("logs/plugins");
    host.run(signals, |announcement| announce(announcement, sources, args.attach, logs)).await
}

/// One host has one plugin of an id.
fn check_ids(sources: &[Source]) -> Result<(), Failure> {
    let mut folders: HashMap<&str, &Path> = HashMap::new();
    for source in sources {
        let id = source.metadata.id();
        if let Some(first) = folders.insert(id, &source.dir) {
            return Err(Failure::usage(format!(
                "{} and {} are both the plugin {id:?}: name one of them, or change the `id` of the other",
                first.display(),
                source.dir.display()
            )));
        }
    }
    Ok(())
}

/// Tells the links, then of each plugin when it answers and when it fails.
async fn announce(announcement: Announcement, sources: Vec<Source>, attached: Vec<Attach>, logs: PathBuf) {
    for source in &sources {
        let metadata = &source.metadata;
        say(format_args!("{}: {}/api/plugins/route{}/", metadata.id(), announcement.base, metadata.route()));
    }
    announcement.tell_how_to_enter();
    tell(format_args!("what a plugin prints is in {}", logs.join("<id>.log").display()));
    let mut followed = JoinSet::new();
    for source in &sources {
        let id = source.metadata.id();
        let attach = attached.iter().find(|attach| attach.id == id);
        let by_hand =
            attach.map(|attach| ByHand { attach: attach.clone(), line: attach.how_to_start(source) });
        let is_enabled = announcement.supervisor.status(id).is_some_and(|status| status.enabled);
        if let Some(by_hand) = by_hand.as_ref().filter(|_| is_enabled) {
            tell(&by_hand.line);
        }
        let (supervisor, base) = (announcement.supervisor.clone(), announcement.base.clone());
        followed.spawn(Followed { supervisor, base, by_hand }.follow(id.to_owned()));
    }
    while followed.join_next().await.is_some() {}
}

/// A plugin that a developer starts.
struct ByHand {
    attach: Attach,
    /// How.
    line: String,
}

/// One plugin of whose changes is told.
struct Followed {
    supervisor: Arc<PluginSupervisor>,
    base: String,
    by_hand: Option<ByHand>,
}

impl Followed {
    /// Tells each change between answering and not, until the plugin is gone.
    async fn follow(self, id: String) {
        let mut told: Option<PluginStatus> = None;
        loop {
            let is_news = |status: &PluginStatus| {
                let before = told.as_ref();
                is_settled(status)
                    && before.is_none_or(|before| {
                        (before.state, before.pid, &before.reason, before.restarts)
                            != (status.state, status.pid, &status.reason, status.restarts)
                    })
            };
            let Ok(status) = self.supervisor.wait_until(&id, is_news).await else { return };
            match (status.state, &self.by_hand) {
                (StateName::Running, None) => tell(format_args!("{id}: ready")),
                (StateName::Running, Some(by_hand)) => tell(by_hand.attach.attached(status.pid)),
                (StateName::Stopped, _) => {
                    tell(format_args!(
                        "{id}: disabled; enable it by POST {}/api/plugins/{id}/enable with the admin token",
                        self.base
                    ));
                    let enabled = self.supervisor.wait_until(&id, |status| status.enabled).await;
                    if let (Ok(_), Some(by_hand)) = (enabled, &self.by_hand) {
                        tell(&by_hand.line);
                    }
                }
                (_, None) => tell(why_not_running(&status)),
                (_, Some(by_hand)) => {
                    tell(format_args!("{}\n{}", why_not_running(&status), by_hand.attach.waits_again()))
                }
            }
            told = Some(status);
        }
    }
}

fn is_settled(status: &PluginStatus) -> bool {
    match status.state {
        StateName::Running | StateName::Backoff | StateName::Failed => true,
        StateName::Stopped => !status.enabled,
        _ => false,
    }
}
