//! From a prepared plugin to a live one: sockets, environment, spawn, captured output, links.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};

use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::task::JoinHandle;
use toru_plugin_api::{
    message::lifecycle::{Features, Init, feature},
    metadata::Transport,
    proto,
};

use super::{
    folders::SocketFolder,
    host::{Host, absolute},
    links::{Links, LinksNews, Sockets},
    prepare::Prepared,
    state::Failure,
};
use crate::{
    lanes::Lanes,
    link::LinkSetup,
    log::PluginLog,
    process::{Exit, GroupSignal, Launch, Process, clean_environment},
};

/// The number that the first inherited descriptor gets in the plugin.
const FIRST_FD: usize = 3;

/// The highest version of the protocol that this host speaks, as the plugin is advised of it.
const HIGHEST_PROTOCOL: &str = "2";

/// How long the link's last news and the last lines of stderr may trail the exit. They are there at once, unless a process
/// that has left the group holds the other ends.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Spawns a plugin, captures its output and opens its first link. Dropping the future kills what it has spawned.
pub(super) async fn launch(host: Arc<Host>, prepared: Box<Prepared>) -> Result<Box<Live>, Failure> {
    let (sockets, inherit) = make_sockets(&prepared, &host.lanes)
        .map_err(|error| Failure::new("socket_failed", format!("its socket cannot be made: {error}")))?;
    let metadata = &prepared.definition.metadata;
    let socket_path = match &sockets {
        Sockets::Path(folder) => folder.socket().to_string_lossy().into_owned(),
        Sockets::Pairs { .. } => String::new(),
    };
    let launch = Launch {
        program: prepared.definition.program.clone(),
        cwd: prepared.definition.cwd.clone(),
        env: environment(&host, &prepared, &socket_path, inherit.len()),
        inherit,
    };
    let setup = link_setup(&host, &prepared, socket_path, metadata.id().into());
    let process =
        host.spawner.spawn(launch).await.map_err(|error| Failure::new(error.code, error.message))?;
    Live::open(process, sockets, &host.lanes, setup).map(Box::new)
}

/// What the system holds of what one end has written and the other has not read: some of the largest frames, so that neither end waits for
/// the other after each of them.
const SOCKET_BUFFER: usize = 1 << 20;

/// The host's ends, and those to be inherited.
fn make_sockets(prepared: &Prepared, lanes: &Lanes) -> io::Result<(Sockets, Vec<OwnedFd>)> {
    if prepared.protocol == 1 || prepared.definition.metadata.transport() == Transport::Path {
        return Ok((Sockets::Path(SocketFolder::create()?), Vec::new()));
    }
    let (first, theirs) = make_pair()?;
    let mut inherit = vec![theirs];
    let mut by_lane = Vec::new();
    for lane in lanes.snapshot() {
        let (ours, theirs) = make_pair()?;
        by_lane.push((lane, ours));
        inherit.push(theirs);
    }
    Ok((Sockets::Pairs { first, by_lane }, inherit))
}

/// The host's end, and the plugin's.
fn make_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    for end in [&ours, &theirs] {
        // The system may allow less, which is slower for large bodies and nothing else.
        let _ = set_socket_send_buffer_size(end, SOCKET_BUFFER);
    }
    Ok((ours, theirs.into()))
}

fn environment(
    host: &Host,
    prepared: &Prepared,
    socket_path: &str,
    inherited: usize,
) -> Vec<(OsString, OsString)> {
    let metadata = &prepared.definition.metadata;
    let mut env: BTreeMap<OsString, OsString> = clean_environment().into_iter().collect();
    env.extend(metadata.env().iter().map(|(name, value)| (name.into(), value.into())));
    // Last, so that a manifest cannot pretend another place.
    let mut own = |name: &str, value: &str| env.insert(name.into(), value.into());
    own("TORU_PLUGIN_ID", metadata.id());
    own("TORU_INSTANCE_ID", &host.instance_id);
    own("TORU_PROTOCOL", HIGHEST_PROTOCOL);
    if !socket_path.is_empty() {
        own("TORU_PLUGIN_SOCKET", socket_path);
    }
    if inherited > 0 {
        own("TORU_PLUGIN_FD", &FIRST_FD.to_string());
    }
    if inherited > 1 {
        let extra: Vec<String> = (FIRST_FD + 1..FIRST_FD + inherited).map(|fd| fd.to_string()).collect();
        own("TORU_PLUGIN_EXTRA_FDS", &extra.join(","));
    }
    env.into_iter().collect()
}

pub(super) fn link_setup(
    host: &Host,
    prepared: &Prepared,
    plugin_socket: String,
    plugin_id: Arc<str>,
) -> LinkSetup {
    let config = &host.config;
    let mut settings = proto::Settings::default();
    settings.response_timeout = config.response_timeout;
    settings.body_idle_timeout = config.body_idle_timeout;
    settings.kv_timeout = config.kv_timeout;
    settings.ping_interval = Some(config.ping_interval);
    settings.ping_unhealthy = config.ping_unhealthy;
    settings.ping_dead = config.ping_dead;
    if host.service.is_some() {
        settings.features = Features::new(feature::ALL);
    }
    if let Some(features) = prepared.definition.metadata.features() {
        settings.features = settings.features.common(&Features::new(features));
    }
    let log = host.logs.plugin(&plugin_id);
    let init = Init {
        protocol: prepared.protocol,
        instance_id: host.instance_id.clone(),
        plugin_id: plugin_id.to_string(),
        plugin_socket,
        log_path: absolute(log.path()).to_string_lossy().into_owned(),
        data_dir: prepared.data_dir.to_string_lossy().into_owned(),
        config: prepared.config.clone(),
        link: None,
        features: settings.features.clone(),
        limits: settings.limits,
    };
    LinkSetup {
        plugin_id,
        init,
        settings,
        stream_numbers_after: config.stream_numbers_after,
        kv: host.kv.clone(),
        store_timeout: config.kv_timeout,
        service: host.service.clone(),
        log,
        events: host.events.clone(),
    }
}

/// A process, its links and its captured output.
#[derive(Debug)]
pub(super) struct Live {
    process: Body,
    links: Links,
    log: PluginLog,
    captures: Vec<JoinHandle<()>>,
}

/// What the links lead to.
#[derive(Debug)]
enum Body {
    Child(Process),
    /// Nobody's child, which a developer started; its number, where the kernel names it.
    Attached(Option<u32>),
}

/// What `Live::next` tells.
#[derive(Debug)]
pub(super) enum LiveNews {
    Links(LinksNews),
    Exited(Exit),
    /// An attached process has ended or let go; which of the two, nobody knows.
    Gone,
}

impl Live {
    fn open(
        mut process: Process,
        sockets: Sockets,
        lanes: &Lanes,
        setup: LinkSetup,
    ) -> Result<Self, Failure> {
        let pid = process.pid();
        let log = setup.log.clone();
        let links = Links::open(sockets, lanes, setup, pid).map_err(|error| {
            Failure::new("socket_failed", format!("its socket cannot be driven: {error}"))
        })?;
        let mut captures = Vec::with_capacity(2);
        if let Some(pipe) = process.stdout.take() {
            let log = log.clone();
            captures.push(tokio::spawn(async move { log.capture_stdout(pid, pipe).await }));
        }
        if let Some(pipe) = process.stderr.take() {
            let log = log.clone();
            captures.push(tokio::spawn(async move { log.capture(pid, pipe).await }));
        }
        Ok(Self { process: Body::Child(process), links, log, captures })
    }

    /// Opens the one link to a process that a developer has started; what it prints stays in its terminal.
    pub(super) fn attached(
        socket: UnixStream,
        pid: Option<u32>,
        lanes: &Lanes,
        setup: LinkSetup,
    ) -> io::Result<Self> {
        let log = setup.log.clone();
        let sockets = Sockets::Pairs { first: socket, by_lane: Vec::new() };
        let links = Links::open(sockets, lanes, setup, pid.unwrap_or_default())?;
        Ok(Self { process: Body::Attached(pid), links, log, captures: Vec::new() })
    }

    /// `None` for an attached process that the kernel does not name.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.process {
            Body::Child(process) => Some(process.pid()),
            Body::Attached(pid) => *pid,
        }
    }

    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    pub(super) fn signal(&self, signal: GroupSignal) {
        if let Body::Child(process) = &self.process {
            process.signal(signal);
        }
    }

    /// What happens next. Cancel safe.
    pub(super) async fn next(&mut self) -> LiveNews {
        match &mut self.process {
            Body::Child(process) => tokio::select! {
                exit = process.wait() => LiveNews::Exited(exit),
                news = self.links.next() => LiveNews::Links(news),
            },
            Body::Attached(_) if self.links.is_lost() => LiveNews::Gone,
            Body::Attached(_) => LiveNews::Links(self.links.next().await),
        }
    }

    /// After the exit: what the links still had to tell, and the tail of stderr.
    pub(super) async fn last_words(&mut self) -> (Vec<LinksNews>, Option<String>) {
        self.links.process_ended();
        let deadline = tokio::time::Instant::now() + LAST_WORDS;
        let mut news = Vec::new();
        while !self.links.is_lost() {
            match tokio::time::timeout_at(deadline, self.links.next()).await {
                Ok(told) => news.push(told),
                Err(_) => break,
            }
        }
        for capture in &mut self.captures {
            if tokio::time::timeout_at(deadline, capture).await.is_err() {
                break;
            }
        }
        (news, self.pid().and_then(|pid| self.log.tail(pid)))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.links.close();
    }
}
