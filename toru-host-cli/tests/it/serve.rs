//! `toru serve`

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use serde_json::Value;

use crate::command::{HANG, Place, Running, all_addresses};

/// A host on port 0 whose line on stdout was read: with its address.
fn serve(place: &Place, more: &[&str]) -> (Running, String) {
    let mut command = place.toru();
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(more);
    let running = Running::start(command);
    let line = running.next_stdout();
    let address = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (running, address)
}

pub(crate) fn get(address: &str, path: &str, token: &str) -> String {
    ask("GET", address, path, token)
}

pub(crate) fn ask(method: &str, address: &str, path: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn serve_makes_its_folders_answers_and_stops_on_sigterm_with_exit_0() {
    let place = Place::new();
    let (running, address) = serve(&place, &[]);
    let token = fs::read_to_string(place.path("data/admin-token")).unwrap();
    assert!(get(&address, "/api/plugins", token.trim()).ends_with("[]"));
    assert!(place.path("plugins").is_dir());
    running.signal("-TERM");
    let (status, rest) = running.end();
    assert_eq!((status.code(), rest), (Some(0), vec![]), "one line on stdout");
}

#[test]
fn serve_runs_the_plugins_of_its_folder_and_ctrl_c_stops_them() {
    let place = Place::new();
    place.plugin("plugins/hello", "well", "");
    let mut command = place.toru();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("TORU_ADMIN_TOKEN", "a-token-of-the-operator");
    let running = Running::start(command);
    let address = running.next_stdout().strip_prefix("listening on http://").unwrap().to_owned();
    running.stderr_until("TORU_ADMIN_TOKEN");
    let answer = get(&address, "/api/plugins/route/hello/x", "a-token-of-the-operator");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello from /x"), "{answer}");
    let entry = get(&address, "/api/plugins/hello", "a-token-of-the-operator");
    let entry: Value = serde_json::from_str(entry.split_once("\r\n\r\n").unwrap().1).unwrap();
    let pid = entry["pid"].as_u64().unwrap();
    running.signal("-INT");
    assert_eq!(running.end().0.code(), Some(0));
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "the plugin is gone");
    assert!(!place.path("data/admin-token").exists(), "no token is made beside the operator's");
}

#[test]
fn where_nobody_reads_along_the_token_is_not_printed() {
    let place = Place::new();
    let (running, _) = serve(&place, &[]);
    let line = running.stderr_until("admin token");
    let token = fs::read_to_string(place.path("data/admin-token")).unwrap();
    assert!(line.contains("admin-token") && !line.contains(token.trim()), "{line}");
}

#[test]
fn a_closed_stderr_changes_nothing() {
    let place = Place::new();
    place.plugin("plugins/hello", "well", "");
    let mut command = place.toru();
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("TORU_ADMIN_TOKEN", "short")
        .env("TORU_LOG", "debug");
    let running = Running::start_unheard(command);
    let address = running.next_stdout().strip_prefix("listening on http://").unwrap().to_owned();
    assert!(get(&address, "/api/plugins/route/hello/", "short").starts_with("HTTP/1.1 200 OK"));
    let events = get(&address, "/api/plugins/hello/events", "short");
    assert!(events.contains("started"), "the task that stores events lives: {events}");
    running.signal("-TERM");
    assert_eq!(running.end().0.code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let place = Place::new();
    let (running, address) = serve(&place, &[]);
    // A request whose body does not come holds the drain.
    let mut open = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n"
    );
    open.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 12];
    open.set_read_timeout(Some(HANG)).unwrap();
    open.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100", "the host reads the body");
    running.signal("-TERM");
    running.stderr_until("a second signal ends at once");
    running.signal("-TERM");
    assert_eq!(running.end().0.code(), Some(130));
}

#[test]
fn a_host_on_all_addresses_tells_one_that_it_answers_for() {
    let place = Place::new();
    for all in all_addresses() {
        let mut command = place.toru();
        command.args(["serve", "--listen", all]).env("TORU_ADMIN_TOKEN", "a-token-of-the-operator");
        let running = Running::start(command);
        let address = running.next_stdout().strip_prefix("listening on http://").unwrap().to_owned();
        running.stderr_until(&format!("warning: {}", all.trim_end_matches('0')));
        let answer = get(&address, "/api/plugins", "a-token-of-the-operator");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{all}: {answer}");
    }
}

#[test]
fn an_address_in_use_is_said_so() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let done = place.run(["serve", "--listen", &address]);
    done.assert(1, &[&address, "another program listens there"]);
    assert_eq!(done.stdout(), "");
}

#[test]
fn folders_that_cannot_be_made_are_named() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    place.run(["serve", "--listen", "127.0.0.1:0", "--data", "file/data"]).assert(1, &["file/data"]);
    place.run(["serve", "--listen", "127.0.0.1:0", "--plugins", "file/plugins"]).assert(1, &["file/plugins"]);
}

#[test]
fn a_token_that_is_none_is_refused() {
    let place = Place::new();
    let mut command = place.toru();
    let output =
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("TORU_ADMIN_TOKEN", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("TORU_ADMIN_TOKEN: the admin token is empty"));
}

#[test]
fn a_wrong_command_line_exits_2() {
    let place = Place::new();
    place.run(["serve", "--listen", "nowhere"]).assert(2, &["127.0.0.1:3000"]);
    place.run(["serve", "--threads", "0"]).assert(2, &["a number of threads is 1 to 64"]);
    place.run(["serve", "more"]).assert(2, &["Usage"]);
    place.run(["sing"]).assert(2, &["sing"]);
    place.run([]).assert(2, &["Usage"]);
}

#[test]
fn help_has_examples_and_exit_codes() {
    let place = Place::new();
    for command in ["serve", "dev", "call", "check"] {
        let done = place.run([command, "--help"]);
        done.assert(0, &[]);
        assert!(done.stdout().contains("Example") && done.stdout().contains("Exit codes"), "{done:?}");
    }
}
