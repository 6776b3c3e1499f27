//! What the documents show is what runs.

use std::fs;

use crate::{
    host::Host,
    place::{Place, built, copy_folder, examples},
    upgrade::App,
    websocket::{echoes, open},
};

const HELLO: &str = include_str!("../../examples/hello/src/main.rs");
const HELLO_MANIFEST: &str = include_str!("../../examples/hello/plugin.toml");

const ECHO: &str = include_str!("../../examples/echo/src/main.rs");

const PLUGIN_AUTHORS: &str = "docs/plugins/README.md";

/// The first fenced block of a language below a heading of a document.
pub(crate) fn block(document: &str, heading: &str, language: &str) -> String {
    let document = fs::read_to_string(examples().join("..").join(document)).unwrap();
    let (_, section) = document.split_once(&format!("\n{heading}\n")).expect(heading);
    let (_, block) = section.split_once(&format!("```{language}\n")).expect(language);
    block.split_once("```\n").expect("a block ends").0.to_owned()
}

#[test]
fn the_documents_show_the_rust_plugin_that_is_compiled() {
    let code = HELLO.split_once("\n\n").unwrap().1;
    for (document, heading) in [("README.md", "## Write a plugin"), (PLUGIN_AUTHORS, "## In Rust")] {
        assert_eq!(block(document, heading, "rust"), code, "{heading}");
        assert_eq!(block(document, heading, "toml"), HELLO_MANIFEST, "{heading}");
    }
}

#[tokio::test]
async fn the_rust_plugin_of_the_documents_answers() {
    let place = Place::new();
    let folder = place.plugins().join("hello");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("plugin.toml"), block(PLUGIN_AUTHORS, "## In Rust", "toml")).unwrap();
    fs::copy(built("hello"), folder.join("hello")).unwrap();
    let host = Host::start(&place).await;
    assert_eq!(host.client().ask("/hello/").await, "Hello!");
    assert_eq!(host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn the_websocket_of_the_documents_is_compiled_and_answers() {
    let heading = "### WebSockets and other upgrades";
    assert_eq!(block(PLUGIN_AUTHORS, heading, "rust"), ECHO.split_once("\n\n").unwrap().1);
    let place = Place::new();
    place.rust_plugin("echo", "echo");
    let mut host = Host::start(&place).await;
    host.event("echo", "ready").await;
    let app = App { address: host.address(), prefix: "/api/plugins/route/echo" };
    echoes(&mut open(&app).await, "Hello!".to_owned()).await;
    assert_eq!(host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn the_python_plugin_and_the_manifest_of_the_documents_are_whole() {
    let place = Place::new();
    let folder = place.plugins().join("hello");
    fs::create_dir(&folder).unwrap();
    copy_folder(&examples().join("hello-plugin-python/toru"), &folder.join("toru"));
    fs::write(folder.join("plugin.toml"), block(PLUGIN_AUTHORS, "## The manifest", "toml")).unwrap();
    fs::write(folder.join("main.py"), block(PLUGIN_AUTHORS, "## In Python", "python")).unwrap();
    let host = Host::start(&place).await;
    assert_eq!(host.client().ask("/hello/").await, "Hello\n");
    assert_eq!(host.stop().await.code(), Some(0));
}
