//! What a proxy in front may say of its client, and what everyone else may not.

use http::{HeaderValue, Method, Request, header};
use serde_json::Value;
use toru_host_axum::Limits;

use crate::host::{TOKEN, TestHost};

const ROUTE: &str = "/api/plugins/route/tell";
const FORGED: [(&str, &str); 4] = [
    ("x-forwarded-for", "127.0.0.9, 203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "toru.example"),
    ("x-forwarded-prefix", "/tools"),
];

fn forwarded<B>(mut request: Request<B>) -> Request<B> {
    for (name, value) in FORGED {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

/// What the plugin is told: client, scheme, both hosts and prefix.
async fn told(host: &TestHost) -> Vec<String> {
    let answer = host.send(forwarded(host.request(Method::GET, ROUTE))).await;
    let request = answer.json();
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "host", "x-forwarded-prefix"]
        .map(|name| field(&request, name))
        .into()
}

fn field(request: &Value, name: &str) -> String {
    let fields = request["headers"].as_array().unwrap().iter();
    let values: Vec<&str> =
        fields.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect();
    values.join(" and ")
}

#[tokio::test]
async fn who_is_no_trusted_proxy_cannot_speak_for_a_client() {
    for trusted in [None, Some("10.0.0.0/8")] {
        let host = TestHost::behind(trusted).await;
        let own = host.address.to_string();
        assert_eq!(told(&host).await, ["127.0.0.1", "http", &own, &own, ROUTE]);
        host.stop().await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asks_from_where_and_for_what() {
    let host = TestHost::behind(Some("127.0.0.0/8")).await;
    let prefix = format!("/tools{ROUTE}");
    assert_eq!(told(&host).await, ["203.0.113.9", "https", "toru.example", "toru.example", &prefix]);
    host.stop().await;
}

#[tokio::test]
async fn the_host_that_a_proxy_names_has_to_be_allowed_and_its_scheme_to_be_one() {
    let host = TestHost::behind(Some("127.0.0.1")).await;
    for (name, value, status, kind) in [
        ("x-forwarded-host", "evil.example", 421, "misdirected"),
        ("x-forwarded-proto", "gopher", 400, "bad-request"),
        ("x-forwarded-prefix", "//evil.example", 400, "bad-request"),
    ] {
        let mut request = host.request(Method::GET, ROUTE);
        request.headers_mut().insert(name, value.parse().unwrap());
        host.send(request).await.assert_problem(status, kind);
    }
    host.stop().await;
}

#[tokio::test]
async fn the_hosts_own_pages_lie_below_the_prefix_of_a_trusted_proxy() {
    let host = TestHost::behind(Some("127.0.0.1")).await;
    let login = forwarded(host.anonymous(Method::GET, &format!("/login?token={TOKEN}")));
    let login = host.send(login).await;
    assert_eq!((login.status.as_u16(), login.header("location")), (303, "/tools/"));
    assert!(login.header("set-cookie").ends_with("; Path=/tools; Secure"), "{login:?}");
    let session: HeaderValue = login.header("set-cookie").split(';').next().unwrap().parse().unwrap();

    let mut page = forwarded(host.anonymous(Method::GET, "/"));
    page.headers_mut().insert(header::COOKIE, session.clone());
    let page = host.send(page).await;
    for link in ["\"/tools/style.css\"", "\"/tools/logout\"", "\"/tools/api/plugins/route/tell/\""] {
        assert!(page.text().contains(link), "{link}: {}", page.text());
    }
    let mut stranger = forwarded(host.anonymous(Method::GET, "/"));
    stranger.headers_mut().insert(header::ACCEPT, "text/html".parse().unwrap());
    assert!(host.send(stranger).await.text().contains("action=\"/tools/login\""));

    let mut logout = forwarded(host.anonymous(Method::POST, "/logout"));
    logout.headers_mut().insert(header::COOKIE, session);
    logout.headers_mut().insert(header::ORIGIN, "https://toru.example".parse().unwrap());
    let logout = host.send(logout).await;
    assert!(logout.header("set-cookie").ends_with("; Path=/tools; Max-Age=0"), "{logout:?}");
    host.stop().await;
}

#[tokio::test]
async fn without_tls_before_it_a_session_is_sent_without_tls() {
    let host = TestHost::empty(Limits::default()).await;
    let login = host.send(host.anonymous(Method::GET, &format!("/login?token={TOKEN}"))).await;
    assert!(login.header("set-cookie").ends_with("; Path=/"), "{login:?}");
    host.stop().await;
}
