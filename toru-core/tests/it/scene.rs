//! A folder of plugins and a supervisor over it.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use serde_json::Value;
use tempfile::TempDir;
use toru_core::{
    Config, PluginService, PluginSupervisor, RestartPolicy, RestartSettings,
    event::EventType,
    supervisor::{Builder, PluginStatus, StateName},
};
use tower_service::Service;

/// Ends what hangs. Ten times what the slowest test takes on a busy machine.
const HANG: Duration = Duration::from_secs(60);

/// Puts the inherited socket where `misbehave` looks for it.
const SOCKET_TO_STDIN: &str = r#"exec "$0" "$@" 0<&3 3<&-"#;

pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) config: Config,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        let mut config = Config::new(plugins, folder.path().join("data"));
        config.restart = quick_restarts();
        Self { folder, config }
    }

    /// A plugin that misbehaves in this mode; its route is its id.
    pub(crate) fn plugin(&self, id: &str, mode: &str) -> &Self {
        self.plugin_at(id, &format!("/{id}"), mode)
    }

    pub(crate) fn plugin_at(&self, id: &str, route: &str, mode: &str) -> &Self {
        let mut exec =
            vec!["sh".to_owned(), "-c".into(), SOCKET_TO_STDIN.into(), misbehave().display().to_string()];
        exec.extend(mode.split(' ').map(str::to_owned));
        let exec: Vec<String> = exec.into_iter().map(|arg| format!("'''{arg}'''")).collect();
        let exec = exec.join(", ");
        self.manifest(
            id,
            &format!("id = \"{id}\"\nname = \"{id}\"\nversion = \"1.0.0\"\nroute = \"{route}\"\nprotocol = 2\nexec = [{exec}]\n"),
        )
    }

    /// A plugin of the Rust SDK, which serves a link for each lane.
    pub(crate) fn sdk_plugin(&self, id: &str) -> &Self {
        let program = example("sdk").display().to_string();
        self.manifest(
            id,
            &format!("id = \"{id}\"\nname = \"{id}\"\nversion = \"1.0.0\"\nroute = \"/{id}\"\nprotocol = 2\nexec = ['sh', '-c', 'exec \"$0\"', '{program}']\n"),
        )
    }

    /// A plugin in this mode whose manifest has one more line.
    pub(crate) fn plugin_with(&self, id: &str, mode: &str, line: &str) -> &Self {
        self.plugin(id, mode);
        let path = self.config.plugins_dir.join(id).join("plugin.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}{line}\n")).unwrap();
        self
    }

    pub(crate) fn manifest(&self, id: &str, text: &str) -> &Self {
        let folder = self.config.plugins_dir.join(id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("plugin.toml"), text).unwrap();
        self
    }

    pub(crate) fn data(&self, path: &str) -> PathBuf {
        self.folder.path().join("data").join(path)
    }

    pub(crate) fn builder(&self) -> Builder {
        PluginSupervisor::builder(self.config.clone())
    }

    pub(crate) async fn start(&self) -> PluginSupervisor {
        let supervisor = self.builder().build().unwrap();
        supervisor.initialize().await.unwrap();
        supervisor
    }
}

/// As the default, but a thousand times faster.
pub(crate) fn quick_restarts() -> RestartPolicy {
    RestartPolicy::try_new(RestartSettings {
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(16),
        ..RestartSettings::default()
    })
    .unwrap()
}

/// At once, and as often as a test needs.
pub(crate) fn endless_restarts() -> RestartPolicy {
    RestartPolicy::try_new(RestartSettings {
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(1),
        max_in_a_row: 10_000,
        max_in_window: 10_000,
        ..RestartSettings::default()
    })
    .unwrap()
}

/// No restart while the test runs.
pub(crate) fn no_restarts() -> RestartPolicy {
    let hour = Duration::from_secs(3_600);
    RestartPolicy::try_new(RestartSettings {
        first_delay: hour,
        max_delay: hour,
        ..RestartSettings::default()
    })
    .unwrap()
}

pub(crate) fn misbehave() -> PathBuf {
    example("misbehave")
}

/// The example of this name beside this test's own program.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let target = own.parent().and_then(Path::parent).unwrap();
    let path = target.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not built: `cargo test` does it, with `--test` say `cargo build --examples` first",
        path.display()
    );
    path
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("this hangs")
}

pub(crate) async fn status_when(
    supervisor: &PluginSupervisor,
    id: &str,
    predicate: impl FnMut(&PluginStatus) -> bool + Send,
) -> PluginStatus {
    match tokio::time::timeout(HANG, supervisor.wait_until(id, predicate)).await {
        Ok(status) => status.unwrap(),
        Err(_) => panic!("{id} does not get there: {:?}", supervisor.status(id)),
    }
}

pub(crate) async fn running(supervisor: &PluginSupervisor, id: &str) -> PluginStatus {
    status_when(supervisor, id, |status| status.running).await
}

pub(crate) async fn in_state(supervisor: &PluginSupervisor, id: &str, state: StateName) -> PluginStatus {
    status_when(supervisor, id, |status| status.state == state).await
}

/// Failed for this reason, for good.
pub(crate) async fn failed(supervisor: &PluginSupervisor, id: &str) -> (String, String) {
    let reason = in_state(supervisor, id, StateName::Failed).await.reason.unwrap();
    (reason.code, reason.message)
}

/// All events of a plugin, oldest first.
pub(crate) async fn events(supervisor: &PluginSupervisor, id: &str) -> Vec<(EventType, Value)> {
    let stored = supervisor.events(id, 10_000).await.unwrap();
    let event = |stored: toru_core::store::StoredEvent| {
        (stored.event.event_type, Value::Object(stored.event.details))
    };
    stored.into_iter().rev().map(event).collect()
}

pub(crate) async fn details_of(supervisor: &PluginSupervisor, id: &str, wanted: EventType) -> Vec<Value> {
    let events = events(supervisor, id).await;
    events.into_iter().filter(|(event, _)| *event == wanted).map(|(_, details)| details).collect()
}

pub(crate) async fn get(service: &mut PluginService, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
    let response = within(service.call(request)).await.unwrap();
    let status = response.status();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Tells this binary, started by itself, that it runs one test alone.
const ALONE: &str = "TORU_TEST_ALONE";

/// Runs the test of this name in a process of its own, so that what it counts and measures is its own. Sockets by path are
/// made in a folder that must be empty afterwards.
pub(crate) fn alone(name: &str, test: impl Future<Output = ()>) {
    if std::env::var_os(ALONE).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(test);
    }
    let runtime_dir = tempfile::tempdir().unwrap();
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .env("XDG_RUNTIME_DIR", runtime_dir.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    // What was measured, for `--nocapture`.
    eprint!("{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(fs::read_dir(&runtime_dir).unwrap().count(), 0, "folders of sockets are left");
}

/// How often something is done; an environment variable makes it more than the default.
pub(crate) fn times(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

/// A line of /proc/self/status, in KiB.
fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The resident memory of this process from now on.
pub(crate) struct Memory {
    before: u64,
}

impl Memory {
    pub(crate) fn now() -> Self {
        // Resets the high-water mark (proc(5)).
        fs::write("/proc/self/clear_refs", "5").unwrap();
        Self { before: status_kib("VmRSS:") }
    }

    /// The most that it has ever grown by, in KiB.
    pub(crate) fn growth_kib(&self) -> u64 {
        status_kib("VmHWM:").saturating_sub(self.before)
    }
}

/// A process that is watched until it ends, whoever its parent is.
pub(crate) struct Watched {
    pidfd: Arc<OwnedFd>,
}

impl Watched {
    /// `None` when it has ended already.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Some(Self { pidfd: Arc::new(pidfd) }),
            Err(Errno::SRCH) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn gone(&self) {
        let pidfd = self.pidfd.clone();
        let ended = tokio::task::spawn_blocking(move || {
            let limit = Timespec::try_from(HANG).unwrap();
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap()
        });
        assert_eq!(ended.await.unwrap(), 1, "the process lives on");
    }
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}
