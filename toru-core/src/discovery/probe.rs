//! Asking a binary what it is.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};
use toru_plugin_api::PluginMetadata;

use super::{
    Definition, Problem,
    frontend::FrontendFiles,
    safety::{refuse_writable, resolve_inside},
};
use crate::{
    config::Config,
    file_identity::FileIdentity,
    process::{Exit, Launch, Process, Program, Spawner, clean_environment},
};

/// How much of the end of stderr is kept for the operator: a Python traceback fits.
const STDERR_TAIL: usize = 4 << 10;

/// Asks binaries for their metadata; answers are kept by file identity (device, inode, size, mtime, ctime), one a path.
#[derive(Debug, Default)]
pub struct Prober {
    answers: Mutex<HashMap<PathBuf, (FileIdentity, PluginMetadata)>>,
}

impl Prober {
    /// Runs `<path> --metadata` with a time limit and bounded output, unless the answer of this very file is known. The
    /// group is killed when this ends or is dropped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn probe(
        &self,
        spawner: &Spawner,
        config: &Config,
        id: &str,
        path: &Path,
    ) -> Result<Arc<Definition>, Problem> {
        let unreadable = |error| Problem::unreadable(path, &error);
        let before = identity_of(path).map_err(unreadable)?;
        let metadata = match self.known(path, before) {
            Some(metadata) => metadata,
            None => {
                let metadata = ask(spawner, config, path).await?;
                // An answer of a file that was replaced meanwhile is nobody's.
                if identity_of(path).map_err(unreadable)? == before {
                    self.remember(path, before, &metadata);
                }
                metadata
            }
        };
        if metadata.id() != id {
            return Err(Problem::id_mismatch(id, &metadata, path));
        }
        define(path, metadata).map(Arc::new)
    }

    fn known(&self, path: &Path, identity: FileIdentity) -> Option<PluginMetadata> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, metadata) = answers.get(path)?;
        (*known == identity).then(|| metadata.clone())
    }

    fn remember(&self, path: &Path, identity: FileIdentity, metadata: &PluginMetadata) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(path.to_owned(), (identity, metadata.clone()));
    }
}

fn identity_of(path: &Path) -> io::Result<FileIdentity> {
    path.metadata().map(|metadata| FileIdentity::of(&metadata))
}

/// A binary runs in the plugins folder; its files lie in the folder of its id beside it.
fn define(path: &Path, metadata: PluginMetadata) -> Result<Definition, Problem> {
    let plugins_dir = path.parent().expect("a binary lies in the plugins folder");
    let folder = plugins_dir.join(metadata.id());
    let files = if folder.is_dir() {
        let folder = resolve_inside(plugins_dir, &folder)?;
        let files = FrontendFiles::find(&folder, &metadata)?.installed();
        files.paths().try_for_each(|path| refuse_writable(&folder, &path))?;
        files
    } else {
        FrontendFiles::default()
    };
    let program = Program { path: path.to_owned(), args: Vec::new() };
    Ok(Definition { metadata, program, cwd: plugins_dir.to_owned(), frontend: files })
}

async fn ask(spawner: &Spawner, config: &Config, path: &Path) -> Result<PluginMetadata, Problem> {
    let launch = Launch {
        program: Program { path: path.to_owned(), args: vec!["--metadata".into()] },
        cwd: path.parent().expect("a binary lies in the plugins folder").to_owned(),
        env: clean_environment(),
        inherit: Vec::new(),
    };
    let mut process = spawner.spawn(launch).await.map_err(|error| Problem::new(error.code, error.message))?;
    let mut stderr_tail = Vec::new();
    let answer =
        timeout(config.metadata_timeout, listen(&mut process, config.metadata_max_bytes, &mut stderr_tail));
    let result = match answer.await {
        Ok(Ok((output, Exit::Code(0)))) => understand(path, &output),
        Ok(Ok((_, exit))) => Err(failed(path, exit)),
        Ok(Err(problem)) => Err(problem.into_problem(path, config)),
        Err(_) => Err(timed_out(path, config)),
    };
    result.map_err(|problem| Problem { stderr_tail: tail_text(&stderr_tail), ..problem })
}

/// Why there is no whole output.
enum Unheard {
    TooLarge,
    Unreadable(io::Error),
}

impl Unheard {
    fn into_problem(self, path: &Path, config: &Config) -> Problem {
        match self {
            Self::TooLarge => {
                let (path, most) = (path.display(), config.metadata_max_bytes);
                let message =
                    format!("{path} --metadata printed more than {most} bytes: print the metadata only");
                Problem::new("metadata_too_large", message)
            }
            Self::Unreadable(error) => Problem::unreadable(path, &error),
        }
    }
}

/// The whole of stdout and the exit, while the end of stderr is kept.
async fn listen(
    process: &mut Process,
    most: usize,
    stderr_tail: &mut Vec<u8>,
) -> Result<(Vec<u8>, Exit), Unheard> {
    let stdout = process.stdout.take().expect("nobody else has taken it");
    let stderr = process.stderr.take().expect("nobody else has taken it");
    let exit = async { Ok(process.wait().await) };
    let keep = async { keep_tail(stderr, stderr_tail).await.map_err(Unheard::Unreadable) };
    let (output, exit, ()) = tokio::try_join!(read_at_most(stdout, most), exit, keep)?;
    Ok((output, exit))
}

async fn read_at_most(stdout: impl AsyncRead + Unpin, most: usize) -> Result<Vec<u8>, Unheard> {
    let mut output = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    stdout.take(limit).read_to_end(&mut output).await.map_err(Unheard::Unreadable)?;
    if output.len() > most { Err(Unheard::TooLarge) } else { Ok(output) }
}

async fn keep_tail(mut stderr: impl AsyncRead + Unpin, tail: &mut Vec<u8>) -> io::Result<()> {
    while stderr.read_buf(tail).await? > 0 {
        if tail.len() > 2 * STDERR_TAIL {
            tail.drain(..tail.len() - STDERR_TAIL);
        }
    }
    Ok(())
}

/// None if it wrote nothing.
fn tail_text(tail: &[u8]) -> Option<String> {
    let tail = &tail[tail.len().saturating_sub(STDERR_TAIL)..];
    (!tail.is_empty()).then(|| String::from_utf8_lossy(tail).into_owned())
}

fn understand(path: &Path, output: &[u8]) -> Result<PluginMetadata, Problem> {
    let invalid = |why: String| {
        Problem::new(
            "metadata_invalid",
            format!("{} --metadata printed no valid metadata: {why}", path.display()),
        )
    };
    let text = std::str::from_utf8(output).map_err(|error| invalid(format!("it is no UTF-8 ({error})")))?;
    PluginMetadata::from_json(text).map_err(|error| invalid(error.to_string()))
}

fn failed(path: &Path, exit: Exit) -> Problem {
    let ended = match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
    };
    let path = path.display();
    let message =
        format!("{path} --metadata {ended}: it must print its metadata as JSON and exit with code 0");
    Problem::new("metadata_failed", message)
}

fn timed_out(path: &Path, config: &Config) -> Problem {
    let (path, limit) = (path.display(), config.metadata_timeout);
    let message = format!(
        "{path} --metadata did not end within {limit:?}: it must print its metadata as JSON and exit"
    );
    Problem::new("metadata_timeout", message)
}
