//! The systems: how each is started, where it answers, how it ends.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Outcome, load::Target};

/// nginx as a proxy to a Unix socket: one worker, keep-alive on both sides, no log.
const NGINX: &str = "\
daemon off;
worker_processes 1;
error_log stderr crit;
pid FOLDER/nginx.pid;
events { worker_connections 2048; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    upstream application {
        server unix:FOLDER/app.sock;
        keepalive 256;
        keepalive_requests 100000000;
    }
    server {
        listen 127.0.0.1:PORT;
        location / {
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }
    }
}
";

/// A system that runs. It ends when this is dropped.
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) target: Target,
    processes: Vec<Guard>,
    _folder: tempfile::TempDir,
}

impl System {
    /// The processes whose CPU counts, each with its descendants.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(|process| process.0.id())
    }
}

/// Kills the process's whole group when dropped.
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn new(process: Child) -> Self {
        Self(process)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SIGTERM to the group by the shell's own tool keeps this crate free of system calls.
        let group = format!("-{}", self.0.id());
        let told = Command::new("kill").args(["-TERM", "--", &group]).status();
        if !told.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// Starts a process and reads the line by which it says that it accepts.
fn start(command: &mut Command) -> Outcome<(Guard, String)> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn()?;
    let mut guard = Guard(child);
    let mut line = String::new();
    let stdout = guard.0.stdout.take().ok_or("stdout is not a pipe")?;
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        return Err(format!("{} ended before it accepted", command.get_program().display()).into());
    }
    Ok((guard, line.trim().to_owned()))
}

fn authority(line: &str) -> Outcome<String> {
    let authority = line.strip_prefix("listening on http://").ok_or_else(|| format!("unexpected: {line}"))?;
    Ok(authority.to_owned())
}

fn this_program() -> Outcome<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

pub(crate) fn axum_direct() -> Outcome<System> {
    let (guard, line) = start(this_program()?.args(["app", "--tcp", "127.0.0.1:0"]))?;
    Ok(System {
        name: "axum-direct",
        target: Target { authority: authority(&line)?, path: "/json".into(), header: None },
        processes: vec![guard],
        _folder: tempfile::tempdir()?,
    })
}

pub(crate) fn nginx_unix() -> Outcome<System> {
    let folder = tempfile::tempdir()?;
    let (app, _) = start(this_program()?.arg("app").arg("--unix").arg(folder.path().join("app.sock")))?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = folder.path().join("nginx.conf");
    let mut text =
        NGINX.replace("FOLDER", &folder.path().display().to_string()).replace("PORT", &port.to_string());
    if fs::metadata("/proc/self")?.uid() == 0 {
        // Else its worker gives root up, and may not enter the folder of the socket.
        text.insert_str(0, "user root;\n");
    }
    fs::write(&config, text)?;
    let nginx = Command::new("nginx")
        .arg("-c")
        .arg(&config)
        .args(["-e", "stderr"])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("nginx: {error}"))?;
    let authority = format!("127.0.0.1:{port}");
    let nginx = Guard(nginx);
    wait_until_it_accepts(&authority)?;
    Ok(System {
        name: "nginx-unix",
        target: Target { authority, path: "/json".into(), header: None },
        processes: vec![nginx, app],
        _folder: folder,
    })
}

/// nginx says nothing when it accepts.
fn wait_until_it_accepts(authority: &str) -> Outcome<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if TcpStream::connect(authority).is_ok() {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err(format!("nothing accepts at {authority}").into())
}

/// Copies a file, or the files of a folder.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    if from.is_file() {
        fs::copy(from, to)?;
        return Ok(());
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// An example plugin, as it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Plugin {
    Rust,
    Python,
}

impl Plugin {
    /// Its id, which is its route, too.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Rust => "hello-rust",
            Self::Python => "hello-python",
        }
    }

    /// Copies the example into this folder, which is made.
    fn install(self, folder: &Path) -> Outcome<()> {
        fs::create_dir_all(folder)?;
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (source, files): (_, &[&str]) = match self {
            Self::Rust => ("hello-plugin-rust", &["plugin.toml", "bundle.js"]),
            Self::Python => ("hello-plugin-python", &["plugin.toml", "bundle.js", "main.py", "toru"]),
        };
        for file in files {
            copy(&examples.join(source).join(file), &folder.join(file))?;
        }
        if self == Self::Rust {
            fs::copy(built("hello-plugin-rust")?, folder.join("hello-plugin-rust"))?;
        }
        Ok(())
    }
}

pub(crate) fn toru_json() -> Outcome<System> {
    toru("toru-json", Plugin::Rust, "/json")
}

/// The shipped `toru serve` with its default configuration, and one shipped example plugin.
pub(crate) fn toru(name: &'static str, plugin: Plugin, path: &str) -> Outcome<System> {
    toru_with(name, plugin.id(), path, |folder| plugin.install(folder))
}

/// The same with the plugin that is installed into the folder.
pub(crate) fn toru_with(
    name: &'static str,
    id: &str,
    path: &str,
    install: impl FnOnce(&Path) -> Outcome<()>,
) -> Outcome<System> {
    let folder = tempfile::tempdir()?;
    install(&folder.path().join("plugins").join(id))?;
    let token = "benchmark-token-of-more-than-32-characters";
    let (guard, line) = start(
        Command::new(built("toru")?)
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--plugins"])
            .arg(folder.path().join("plugins"))
            .arg("--data")
            .arg(folder.path().join("data"))
            .env("TORU_ADMIN_TOKEN", token)
            .stderr(Stdio::null()),
    )?;
    Ok(System {
        name,
        target: Target {
            authority: authority(&line)?,
            path: format!("/api/plugins/route/{id}{path}"),
            header: Some(format!("Authorization: Bearer {token}")),
        },
        processes: vec![guard],
        _folder: folder,
    })
}

/// Builds what is measured, as it is shipped.
pub(crate) fn build() -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--quiet",
            "-p",
            "toru-bench",
            "-p",
            "toru-host-cli",
            "-p",
            "hello-plugin-rust",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if built.success() { Ok(()) } else { Err("the build of what is to be measured failed".into()) }
}

/// A program beside this one.
fn built(name: &str) -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() { Ok(path) } else { Err(format!("{} is not built", path.display()).into()) }
}

pub(crate) fn nginx_configuration() -> &'static str {
    NGINX
}
