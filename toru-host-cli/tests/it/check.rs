//! `toru check`

use crate::command::{Place, arg};

#[test]
fn a_plugin_that_is_well_gets_a_tick_for_each_step() {
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "[dev]\nbuild = \"true\"\n");
    let done = place.run(["check", arg(&plugin)]);
    done.assert(0, &[]);
    let ticks: Vec<_> = done.stdout().lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(ticks, ["✓ manifest", "✓ build", "✓ start", "✓ GET /", "✓ stop"], "{done:?}");
}

#[test]
fn a_check_says_whether_the_frontend_is_there_once_it_is_built() {
    let place = Place::new();
    let build = "[dev]\nbuild = \"mkdir dist; echo > dist/index.html\"\n";
    let built = place.plugin("built", "well", &format!("frontend = \"dist/\"\n{build}"));
    let done = place.run(["check", arg(&built)]);
    done.assert(0, &[]);
    assert!(done.stdout().contains("✓ frontend: ") && done.stdout().contains("dist is there"), "{done:?}");
    let bare = place.plugin("bare", "well", "frontend = \"dist/\"\n");
    place.run(["check", arg(&bare)]).assert(1, &["✗ frontend: the frontend \"dist/\" is not in", "build it"]);
}

#[test]
fn a_check_without_a_folder_fails() {
    Place::new().run(["check", "nowhere"]).assert(1, &["✗ manifest", "nowhere: there is no such folder"]);
}

#[test]
fn a_check_names_line_and_column_of_a_bad_manifest() {
    let place = Place::new();
    let plugin = place.broken_plugin();
    place.run(["check", arg(&plugin)]).assert(1, &["✗ manifest", "line 2", "column 8"]);
}

#[test]
fn a_check_fails_with_a_build_that_fails() {
    let place = Place::new();
    let plugin = place.plugin("hello", "well", "[dev]\nbuild = \"exit 42\"\n");
    let done = place.run(["check", arg(&plugin)]);
    done.assert(1, &["✗ build", "42"]);
    assert!(done.stdout().contains("✓ manifest"), "{done:?}");
}

#[test]
fn a_check_of_a_plugin_that_is_never_ready_shows_its_stderr() {
    let place = Place::new();
    let plugin = place.plugin("hello", "silent", "");
    let done = place.run(["check", arg(&plugin), "--start-timeout", "1"]);
    done.assert(1, &["✗ start", "ready", "    the last words"]);
}

#[test]
fn a_check_of_a_plugin_that_exits_shows_its_stderr() {
    let place = Place::new();
    let plugin = place.plugin("hello", "exits", "");
    place.run(["check", arg(&plugin)]).assert(1, &["✗ start", "7", "    the last words"]);
}

#[test]
fn a_check_of_a_plugin_that_refuses_to_run_says_what_it_said() {
    let place = Place::new();
    let plugin = place.plugin("hello", "refuses", "");
    place.run(["check", arg(&plugin)]).assert(1, &["✗ start", "no licence for this host"]);
}

#[test]
fn a_check_fails_when_the_first_page_is_a_server_error() {
    let place = Place::new();
    let plugin = place.plugin("hello", "ill", "");
    let done = place.run(["check", arg(&plugin)]);
    done.assert(1, &["✗ GET /", "500"]);
    assert!(done.stdout().contains("✓ start"), "{done:?}");
}

#[test]
fn a_check_fails_when_the_plugin_has_to_be_killed() {
    let place = Place::new();
    let plugin = place.plugin("hello", "stays", "");
    let done = place.run(["check", arg(&plugin)]);
    done.assert(1, &["✗ stop", "killed"]);
    assert!(done.stdout().contains("✓ GET /: 200"), "{done:?}");
}
