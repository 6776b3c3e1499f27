//! `toru dev`

use crate::{
    command::{Place, Running, arg},
    serve::ask,
};

#[test]
fn dev_builds_serves_and_tells_the_links() {
    let place = Place::new();
    let one = place.plugin("one", "well", "[dev]\nbuild = \"echo building one\"\n");
    let two = place.plugin("two", "well", "");
    let mut command = place.toru();
    command.args(["dev", arg(&one), arg(&two), "--listen", "127.0.0.1:0"]);
    let dev = Running::start(command);
    dev.stderr_until("building one");
    let base = dev.next_stdout().strip_prefix("listening on ").unwrap().to_owned();
    assert_eq!(dev.next_stdout(), format!("one: {base}/api/plugins/route/one/"));
    assert_eq!(dev.next_stdout(), format!("two: {base}/api/plugins/route/two/"));
    let told = dev.stderr_until("admin token");
    assert!(told.contains(".toru/admin-token"), "the link with the token is for a terminal only: {told}");
    dev.stderr_until("what a plugin prints is in ./.toru/logs/plugins/<id>.log");
    dev.stderr_until(": ready");
    dev.stderr_until(": ready");
    assert!(place.path(".toru/admin-token").exists());
    dev.signal("-TERM");
    let (status, rest) = dev.end();
    assert_eq!((status.code(), rest), (Some(0), vec![]));
}

#[test]
fn dev_without_a_folder_fails() {
    let place = Place::new();
    place.run(["dev", "nowhere"]).assert(1, &["nowhere: there is no such folder"]);
    place.run(["dev"]).assert(2, &["Usage"]);
}

#[test]
fn dev_takes_each_plugin_once() {
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "");
    let done = place.run(["dev", arg(&plugin), "hello"]);
    done.assert(2, &["are both the plugin \"hello\""]);
}

#[test]
fn dev_names_line_and_column_of_a_bad_manifest() {
    let place = Place::new();
    let plugin = place.broken_plugin();
    place.run(["dev", arg(&plugin)]).assert(1, &["plugin.toml", "line 2", "column 8"]);
}

#[test]
fn dev_ends_with_the_exit_code_of_a_build_that_fails() {
    let place = Place::new();
    let well = place.plugin("well", "well", "");
    let ill = place.plugin("ill", "well", "[dev]\nbuild = \"exit 42\"\n");
    let done = place.run(["dev", arg(&well), arg(&ill)]);
    done.assert(42, &["the build `exit 42`"]);
    assert_eq!(done.stdout(), "");
}

#[test]
fn dev_tells_of_a_plugin_that_is_never_ready_and_serves_on() {
    let place = Place::new();
    let plugin = place.plugin("hello", "silent", "");
    let mut command = place.toru();
    command.args(["dev", arg(&plugin), "--listen", "127.0.0.1:0", "--start-timeout", "1"]);
    let dev = Running::start(command);
    dev.stderr_until("hello: ");
    dev.stderr_until("    the last words");
    dev.signal("-INT");
    assert_eq!(dev.end().0.code(), Some(0));
}

#[test]
fn dev_tells_of_a_plugin_that_refuses_to_run_and_serves_on() {
    let place = Place::new();
    let plugin = place.plugin("hello", "refuses", "");
    let mut command = place.toru();
    command.args(["dev", arg(&plugin), "--listen", "127.0.0.1:0"]);
    let dev = Running::start(command);
    dev.stderr_until("no licence for this host");
    dev.signal("-TERM");
    assert_eq!(dev.end().0.code(), Some(0));
}

#[test]
fn dev_tells_of_a_plugin_that_is_disabled_and_of_how_to_enable_it() {
    const TOKEN: &str = "a-token-of-the-operator";
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "");
    let dev = |more: &[&str]| {
        let mut command = place.toru();
        command.args(["dev", arg(&plugin), "--listen", "127.0.0.1:0"]).args(more);
        command.env("TORU_ADMIN_TOKEN", TOKEN);
        let dev = Running::start(command);
        let address = dev.next_stdout().strip_prefix("listening on http://").unwrap().to_owned();
        (dev, address)
    };
    let wish = |address: &str, wish: &str| {
        let answer = ask("POST", address, &format!("/api/plugins/hello/{wish}"), TOKEN);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    };
    let (first, address) = dev(&[]);
    first.stderr_until("hello: ready");
    wish(&address, "disable");
    first.stderr_until("hello: disabled");
    first.signal("-TERM");
    assert_eq!(first.end().0.code(), Some(0));

    let (second, address) = dev(&[]);
    let told = second.stderr_until("hello: disabled");
    assert!(told.contains(&format!("POST http://{address}/api/plugins/hello/enable")), "{told}");
    wish(&address, "enable");
    second.stderr_until("hello: ready");
    wish(&address, "disable");
    second.signal("-TERM");
    assert_eq!(second.end().0.code(), Some(0));

    let (attaching, address) = dev(&["--attach", "hello=hello.sock"]);
    let told = attaching.stderr_until("hello: ");
    assert!(told.contains("hello: disabled"), "nobody is told to start what is not awaited: {told}");
    wish(&address, "enable");
    attaching.stderr_until("hello: waits to be attached");
    attaching.signal("-TERM");
    assert_eq!(attaching.end().0.code(), Some(0));
}

#[test]
fn a_signal_during_the_build_ends_it() {
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "[dev]\nbuild = \"echo building; exec sleep 1000\"\n");
    let mut command = place.toru();
    command.args(["dev", arg(&plugin)]);
    let dev = Running::start(command);
    dev.stderr_until("building");
    dev.signal("-TERM");
    assert_eq!(dev.end().0.code(), Some(130));
}
