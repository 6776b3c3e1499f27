//! Programs of the system that some tests need.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use fantoccini::ClientBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Names what must be there for the tests, separated by commas; what is not named and not there is skipped.
const REQUIRE: &str = "TORU_REQUIRE";

/// The programs of this name, or None where they are not installed and not required.
pub(crate) fn find<const N: usize>(name: &str, programs: [&str; N], packages: &str) -> Option<[PathBuf; N]> {
    let found = programs.map(in_path);
    if found.iter().all(Option::is_some) {
        return Some(found.map(Option::unwrap));
    }
    let required = env::var(REQUIRE).is_ok_and(|names| names.split(',').any(|own| own.trim() == name));
    assert!(!required, "{REQUIRE} names `{name}`, but {programs:?} are not all in PATH");
    // Past the capture of the test runner, which would hide it.
    let skipped = format!("SKIPPED: {programs:?} are not all in PATH (Debian: {packages})\n");
    io::stderr().write_all(skipped.as_bytes()).unwrap();
    None
}

fn in_path(program: &str) -> Option<PathBuf> {
    // Debian keeps servers where the paths of users do not lead.
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let folders = folders.into_iter().chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A browser, and the program that drives it.
pub(crate) struct Chromium {
    driver: PathBuf,
    browser: PathBuf,
}

impl Chromium {
    pub(crate) fn find() -> Option<Self> {
        let [driver, browser] = find("browser", ["chromedriver", "chromium"], "chromium-driver")?;
        Some(Self { driver, browser })
    }

    /// Opens a browser that keeps what it keeps in this folder. The driver is killed when it is dropped; the client closes the browser, which would
    /// outlive a panic.
    pub(crate) async fn open(&self, profile: &Path) -> (Child, fantoccini::Client) {
        let (driver, port) = start_driver(&self.driver).await;
        let profile = format!("--user-data-dir={}", profile.display());
        let quiet =
            ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"];
        let offline = [
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ];
        let args: Vec<&str> = quiet.into_iter().chain(offline).chain([&*profile]).collect();
        let options = json!({"goog:chromeOptions": {"binary": self.browser, "args": args}});
        let mut session = ClientBuilder::new(HttpConnector::new());
        session.capabilities(options.as_object().unwrap().clone());
        let browser = session.connect(&format!("http://127.0.0.1:{port}")).await.unwrap();
        (driver, browser)
    }
}

async fn start_driver(program: &Path) -> (Child, u16) {
    let mut driver =
        Command::new(program).arg("--port=0").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("chromedriver ended before it listened");
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return (driver, port.trim_end_matches('.').parse().unwrap());
        }
    }
}
