use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{config::Config, process::Spawner};

const MANIFEST: &str = "id = \"ID\"\nname = \"N\"\nversion = \"1\"\nroute = \"/ID\"\nprotocol = 2\nexec = [\"./main\", \"x.py\"]\n";

fn temporary() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap()
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn install(plugins: &Path, id: &str) {
    write(&plugins.join(id).join("plugin.toml"), &MANIFEST.replace("ID", id), 0o644);
    write(&plugins.join(id).join("main"), "#!/bin/sh\n", 0o755);
    write(&plugins.join(id).join("x.py"), "", 0o644);
}

fn binary(plugins: &Path, id: &str, script: &str) -> PathBuf {
    let path = plugins.canonicalize().unwrap().join(format!("{id}.binary"));
    write(&path, &format!("#!/bin/sh\n{script}\n"), 0o755);
    path
}

fn metadata_of(id: &str) -> String {
    format!(r#"{{"id":"{id}","name":"N","version":"1","icon":"i","route":"/{id}"}}"#)
}

fn only(plugins: &Path) -> Candidate {
    let mut candidates = scan(plugins).unwrap();
    assert_eq!(candidates.len(), 1, "{candidates:?}");
    candidates.remove(0)
}

fn definition(candidate: Candidate) -> Arc<Definition> {
    match candidate.found {
        Found::Plugin(definition) => definition,
        other => panic!("{} is not known whole: {other:?}", candidate.id),
    }
}

fn problem(candidate: Candidate) -> Problem {
    match candidate.found {
        Found::Problem(problem) => problem,
        other => panic!("{} is not broken: {other:?}", candidate.id),
    }
}

#[test]
fn a_missing_folder_is_made() {
    let base = temporary();
    let plugins = base.path().join("a/plugins");
    assert!(scan(&plugins).unwrap().is_empty());
    assert!(plugins.is_dir());
}

#[test]
fn a_manifest_folder_is_known_whole() {
    let base = temporary();
    install(base.path(), "hello");
    write(&base.path().join("hello/bundle.js"), "", 0o644);
    let folder = base.path().canonicalize().unwrap().join("hello");
    let definition = definition(only(base.path()));
    assert_eq!(definition.metadata.id(), "hello");
    assert_eq!(definition.program.path, folder.join("main"));
    assert_eq!(definition.program.args, ["x.py"]);
    assert_eq!(definition.cwd, folder);
    assert_eq!(definition.frontend.bundle, Some(folder.join("bundle.js")));
}

#[test]
fn a_frontend_is_a_file_or_a_folder_and_one_that_is_missing_is_told() {
    let base = temporary();
    let folder = base.path().join("hello");
    let frontend = |named: &str| {
        let manifest = format!("frontend = \"{named}\"\n{}", MANIFEST.replace("ID", "hello"));
        write(&folder.join("plugin.toml"), &manifest, 0o644);
        definition(only(base.path())).frontend.clone()
    };
    install(base.path(), "hello");
    write(&folder.join("dist/bundle.js"), "", 0o644);
    let resolved = folder.canonicalize().unwrap();
    let found = frontend("dist/bundle.js");
    assert_eq!((found.bundle, found.missing), (Some(resolved.join("dist/bundle.js")), None));
    let found = frontend("dist/");
    assert_eq!((found.folder.unwrap().path(), found.missing), (resolved.join("dist"), None));
    for (named, says) in [
        ("build/", "the frontend \"build/\" is not in"),
        ("dist/bundle.js/", "is a file: write \"dist/bundle.js\""),
        ("dist", "is a folder: write \"dist/\""),
        ("app.js", "build it, or correct"),
    ] {
        let missing = frontend(named).missing.unwrap();
        assert!(missing.contains(says), "{named}: {missing}");
    }
    fs::set_permissions(folder.join("dist"), fs::Permissions::from_mode(0o777)).unwrap();
    write(
        &folder.join("plugin.toml"),
        &format!("frontend = \"dist/\"\n{}", MANIFEST.replace("ID", "hello")),
        0o644,
    );
    assert_eq!(problem(only(base.path())).code, "writable_by_others");
}

#[test]
fn candidates_are_listed_by_id_and_other_files_are_passed_over() {
    let base = temporary();
    install(base.path(), "b");
    install(base.path(), "a");
    let path = binary(base.path(), "c", "");
    write(&base.path().join(".metadata/config.json"), "{}", 0o644);
    write(&base.path().join(".hidden.binary"), "", 0o755);
    write(&base.path().join("README.md"), "", 0o644);
    let candidates = scan(base.path()).unwrap();
    let ids: Vec<_> = candidates.iter().map(|candidate| candidate.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(matches!(&candidates[2].found, Found::Binary(found) if *found == path));
}

#[test]
fn one_broken_plugin_leaves_the_others_alone() {
    let base = temporary();
    install(base.path(), "good");
    write(&base.path().join("bad/plugin.toml"), "id = ", 0o644);
    let mut candidates = scan(base.path()).unwrap();
    definition(candidates.pop().unwrap());
    let problem = problem(candidates.pop().unwrap());
    assert_eq!(problem.code, "manifest_invalid");
    assert!(problem.message.contains("bad/plugin.toml: line 1, column 6: "), "{problem}");
}

#[test]
fn a_folder_without_a_manifest_is_listed_as_broken() {
    let base = temporary();
    fs::create_dir(base.path().join("empty")).unwrap();
    assert_eq!(problem(only(base.path())).code, "manifest_missing");
}

#[test]
fn a_name_that_is_no_id_is_listed_as_broken() {
    let base = temporary();
    install(base.path(), "my_plugin");
    let problem = problem(only(base.path()));
    assert_eq!(problem.code, "id_invalid");
    assert!(problem.message.contains("\"my_plugin\""), "{problem}");
}

#[test]
fn the_id_route_is_refused() {
    let base = temporary();
    binary(base.path(), "route", "");
    let problem = problem(only(base.path()));
    assert_eq!(problem.code, "id_invalid");
    assert!(problem.message.contains("reserved"), "{problem}");
}

#[test]
fn the_folders_name_is_the_id() {
    let base = temporary();
    install(base.path(), "one");
    fs::rename(base.path().join("one"), base.path().join("two")).unwrap();
    let problem = problem(only(base.path()));
    assert_eq!(problem.code, "id_mismatch");
    assert!(problem.message.contains("says `id` is \"one\", but is itself named \"two\""), "{problem}");
}

#[test]
fn two_forms_of_one_id_both_fail() {
    let base = temporary();
    install(base.path(), "twice");
    binary(base.path(), "twice", "");
    let problem = problem(only(base.path()));
    assert_eq!(problem.code, "two_forms");
    assert!(problem.message.contains("twice/plugin.toml") && problem.message.contains("twice.binary"));
}

#[test]
fn a_folder_beside_a_binary_is_no_plugin() {
    let base = temporary();
    binary(base.path(), "tool", "");
    write(&base.path().join("tool/bundle.js"), "", 0o644);
    assert!(matches!(only(base.path()).found, Found::Binary(_)));
}

#[test]
fn links_that_leave_the_folder_are_refused() {
    let outside = temporary();
    install(outside.path(), "evil");
    binary(outside.path(), "evil", "");
    for name in ["evil", "evil.binary"] {
        let base = temporary();
        symlink(outside.path().join(name), base.path().join(name)).unwrap();
        assert_eq!(problem(only(base.path())).code, "symlink_escapes", "{name}");
    }
    for name in ["plugin.toml", "main", "x.py", "bundle.js"] {
        let base = temporary();
        install(base.path(), "evil");
        write(&outside.path().join("evil/bundle.js"), "", 0o644);
        let path = base.path().join("evil").join(name);
        let _ = fs::remove_file(&path);
        symlink(outside.path().join("evil").join(name), &path).unwrap();
        let problem = problem(only(base.path()));
        assert_eq!(problem.code, "symlink_escapes", "{name}");
        assert!(problem.message.contains("leads out of its folder"), "{problem}");
    }
}

#[test]
fn links_inside_the_folder_are_followed() {
    let base = temporary();
    install(base.path(), "hello");
    let folder = base.path().join("hello");
    fs::rename(folder.join("main"), folder.join("real")).unwrap();
    symlink("real", folder.join("main")).unwrap();
    assert!(definition(only(base.path())).program.path.ends_with("hello/real"));
}

#[test]
fn links_to_nothing_and_loops_are_listed_as_broken() {
    for target in ["nowhere", "lost"] {
        let base = temporary();
        symlink(target, base.path().join("lost")).unwrap();
        assert_eq!(problem(only(base.path())).code, "unreadable", "{target}");
    }
}

#[test]
fn what_others_can_write_is_refused() {
    for name in ["", "hello", "hello/plugin.toml", "hello/main", "hello/x.py", "hello/bundle.js"] {
        let base = temporary();
        install(base.path(), "hello");
        write(&base.path().join("hello/bundle.js"), "", 0o644);
        let path = base.path().join(name);
        let mode = path.metadata().unwrap().permissions().mode();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o002)).unwrap();
        let problem = problem(only(base.path()));
        assert_eq!(problem.code, "writable_by_others", "{name}");
        assert!(problem.message.contains("run chmod o-w"), "{problem}");
    }
    let base = temporary();
    let path = binary(base.path(), "tool", "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(problem(only(base.path())).code, "writable_by_others");
}

#[test]
fn a_manifest_that_is_no_small_text_file_is_unreadable() {
    let base = temporary();
    let path = base.path().join("odd/plugin.toml");
    fs::create_dir_all(&path).unwrap();
    assert_eq!(problem(only(base.path())).code, "unreadable");
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    assert!(problem(only(base.path())).message.contains("it is no regular file"));
    fs::remove_file(&path).unwrap();
    write(&path, &"#".repeat(70_000), 0o644);
    assert!(problem(only(base.path())).message.contains("it has more than 65536 bytes"));
    fs::write(&path, b"id = \"\xFF\"").unwrap();
    assert!(problem(only(base.path())).message.contains("byte 7 is not UTF-8"));
}

#[test]
fn a_program_that_is_not_built_yet_is_found_out_at_the_start() {
    let base = temporary();
    install(base.path(), "hello");
    fs::remove_file(base.path().join("hello/main")).unwrap();
    assert!(definition(only(base.path())).program.path.ends_with("hello/main"));
}

#[test]
fn a_bare_program_stays_a_name() {
    let base = temporary();
    let manifest = MANIFEST.replace("ID", "py").replace("./main", "python3");
    write(&base.path().join("py/plugin.toml"), &manifest, 0o644);
    assert_eq!(definition(only(base.path())).program.path, Path::new("python3"));
}

#[test]
fn a_source_folder_is_read_with_its_development_program() {
    let base = temporary();
    let dev = "[dev]\nbuild = \"true\"\nexec = [\"../target/hello\", \"-v\"]\n";
    write(&base.path().join("src/plugin.toml"), &(MANIFEST.replace("ID", "hello") + dev), 0o666);
    write(&base.path().join("target/hello"), "", 0o755);
    let (definition, dev) = read_source_dir(&base.path().join("src")).unwrap();
    assert_eq!(definition.program.path, base.path().canonicalize().unwrap().join("target/hello"));
    assert_eq!(definition.program.args, ["-v"]);
    assert_eq!(dev.unwrap().build.as_deref(), Some("true"));
}

#[test]
fn a_source_folder_that_is_none_is_named() {
    let base = temporary();
    let problem = read_source_dir(&base.path().join("nowhere")).unwrap_err();
    assert_eq!(problem.code, "unreadable");
    assert!(problem.message.contains("nowhere cannot be read: No such file"), "{problem}");
    assert_eq!(read_source_dir(base.path()).unwrap_err().code, "manifest_missing");
    write(&base.path().join("plugin.toml"), "id = 3\n", 0o644);
    let problem = read_source_dir(base.path()).unwrap_err();
    assert!(problem.message.contains("plugin.toml: line 1, column 6: `id` must be a string"), "{problem}");
}

struct Ask {
    base: TempDir,
    spawner: Spawner,
    config: Config,
    prober: Prober,
}

impl Ask {
    fn new() -> Self {
        let base = temporary();
        let config = Config::new(base.path(), base.path());
        Self { spawner: Spawner::new().unwrap(), config, prober: Prober::default(), base }
    }

    async fn ask(&self, script: &str) -> Result<Arc<Definition>, Problem> {
        let path = binary(self.base.path(), "tool", script);
        self.prober.probe(&self.spawner, &self.config, "tool", &path).await
    }

    async fn refusal(&self, script: &str) -> Problem {
        self.ask(script).await.expect_err("the binary is refused")
    }
}

#[tokio::test]
async fn a_binary_tells_its_metadata() {
    let ask = Ask::new();
    write(&ask.base.path().join("tool/frontend/bundle.js"), "", 0o644);
    let script = format!("[ \"$1\" = --metadata ] && echo '{}'", metadata_of("tool"));
    let definition = ask.ask(&script).await.unwrap();
    let folder = ask.base.path().canonicalize().unwrap();
    assert_eq!(definition.metadata.route(), "/tool");
    assert_eq!(definition.program.path, folder.join("tool.binary"));
    assert!(definition.program.args.is_empty());
    assert_eq!(definition.cwd, folder);
    assert_eq!(definition.frontend.bundle, Some(folder.join("tool/frontend/bundle.js")));
}

#[tokio::test]
async fn a_binary_is_asked_again_only_when_it_has_changed() {
    let ask = Ask::new();
    let script = |note: &str| format!("echo x >> asked; echo '{}' # {note}", metadata_of("tool"));
    let path = binary(ask.base.path(), "tool", &script(""));
    for _ in 0..3 {
        ask.prober.probe(&ask.spawner, &ask.config, "tool", &path).await.unwrap();
    }
    let asked = || fs::read_to_string(ask.base.path().join("asked")).unwrap().lines().count();
    assert_eq!(asked(), 1);
    ask.ask(&script("changed")).await.unwrap();
    assert_eq!(asked(), 2);
}

#[tokio::test]
async fn the_stem_of_a_binary_is_its_id() {
    let problem = Ask::new().refusal(&format!("echo '{}'", metadata_of("other"))).await;
    assert_eq!(problem.code, "id_mismatch");
}

#[tokio::test]
async fn metadata_that_is_no_json_is_refused_with_the_tail_of_stderr() {
    let problem = Ask::new().refusal("echo hello; echo oops >&2").await;
    assert_eq!(problem.code, "metadata_invalid");
    assert!(
        problem.message.ends_with("line 1, column 1: this is not valid JSON: expected value"),
        "{problem}"
    );
    assert_eq!(problem.stderr_tail.as_deref(), Some("oops\n"));
}

#[tokio::test]
async fn a_failing_metadata_command_is_told_with_its_code_or_signal() {
    let ask = Ask::new();
    let problem = ask.refusal("echo broken >&2; exit 3").await;
    assert_eq!(problem.code, "metadata_failed");
    assert!(problem.message.contains("exited with code 3"), "{problem}");
    assert_eq!(problem.stderr_tail.as_deref(), Some("broken\n"));
    let problem = ask.refusal("kill -SEGV $$").await;
    assert!(problem.message.contains("was ended by signal 11"), "{problem}");
    assert_eq!(problem.stderr_tail, None);
}

#[tokio::test]
async fn a_metadata_command_that_hangs_is_killed_with_its_group() {
    let mut ask = Ask::new();
    ask.config.metadata_timeout = Duration::from_secs(1);
    let problem = ask.refusal("echo waiting >&2; tail -f /dev/null & echo $! > pid; wait").await;
    assert_eq!(problem.code, "metadata_timeout");
    assert!(problem.message.contains("did not end within 1s"), "{problem}");
    assert_eq!(problem.stderr_tail.as_deref(), Some("waiting\n"));
    let pid: i32 = fs::read_to_string(ask.base.path().join("pid")).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        // Ends with the process; the test runner's own limit guards a failure.
        let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).unwrap();
    }
}

#[tokio::test]
async fn endless_metadata_is_cut_off() {
    let problem = Ask::new().refusal("exec yes").await;
    assert_eq!(problem.code, "metadata_too_large");
    assert!(problem.message.contains("more than 65536 bytes"), "{problem}");
}

#[tokio::test]
async fn only_the_end_of_stderr_is_kept() {
    let problem = Ask::new().refusal("seq 1 20000 >&2; exit 1").await;
    let tail = problem.stderr_tail.unwrap();
    assert_eq!(tail.len(), 4 << 10);
    assert!(tail.ends_with("19999\n20000\n"));
}

#[tokio::test]
async fn a_binary_that_cannot_be_executed_keeps_the_code_of_its_cause() {
    let ask = Ask::new();
    let path = binary(ask.base.path(), "tool", "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let problem = ask.prober.probe(&ask.spawner, &ask.config, "tool", &path).await.unwrap_err();
    assert_eq!(problem.code, "exec_denied");
    fs::remove_file(&path).unwrap();
    let problem = ask.prober.probe(&ask.spawner, &ask.config, "tool", &path).await.unwrap_err();
    assert_eq!(problem.code, "unreadable");
}

#[test]
fn the_operators_settings_go_over_the_defaults_key_by_key() {
    let base = temporary();
    let Value::Object(defaults) = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2]}) else { unreachable!() };
    assert_eq!(config_for(base.path(), "p", &defaults).unwrap(), defaults);
    write(&base.path().join("config/p.toml"), "e = [3]\nf = true\n[b]\nc = 9\n", 0o600);
    let merged = config_for(base.path(), "p", &defaults).unwrap();
    assert_eq!(Value::Object(merged), json!({"a": 1, "b": {"c": 9, "d": 2}, "e": [3], "f": true}));
}

#[test]
fn broken_settings_are_told_with_path_line_and_column() {
    let base = temporary();
    write(&base.path().join("config/p.toml"), "a = 1\nb = ?\n", 0o600);
    let problem = config_for(base.path(), "p", &serde_json::Map::new()).unwrap_err();
    assert_eq!(problem.code, "config_invalid");
    assert!(problem.message.contains("config/p.toml: line 2, column 5: "), "{problem}");
    fs::remove_file(base.path().join("config/p.toml")).unwrap();
    fs::create_dir(base.path().join("config/p.toml")).unwrap();
    let problem = config_for(base.path(), "p", &serde_json::Map::new()).unwrap_err();
    assert!(problem.message.contains("it cannot be read: it is no regular file"), "{problem}");
}
