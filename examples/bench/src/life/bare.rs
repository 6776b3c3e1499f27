//! A program's own start: as little as a host can do, so that the rest is the program.

use std::{
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};

use crate::{Outcome, cpu, process::Guard};

/// What a silent program may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest message that a program may send before it is ready.
const MESSAGE_MAX: usize = 1 << 20;

/// What a start cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// From the spawn to its `ready`.
    pub(super) time: Duration,
    /// The CPU of the process until then.
    pub(super) cpu: Duration,
}

/// Starts a plugin with a socket that holds the `init` already, and reads until it is ready.
pub(super) fn start(command: &mut Command, id: &str) -> Outcome<Start> {
    let (mut host, plugin) = UnixStream::pair()?;
    host.set_read_timeout(Some(PATIENCE))?;
    host.write_all(&init(id)?)?;
    // Nothing else is started meanwhile, which would inherit it too.
    fcntl_setfd(&plugin, FdFlags::empty())?;
    command.env("TORU_PLUGIN_FD", plugin.as_raw_fd().to_string()).env("TORU_PLUGIN_ID", id);
    command.env("TORU_PROTOCOL", "2").stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let process = Guard::spawn(command)?;
    drop(plugin);
    while !is_ready(&read_message(&mut host)?) {}
    Ok(Start { time: began.elapsed(), cpu: cpu::of_tree(process.pid())? })
}

/// Runs a program to its end.
pub(super) fn run(program: &Path, arguments: &[&str]) -> Outcome<Duration> {
    let began = Instant::now();
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).status()?;
    let time = began.elapsed();
    if status.success() { Ok(time) } else { Err(format!("{} ended with {status}", program.display()).into()) }
}

/// As a host with all features writes it.
fn init(id: &str) -> Outcome<Vec<u8>> {
    let message = json!({
        "type": "lifecycle",
        "timestamp": "2026-01-01T00:00:00Z",
        "payload": {
            "type": "lifecycle",
            "action": "init",
            "protocol": 2,
            "plugin_id": id,
            "instance_id": "00000000-0000-4000-8000-000000000000",
            "plugin_socket": "",
            "log_path": "",
            "data_dir": "",
            "config": {},
            "features": ["streams", "heads"],
        },
    });
    let message = serde_json::to_vec(&message)?;
    let mut framed = u32::try_from(message.len())?.to_be_bytes().to_vec();
    framed.extend(message);
    Ok(framed)
}

fn read_message(host: &mut UnixStream) -> Outcome<Value> {
    let mut length = [0; 4];
    host.read_exact(&mut length).map_err(|error| format!("the plugin did not get ready: {error}"))?;
    let length = usize::try_from(u32::from_be_bytes(length))?;
    if length > MESSAGE_MAX {
        return Err(format!("the plugin begins a message of {length} bytes").into());
    }
    let mut message = vec![0; length];
    host.read_exact(&mut message)?;
    Ok(serde_json::from_slice(&message)?)
}

fn is_ready(message: &Value) -> bool {
    message["payload"]["action"] == "ready"
}
