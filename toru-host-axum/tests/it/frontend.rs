//! Frontends that are folders.

use std::{fs, path::Path, time::Duration};

use http::{Method, header};
use toru_core::{RestartPolicy, RestartSettings, supervisor::StateName};
use toru_host_axum::Limits;

use crate::host::{Answer, TestHost, add_plugin, within};

const PAGE: &str = "<!doctype html><script type=\"module\" src=\"assets/app.js\"></script>";

/// A plugin that ends at once, with a folder of files.
fn add_broken(plugins: &Path) {
    let folder = plugins.join("broken");
    fs::create_dir_all(folder.join("dist/assets")).unwrap();
    let manifest = "id = \"broken\"\nname = \"B\"\nversion = \"1\"\nroute = \"/broken\"\nprotocol = 2\n\
                    exec = [\"sh\", \"-c\", \"exit 3\"]\nfrontend = \"dist/\"\n";
    fs::write(folder.join("plugin.toml"), manifest).unwrap();
    fs::write(folder.join("dist/index.html"), PAGE).unwrap();
    fs::write(folder.join("dist/bundle.js"), "bundle").unwrap();
    fs::write(folder.join("dist/assets/app.js"), "abc").unwrap();
    fs::write(folder.join("secret"), "secret").unwrap();
}

/// A host whose plugin has crashed and is not started again while the test runs.
async fn crashed() -> TestHost {
    let hour = Duration::from_secs(3_600);
    let settings = RestartSettings { first_delay: hour, max_delay: hour, ..RestartSettings::default() };
    let restart = RestartPolicy::try_new(settings).unwrap();
    let host = TestHost::start_with(restart, Limits::default(), add_broken).await;
    let crashed = host.supervisor.wait_until("broken", |status| status.state == StateName::Backoff);
    within(crashed).await.unwrap();
    host
}

async fn known(host: &TestHost, path: &str, etag: &str) -> Answer {
    let mut request = host.request(Method::GET, path);
    request.headers_mut().insert(header::IF_NONE_MATCH, etag.parse().unwrap());
    host.send(request).await
}

#[tokio::test]
async fn the_files_of_a_plugin_that_crashed_are_served_with_a_tag() {
    let host = crashed().await;
    let page = host.get("/api/plugins/broken/frontend/").await;
    assert_eq!((page.status.as_u16(), page.text()), (200, PAGE));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let script = host.get("/api/plugins/broken/frontend/assets/app.js").await;
    assert_eq!((script.status.as_u16(), script.text()), (200, "abc"));
    assert_eq!(script.header("cache-control"), "private, no-cache");
    let etag = script.header("etag");
    assert!(etag.starts_with("\"ba7816bf8f01cfea"), "{etag}");
    let again = known(&host, "/api/plugins/broken/frontend/assets/app.js", etag).await;
    assert_eq!((again.status.as_u16(), again.text()), (304, ""));
    fs::write(host.folder.path().join("plugins/broken/dist/assets/app.js"), "abd").unwrap();
    let changed = known(&host, "/api/plugins/broken/frontend/assets/app.js", etag).await;
    assert_eq!((changed.status.as_u16(), changed.text()), (200, "abd"));
    let named = host.get("/api/plugins/broken/frontend/bundle.js?v=x").await;
    assert_eq!(named.header("cache-control"), "private, no-cache");
    host.stop().await;
}

#[tokio::test]
async fn the_bundle_of_the_folder_is_at_the_bundles_own_address_too() {
    let host = crashed().await;
    for path in ["/api/plugins/broken/bundle.js", "/api/plugins/broken/frontend/bundle.js"] {
        let bundle = host.get(path).await;
        assert_eq!(
            (bundle.text(), bundle.header("content-type")),
            ("bundle", "text/javascript; charset=utf-8")
        );
    }
    fs::remove_file(host.folder.path().join("plugins/broken/dist/bundle.js")).unwrap();
    host.get("/api/plugins/broken/bundle.js").await.assert_problem(404, "no-bundle");
    host.stop().await;
}

#[tokio::test]
async fn head_has_the_headers_and_other_methods_are_refused() {
    let host = crashed().await;
    let head = host.send(host.request(Method::HEAD, "/api/plugins/broken/frontend/assets/app.js")).await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.text()), (200, "3", ""));
    let post = host.post("/api/plugins/broken/frontend/assets/app.js", "x").await;
    post.assert_problem(405, "method-not-allowed");
    assert_eq!(post.header("allow"), "GET,HEAD");
    host.stop().await;
}

#[tokio::test]
async fn a_folder_is_asked_for_with_a_slash_and_never_listed() {
    let host = crashed().await;
    let bare = host.get("/api/plugins/broken/frontend?a=b").await;
    assert_eq!((bare.status.as_u16(), bare.header("location")), (308, "./frontend/?a=b"));
    host.get("/api/plugins/broken/frontend/assets/").await.assert_problem(404, "not-found");
    host.get("/api/plugins/broken/frontend/assets").await.assert_problem(404, "not-found");
    host.stop().await;
}

#[tokio::test]
async fn no_spelling_leads_out_of_the_folder() {
    let host = crashed().await;
    for path in [
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "assets/../../secret",
        "/etc/passwd",
        "a%5cb",
        "%00",
        ".%2e/secret",
    ] {
        // As it is: a client's library would change it.
        let request = format!(
            "GET /api/plugins/broken/frontend/{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            host.address,
            crate::host::TOKEN
        );
        let answer = host.exchange(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad-request"), "{path}: {answer}");
    }
    host.get("/api/plugins/broken/frontend/.hidden").await.assert_problem(404, "not-found");
    host.stop().await;
}

#[tokio::test]
async fn a_page_may_load_what_the_host_has_and_another_file_that_is_opened_runs_nothing() {
    let host = crashed().await;
    fs::write(host.folder.path().join("plugins/broken/dist/a.svg"), "<svg/>").unwrap();
    let page = host.get("/api/plugins/broken/frontend/").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'self'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let drawing = host.get("/api/plugins/broken/frontend/a.svg").await;
    let policy = drawing.header("content-security-policy");
    assert!(policy.contains("sandbox") && policy.contains("default-src 'none'"), "{policy}");
    host.stop().await;
}

#[tokio::test]
async fn a_disabled_plugin_and_one_without_a_folder_have_no_frontend() {
    let host = TestHost::start(Limits::default(), |plugins| {
        add_broken(plugins);
        add_plugin(plugins, "tell");
    })
    .await;
    host.get("/api/plugins/tell/frontend/").await.assert_problem(404, "no-frontend");
    host.get("/api/plugins/nobody/frontend/").await.assert_problem(404, "unknown-plugin");
    assert_eq!(host.get("/api/plugins/broken/frontend/").await.status, 200);
    assert_eq!(host.post("/api/plugins/broken/disable", "").await.status, 200);
    let stopped = host.supervisor.wait_until("broken", |status| status.state == StateName::Stopped);
    within(stopped).await.unwrap();
    for path in ["frontend/", "frontend/assets/app.js", "frontend"] {
        host.get(&format!("/api/plugins/broken/{path}")).await.assert_problem(404, "no-frontend");
    }
    host.get("/api/plugins/broken/bundle.js").await.assert_problem(404, "no-bundle");
    assert_eq!(host.post("/api/plugins/broken/enable", "").await.status, 200);
    assert_eq!(host.get("/api/plugins/broken/frontend/").await.status, 200);
    host.stop().await;
}
