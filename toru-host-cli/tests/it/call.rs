//! `toru call`

use std::fs;

use crate::command::{Place, arg};

#[test]
fn a_call_prints_the_body_on_stdout_and_the_head_on_stderr() {
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "");
    let done = place.run(["call", arg(&plugin), "GET", "/a?b=c", "-H", "X-Tell: one", "-H", "x-tell:two"]);
    done.assert(0, &["200 OK", "content-type: text/plain", "x-method: GET", "x-told: one", "x-told: two"]);
    assert_eq!(done.stdout(), "hello from /a?b=c");
}

#[test]
fn a_body_comes_from_the_command_line_a_file_or_stdin() {
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "");
    let echo = ["call", arg(&plugin), "POST", "/echo", "-d"];
    let text = place.run(echo.into_iter().chain(["from the line"]));
    text.assert(0, &["x-method: POST"]);
    assert_eq!(text.stdout(), "from the line");
    fs::write(place.path("body"), "from a file").unwrap();
    assert_eq!(place.run(echo.into_iter().chain(["@body"])).stdout(), "from a file");
    assert_eq!(place.run_with_input(echo.into_iter().chain(["@-"]), b"from stdin").stdout(), "from stdin");
    place.run(echo.into_iter().chain(["@nothing"])).assert(1, &["nothing: the body cannot be read"]);
    // A folder can be opened, but not read.
    let folder = place.run(echo.into_iter().chain(["@hello"]));
    folder.assert(1, &["hello: the body cannot be read: Is a directory"]);
    assert_eq!(folder.stdout(), "");
}

#[test]
fn an_answer_of_400_or_more_exits_1_and_is_printed() {
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "");
    let done = place.run(["call", arg(&plugin), "GET", "/missing"]);
    done.assert(1, &["404 Not Found"]);
    assert_eq!(done.stdout(), "hello from /missing");
}

#[test]
fn the_build_of_dev_runs_first_and_exec_of_dev_replaces_exec() {
    let place = Place::new();
    let dev = "[dev]\nbuild = \"echo building; cp plugin.py built.py\"\nexec = [\"python3\", \"built.py\"]\n";
    let plugin = place.plugin("hello", "exits", dev);
    let done = place.run(["call", arg(&plugin), "GET", "/"]);
    done.assert(0, &["building"]);
    assert_eq!(done.stdout(), "hello from /");
}

#[test]
fn a_call_without_a_folder_fails() {
    let place = Place::new();
    place.run(["call", "nowhere", "GET", "/"]).assert(1, &["nowhere: there is no such folder"]);
    fs::create_dir(place.path("empty")).unwrap();
    place.run(["call", "empty", "GET", "/"]).assert(1, &["empty: there is no plugin.toml in it"]);
    fs::write(place.path("file"), "").unwrap();
    place.run(["call", "file", "GET", "/"]).assert(1, &["file: this is not a folder"]);
}

#[test]
fn a_call_names_line_and_column_of_a_bad_manifest() {
    let place = Place::new();
    let plugin = place.broken_plugin();
    place.run(["call", arg(&plugin), "GET", "/"]).assert(1, &["plugin.toml", "line 2", "column 8"]);
}

#[test]
fn a_call_ends_with_the_exit_code_of_a_build_that_fails() {
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "[dev]\nbuild = \"echo no compiler >&2; exit 42\"\n");
    let done = place.run(["call", arg(&plugin), "GET", "/"]);
    done.assert(42, &["no compiler", "the build", "42"]);
    assert_eq!(done.stdout(), "");
}

#[test]
fn a_call_of_a_plugin_that_is_never_ready_fails_with_its_stderr() {
    let place = Place::new();
    let plugin = place.plugin("hello", "silent", "");
    let done = place.run(["call", arg(&plugin), "GET", "/", "--start-timeout", "1"]);
    done.assert(1, &["hello:", "ready", "    the last words"]);
}

#[test]
fn a_call_of_a_plugin_that_refuses_to_run_says_what_it_said() {
    let place = Place::new();
    let plugin = place.plugin("hello", "refuses", "");
    place.run(["call", arg(&plugin), "GET", "/"]).assert(1, &["hello:", "no licence for this host"]);
}

#[test]
fn a_call_that_makes_no_request_exits_2() {
    let place = Place::new();
    for args in [
        &["call"][..],
        &["call", "."],
        &["call", ".", "GET"],
        &["call", ".", "GET", "json"],
        &["call", ".", "G T", "/"],
    ] {
        place.run(args.iter().copied()).assert(2, &[]);
    }
    place.run(["call", ".", "GET", "/", "-H", "none"]).assert(2, &["Name: value"]);
}
