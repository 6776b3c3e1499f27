//! The pages for people.

use http::{Method, header};
use toru_host_axum::Limits;

use crate::host::TestHost;

#[tokio::test]
async fn the_first_page_shows_every_plugin_escaped() {
    let host = TestHost::with_plugin().await;
    let page = host.get("/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let text = page.text();
    for part in ["Tell &lt;b&gt;", "A &amp; B", "1.2.3", "📣", "healthy", "href=\"/api/plugins/route/tell/\""]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("Tell <b>"));
    host.stop().await;
}

#[tokio::test]
async fn a_failed_plugin_shows_why() {
    let host = TestHost::start(Limits::default(), |plugins| {
        std::fs::create_dir(plugins.join("broken")).unwrap();
        std::fs::write(plugins.join("broken/plugin.toml"), "id = \n").unwrap();
    })
    .await;
    let page = host.get("/").await;
    assert!(page.text().contains("failed") && page.text().contains("manifest_invalid"), "{page:?}");
    host.stop().await;
}

#[tokio::test]
async fn a_browser_without_a_session_is_told_how_to_enter() {
    let host = TestHost::empty(Limits::default()).await;
    for path in ["/", "/api/plugins", "/api/plugins/route/x/"] {
        let mut request = host.anonymous(Method::GET, path);
        request.headers_mut().insert(header::ACCEPT, "text/html,application/xhtml+xml".parse().unwrap());
        let page = host.send(request).await;
        assert_eq!(page.status, 401, "{path}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{path}");
        assert!(page.text().contains("action=\"/login\""), "{path}");
        assert!(page.header("www-authenticate").starts_with("Bearer"), "{path}");
    }
    host.stop().await;
}

#[tokio::test]
async fn own_answers_load_nothing_from_elsewhere_and_are_not_framed_guessed_or_kept() {
    let host = TestHost::empty(Limits::default()).await;
    for path in ["/", "/login", "/nowhere", "/api/plugins", "/healthz"] {
        let answer = host.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let page = host.get("/").await;
    assert!(
        !page.text().contains("<script") && !page.text().contains("style="),
        "the policy would refuse it"
    );
    host.stop().await;
}

#[tokio::test]
async fn health_and_readiness_answer() {
    let host = TestHost::empty(Limits::default()).await;
    for path in ["/healthz", "/readyz"] {
        let answer = host.send(host.anonymous(Method::GET, path)).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    host.stop().await;
}
