//! `toru dev --attach`: the plugin is started by hand, by the line that the command prints.

use std::{
    fs,
    os::unix::{net::UnixListener, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    command::{Place, Running, arg},
    serve::get,
};

const TOKEN: &str = "a-token-of-the-operator";

/// The plugin of the README, written with the Rust SDK, in a folder of its own; its program is the example of this crate.
fn hello(place: &Place) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples/hello");
    assert!(program.exists(), "{} is not built: `cargo test` does it", program.display());
    let folder = place.path("hello");
    fs::create_dir(&folder).unwrap();
    let manifest = format!(
        "id = \"hello\"\nname = \"Hello\"\nversion = \"0.1.0\"\nroute = \"/hello\"\nprotocol = 2\nexec = [\"./hello\"]\n\
         [env]\nGREETING = \"it's me\"\n[dev]\nexec = ['''{}''']\n",
        program.display()
    );
    fs::write(folder.join("plugin.toml"), manifest).unwrap();
    folder
}

/// `toru dev` that waits for the plugin: with its address, and the line to type.
fn dev(place: &Place, plugin: &Path, option: &str) -> (Running, String, String) {
    let mut command = place.toru();
    command.args(["dev", arg(plugin), "--listen", "127.0.0.1:0", "--attach", option]);
    command.args(["--start-timeout", "0.1"]).env("TORU_ADMIN_TOKEN", TOKEN);
    let dev = Running::start(command);
    let address = dev.next_stdout().strip_prefix("listening on http://").unwrap().to_owned();
    dev.stderr_until("hello: waits to be attached; start it by hand");
    let line = dev.stderr_until("TORU_PLUGIN_SOCKET=").trim().to_owned();
    (dev, address, line)
}

/// What a developer does at a shell that gives each job a group of its own.
fn type_in(line: &str) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", &line.replacen("&&", "&& exec env", 1)]).stdin(Stdio::null()).process_group(0);
    shell.env_remove("TORU_INSTANCE_ID").env_remove("TORU_PLUGIN_FD");
    Running::start(shell)
}

#[test]
fn the_line_that_is_printed_starts_a_plugin_that_is_attached_and_the_next_one_after_it() {
    let place = Place::new();
    let plugin = hello(&place);
    let (dev, address, line) = dev(&place, &plugin, "hello=hello.sock");
    assert!(line.starts_with(&format!("cd {} && GREETING='it'\\''s me' TORU_PLUGIN_ID=hello", arg(&plugin))));
    assert!(line.contains(&format!("TORU_PLUGIN_SOCKET={}", arg(&place.path("hello.sock")))), "{line}");
    for _ in 0..2 {
        let by_hand = type_in(&line);
        by_hand.stderr_until("waiting for a host to attach");
        dev.stderr_until(&format!("hello: ready, attached to process {}", by_hand.pid()));
        let answer = get(&address, "/api/plugins/route/hello/", TOKEN);
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("Hello!"), "{answer}");
        by_hand.signal("-KILL");
        dev.stderr_until("it has gone");
        dev.stderr_until("waiting for the next one");
    }
    dev.signal("-TERM");
    assert_eq!(dev.end().0.code(), Some(0));
}

#[test]
fn the_end_of_dev_ends_the_plugin_well() {
    let place = Place::new();
    let plugin = hello(&place);
    let (dev, _, line) = dev(&place, &plugin, "hello=hello.sock");
    let by_hand = type_in(&line);
    dev.stderr_until("hello: ready, attached");
    dev.signal("-TERM");
    assert_eq!(dev.end().0.code(), Some(0));
    assert_eq!(by_hand.end().0.code(), Some(0));
}

#[test]
fn a_plugin_whose_host_is_killed_ends_well_and_leaves_its_group_alone() {
    let place = Place::new();
    let plugin = hello(&place);
    let (dev, _, line) = dev(&place, &plugin, "hello=hello.sock");
    let by_hand = type_in(&line);
    dev.stderr_until("hello: ready, attached");
    dev.signal("-KILL");
    drop(dev);
    assert_eq!(by_hand.end().0.code(), Some(0), "it leads its group, which is not its to kill");
}

#[test]
fn a_plugin_takes_the_path_that_a_killed_one_has_left_but_not_that_of_a_living_one() {
    let place = Place::new();
    let path = place.path("hello.sock");
    drop(UnixListener::bind(&path).unwrap());
    let plugin = hello(&place);
    let (dev, _, line) = dev(&place, &plugin, "hello=hello.sock");
    let first = type_in(&line);
    dev.stderr_until("hello: ready, attached");
    dev.signal("-TERM");
    dev.end();
    assert_eq!(first.end().0.code(), Some(0));
    let second = type_in(&line);
    second.stderr_until("waiting for a host to attach");
    let third = type_in(&line);
    third.stderr_until("another process listens there");
    assert_eq!(third.end().0.code(), Some(1));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let fourth = type_in(&line);
    fourth.stderr_until("there is something else than a socket");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn what_cannot_be_attached_is_refused_before_anything_starts() {
    let place = Place::new();
    let plugin = hello(&place);
    let long = format!("hello={}", "x".repeat(108));
    let file = place.path("file");
    fs::write(&file, "precious").unwrap();
    for (option, says) in [
        ("hello", "hello=/tmp/hello.sock"),
        ("other=x.sock", "there is no plugin \"other\" in the folders that are served; there is hello"),
        (&*long, "a Unix socket's path has at most 107"),
        ("hello=nowhere/x.sock", "there is no such folder"),
        ("hello=file", "is no socket"),
    ] {
        place.run(["dev", arg(&plugin), "--attach", option]).assert(2, &[says]);
    }
    place
        .run(["dev", arg(&plugin), "--attach", "hello=a", "--attach", "hello=b"])
        .assert(2, &["names the plugin \"hello\" twice"]);
    let done = place.run(["serve", "--attach", "hello=x.sock"]);
    done.assert(2, &["unexpected argument '--attach'"]);
}
