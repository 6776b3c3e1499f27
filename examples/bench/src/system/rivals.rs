//! The rivals that take long to build or to install.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{System, nginx, require_python, target, this_program};
use crate::{
    Outcome, place,
    process::Guard,
    tool::{self, NotStarted},
};

/// gRPC over a Unix socket, behind an HTTP front.
pub(super) fn tonic() -> Result<System, NotStarted> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("plugin.sock");
    let (plugin, _) = Guard::spawn_until_it_speaks(this_program("grpc-plugin")?.arg("--unix").arg(&socket))?;
    let (host, line) = Guard::spawn_until_it_speaks(this_program("grpc-host")?.arg("--to").arg(&socket))?;
    Ok(System { target: target(&line)?, processes: vec![host, plugin], _folder: Some(folder) })
}

/// A Go host with a plugin of HashiCorp's go-plugin, built from Debian's packages.
pub(super) fn go_plugin() -> Result<System, NotStarted> {
    const PACKAGES: &str = "golang-go golang-github-hashicorp-go-plugin-dev golang-google-grpc-dev \
                            golang-golang-x-net-dev golang-goprotobuf-dev";
    let path = Path::new("/usr/share/gocode");
    tool::require("go", PACKAGES)?;
    if !path.join("src/github.com/hashicorp/go-plugin").exists() {
        return Err(NotStarted::Missing(format!("apt-get install {PACKAGES}")));
    }
    let program = place::below_target("rivals/go-plugin")?.join("go-plugin");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .env("GO111MODULE", "off")
        .env("GOPATH", path)
        .current_dir(source("go-plugin"))
        .status()?;
    if !built.success() {
        return Err(format!("it was not built; needed are {PACKAGES}").into());
    }
    let (host, line) = Guard::spawn_until_it_speaks(&mut Command::new(program))?;
    Ok(System { target: target(&line)?, processes: vec![host], _folder: None })
}

/// nginx before uvicorn with a bare ASGI application, as fast as uvicorn can be made.
pub(super) fn uvicorn() -> Result<System, NotStarted> {
    nginx::require()?;
    require_python()?;
    let python = virtual_environment().map_err(|error| {
        NotStarted::Missing(format!("uvicorn cannot be installed into a virtual environment: {error}"))
    })?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("app.sock");
    let mut uvicorn = Guard::spawn(
        Command::new(python)
            .args(["-m", "uvicorn", "app:app", "--no-access-log", "--log-level", "warning"])
            .args(["--loop", "uvloop", "--http", "httptools", "--uds"])
            .arg(&socket)
            .current_dir(source("uvicorn")),
    )?;
    uvicorn.wait_until(|| UnixStream::connect(&socket).is_ok())?;
    let (nginx, target) = nginx::start(folder.path(), 1)?;
    Ok(System { target, processes: vec![nginx, uvicorn], _folder: Some(folder) })
}

/// The interpreter of an environment below `target/` that has what `requirements.txt` names.
fn virtual_environment() -> Outcome<PathBuf> {
    let environment = place::below_target("rivals/uvicorn")?;
    let python = environment.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    let requirements = source("uvicorn").join("requirements.txt");
    let importable = Command::new(&python)
        .args(["-c", "import uvicorn, uvloop, httptools"])
        .stderr(Stdio::null())
        .status()?;
    if !importable.success() {
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> Outcome<()> {
    let status = command.stdout(Stdio::null()).status();
    let status = status.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
}

fn source(rival: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(rival)
}
