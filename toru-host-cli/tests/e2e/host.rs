//! `toru serve`, and what it says of its plugins.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use crate::{
    client::{Client, HANG, TOKEN, within},
    place::Place,
};

/// A host that serves. Dropped, it is killed.
pub(crate) struct Host {
    child: Child,
    address: SocketAddr,
    stderr: Lines<BufReader<ChildStderr>>,
    /// What was read while something else was awaited.
    unclaimed: Vec<String>,
}

impl Host {
    /// Starts the binary on the place's folders, and returns once it accepts.
    pub(crate) async fn start(place: &Place) -> Self {
        Self::start_with(place, &[]).await
    }

    /// As `start`, with so many threads that serve.
    pub(crate) async fn on_threads(place: &Place, threads: usize) -> Self {
        let more = ["--threads", &threads.to_string()];
        Self::start_with(place, &more).await
    }

    /// As `start`, with these options.
    pub(crate) async fn start_with(place: &Place, options: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_toru")), place, options).await
    }

    /// As `start`, by a command to which the arguments of `toru`, and more, are added.
    pub(crate) async fn start_by(mut command: Command, place: &Place, more: &[&str]) -> Self {
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--plugins"])
            .arg(place.plugins())
            .arg("--data")
            .arg(place.data())
            .args(more)
            .env("TORU_ADMIN_TOKEN", TOKEN)
            .env("TORU_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        let line = within(stdout.next_line()).await.unwrap().expect("the host ended before it listened");
        let address = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        Self { child, address: address.parse().unwrap(), stderr, unclaimed: Vec::new() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn client(&self) -> Client {
        Client(self.address)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().expect("it was not waited for").try_into().unwrap()
    }

    /// Waits until the host tells an event of a plugin, which begins like this. Each is claimed once.
    pub(crate) async fn event(&mut self, id: &str, event: &str) -> String {
        let (event, plugin) = (format!(": {event}"), format!("plugin=\"{id}\""));
        let is_it = |line: &String| line.contains(&event) && line.contains(&plugin);
        if let Some(at) = self.unclaimed.iter().position(is_it) {
            return self.unclaimed.remove(at);
        }
        let told = timeout(HANG, async {
            loop {
                match self.stderr.next_line().await.unwrap() {
                    Some(line) if is_it(&line) => return Some(line),
                    Some(line) => self.unclaimed.push(line),
                    None => return None,
                }
            }
        });
        match told.await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the host ended without `{event}` of {id}: {:#?}", self.unclaimed),
            Err(_) => panic!("the host does not tell `{event}` of {id}: {:#?}", self.unclaimed),
        }
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        within(self.child.kill()).await.unwrap();
    }

    /// SIGTERM, and the end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_raw(self.pid()).unwrap(), Signal::TERM).unwrap();
        let Self { child, stderr, .. } = &mut self;
        within(async {
            // Read on, so that the host never waits for its reader.
            while stderr.next_line().await.unwrap().is_some() {}
            child.wait().await.unwrap()
        })
        .await
    }
}

fn lines<R: AsyncRead + Unpin>(pipe: R) -> Lines<BufReader<R>> {
    BufReader::new(pipe).lines()
}
