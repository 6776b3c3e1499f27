//! Running the binary, and plugins for it.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// No test takes as long; a hang ends with what was awaited.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// A folder for one test.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A plugin in its own folder that behaves as `how` says, with more lines in its manifest.
    pub(crate) fn plugin(&self, name: &str, how: &str, more: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        let id = folder.file_name().unwrap().to_str().unwrap();
        let manifest = format!(
            "id = \"{id}\"\nname = \"Test\"\nversion = \"0.1.0\"\nicon = \"x\"\nroute = \"/{id}\"\nprotocol = 2\n\
             exec = [\"python3\", \"plugin.py\", \"{how}\"]\n{more}"
        );
        fs::write(folder.join("plugin.toml"), manifest).unwrap();
        fs::write(folder.join("plugin.py"), include_str!("../fixtures/plugin.py")).unwrap();
        folder
    }

    /// A plugin whose manifest is no TOML in line 2.
    pub(crate) fn broken_plugin(&self) -> PathBuf {
        let folder = self.path("broken");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("plugin.toml"), "id = \"broken\"\nname = Broken\n").unwrap();
        folder
    }

    /// The command, started in this folder.
    pub(crate) fn toru(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toru"));
        command
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .env_remove("TORU_ADMIN_TOKEN")
            .env_remove("TORU_LOG");
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Done {
        self.run_with_input(args, b"")
    }

    pub(crate) fn run_with_input<'a>(&self, args: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Done {
        let mut command = self.toru();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let (ended, end) = channel();
        thread::spawn(move || ended.send(child.wait_with_output()));
        Done(end.recv_timeout(HANG).expect("the command hangs").unwrap())
    }
}

/// A path as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done(Output);

impl Done {
    pub(crate) fn stdout(&self) -> &str {
        std::str::from_utf8(&self.0.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> &str {
        std::str::from_utf8(&self.0.stderr).unwrap()
    }

    /// Asserts the exit code and that stderr says this.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, says: &[&str]) {
        assert_eq!(self.0.status.code(), Some(code), "{self:?}");
        for text in says {
            assert!(self.stderr().contains(text), "{text:?} is not said: {}", self.stderr());
        }
    }
}

/// A command that runs until it is told to stop. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// As `start`, with nobody who reads stderr.
    pub(crate) fn start_unheard(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        drop(child.stderr.take());
        Self { child, stdout, stderr: channel().1 }
    }

    pub(crate) fn next_stdout(&self) -> String {
        self.stdout.recv_timeout(HANG).expect("no line on stdout")
    }

    /// Reads stderr up to a line that has this text.
    pub(crate) fn stderr_until(&self, text: &str) -> String {
        let mut read = String::new();
        loop {
            match self.stderr.recv_timeout(HANG) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => read = read + &line + "\n",
                Err(error) => panic!("{text:?} is not on stderr ({error}):\n{read}"),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end; what is left on stdout.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        let mut rest = Vec::new();
        loop {
            match self.stdout.recv_timeout(HANG) {
                Ok(line) => rest.push(line),
                // stdout closes when the process ends.
                Err(RecvTimeoutError::Disconnected) => return (self.child.wait().unwrap(), rest),
                Err(RecvTimeoutError::Timeout) => panic!("the command does not end"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a host listens on for all addresses of this machine. Without IPv6 that half is skipped, and `TORU_REQUIRE=ipv6` makes it a failure.
pub(crate) fn all_addresses() -> Vec<&'static str> {
    if TcpListener::bind("[::1]:0").is_ok() {
        return vec!["0.0.0.0:0", "[::]:0"];
    }
    let is_required =
        env::var("TORU_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name.trim() == "ipv6"));
    assert!(!is_required, "TORU_REQUIRE names `ipv6`, but [::1] cannot be bound");
    // Past the capture of the test runner, which would hide it.
    io::stderr().write_all(b"SKIPPED: [::1] cannot be bound, so nothing is tried on [::]\n").unwrap();
    vec!["0.0.0.0:0"]
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    fn copy(pipe: impl Read, lines: &Sender<String>) {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if lines.send(line).is_err() {
                return;
            }
        }
    }
    let (sender, receiver) = channel();
    thread::spawn(move || copy(pipe, &sender));
    receiver
}
