//! Who may enter, and how.

use std::sync::Arc;

use http::{Method, Uri, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use toru_host_axum::{AdminToken, Limits, Server};

use crate::host::{Answer, TOKEN, TestHost, all_addresses, within};

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Anyone.
    Nothing,
    /// Who has a credential.
    Credential,
}

/// Every endpoint of the host with a method that it has, and a mount of a plugin.
const ENDPOINTS: [(Method, &str, Needs); 20] = [
    (Method::GET, "/", Needs::Credential),
    (Method::GET, "/login", Needs::Nothing),
    (Method::POST, "/login", Needs::Nothing),
    (Method::POST, "/logout", Needs::Credential),
    (Method::GET, "/style.css", Needs::Nothing),
    (Method::GET, "/healthz", Needs::Nothing),
    (Method::GET, "/readyz", Needs::Nothing),
    (Method::GET, "/api/plugins", Needs::Credential),
    (Method::GET, "/api/plugins/tell", Needs::Credential),
    (Method::POST, "/api/plugins/tell/enable", Needs::Credential),
    (Method::POST, "/api/plugins/tell/disable", Needs::Credential),
    (Method::GET, "/api/plugins/tell/logs", Needs::Credential),
    (Method::GET, "/api/plugins/tell/events", Needs::Credential),
    (Method::GET, "/api/plugins/tell/bundle.js", Needs::Credential),
    (Method::GET, "/api/plugins/tell/frontend", Needs::Credential),
    (Method::GET, "/api/plugins/tell/frontend/", Needs::Credential),
    (Method::GET, "/api/plugins/tell/frontend/app.js", Needs::Credential),
    (Method::POST, "/api/plugins/tell/kv", Needs::Credential),
    (Method::GET, "/api/plugins/route/tell/", Needs::Credential),
    (Method::GET, "/nowhere", Needs::Credential),
];

/// Enters by the login link and gives the cookie as a browser sends it back.
async fn login(host: &TestHost) -> String {
    let answer = host.send(host.anonymous(Method::GET, &format!("/login?token={TOKEN}"))).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.header("location"), "/");
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

async fn with_headers(
    host: &TestHost,
    method: &Method,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> Answer {
    let mut request = host.anonymous(method.clone(), path);
    for (name, value) in headers {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    host.send(request).await
}

#[tokio::test]
async fn without_a_credential_only_login_style_and_health_answer() {
    let host = TestHost::empty(Limits::default()).await;
    for (method, path, needs) in ENDPOINTS {
        let anonymous = host.send(host.anonymous(method.clone(), path)).await;
        match needs {
            Needs::Nothing => assert_ne!(anonymous.status, 401, "{method} {path}"),
            Needs::Credential => anonymous.assert_problem(401, "credentials-required"),
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn every_endpoint_opens_to_the_token_and_to_a_session_and_to_nothing_else() {
    let host = TestHost::empty(Limits::default()).await;
    let cookie = login(&host).await;
    let own_origin = format!("http://{}", host.address);
    for (method, path, _) in ENDPOINTS.into_iter().filter(|(_, _, needs)| *needs == Needs::Credential) {
        let by_token = host.send(host.request(method.clone(), path)).await;
        assert!(![401, 403].contains(&by_token.status.as_u16()), "{method} {path}: {by_token:?}");
        if path == "/logout" {
            continue;
        }
        let by_session = [(header::COOKIE, &*cookie), (header::ORIGIN, &own_origin)];
        let by_session = with_headers(&host, &method, path, &by_session).await;
        assert!(![401, 403].contains(&by_session.status.as_u16()), "{method} {path}: {by_session:?}");
        let other_cookie = [(header::COOKIE, "toru_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
        assert_eq!(with_headers(&host, &method, path, &other_cookie).await.status, 401, "{method} {path}");
        let other_scheme = format!("Basic {TOKEN}");
        let other_scheme =
            with_headers(&host, &method, path, &[(header::AUTHORIZATION, &other_scheme)]).await;
        assert_eq!(other_scheme.status, 401, "{method} {path}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_session_changes_nothing_without_its_own_origin() {
    let host = TestHost::empty(Limits::default()).await;
    let cookie = login(&host).await;
    for (method, path, _) in
        ENDPOINTS.into_iter().filter(|(method, path, _)| !method.is_safe() && *path != "/login")
    {
        with_headers(&host, &method, path, &[(header::COOKIE, &cookie)])
            .await
            .assert_problem(403, "foreign-origin");
        for origin in ["http://evil.example", "null", "http://localhost:1"] {
            let headers = [(header::COOKIE, &*cookie), (header::ORIGIN, origin)];
            with_headers(&host, &method, path, &headers).await.assert_problem(403, "foreign-origin");
        }
    }
    let upgrade =
        [(header::COOKIE, &*cookie), (header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")];
    let answer = with_headers(&host, &Method::GET, "/api/plugins/route/tell/", &upgrade).await;
    answer.assert_problem(403, "foreign-origin");
    host.stop().await;
}

#[tokio::test]
async fn the_login_link_opens_a_host_on_all_addresses() {
    let host = TestHost::empty(Limits::default()).await;
    for all in all_addresses() {
        let builder = Server::builder(host.supervisor.clone(), AdminToken::new(TOKEN).unwrap());
        let server = builder.bind(all).await.unwrap();
        let link: Uri = server.login_url().parse().unwrap();
        let served = tokio::spawn(server.run(std::future::pending()));
        let name = link.authority().unwrap().as_str();
        let mut stream = TcpStream::connect(name).await.unwrap();
        let path = link.path_and_query().unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 303 "), "{link}: {answer}");
        served.abort();
    }
    host.stop().await;
}

#[tokio::test]
async fn a_login_sets_a_cookie_that_scripts_and_other_sites_do_not_get() {
    let host = TestHost::empty(Limits::default()).await;
    let answer = host.send(host.anonymous(Method::GET, &format!("/login?token={TOKEN}"))).await;
    let cookie = answer.header("set-cookie");
    for part in ["toru_session=", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN));
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_ne!(login(&host).await, login(&host).await, "each login is a session of its own");
    host.stop().await;
}

#[tokio::test]
async fn a_logout_ends_the_session() {
    let host = TestHost::empty(Limits::default()).await;
    let cookie = login(&host).await;
    let origin = format!("http://{}", host.address);
    let headers = [(header::COOKIE, &*cookie), (header::ORIGIN, &origin)];
    let answer = with_headers(&host, &Method::POST, "/logout", &headers).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/"));
    assert_eq!(with_headers(&host, &Method::GET, "/", &[(header::COOKIE, &cookie)]).await.status, 401);
    host.stop().await;
}

#[tokio::test]
async fn a_wrong_token_gets_a_problem_or_for_a_browser_a_page() {
    let host = TestHost::empty(Limits::default()).await;
    let wrong = [(header::AUTHORIZATION, "Bearer wrong")];
    let answer = with_headers(&host, &Method::GET, "/api/plugins", &wrong).await;
    answer.assert_problem(401, "wrong-token");
    assert!(answer.header("www-authenticate").starts_with("Bearer"));
    for path in ["/login?token=wrong", "/login?token="] {
        let page = host.send(host.anonymous(Method::GET, path)).await;
        assert_eq!(page.status, 401);
        assert!(page.text().contains("not the admin token"), "{page:?}");
        assert_eq!(page.header("set-cookie"), "");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_form_enters_unless_another_site_sent_it() {
    let host = TestHost::empty(Limits::default()).await;
    let form = |origin: &str| {
        let mut request = host.anonymous(Method::POST, "/login");
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        request.map(|_| format!("token={TOKEN}").into())
    };
    assert_eq!(host.send(form(&format!("http://{}", host.address))).await.status, 303);
    host.send(form("http://evil.example")).await.assert_problem(403, "foreign-origin");
    host.stop().await;
}

#[tokio::test]
async fn the_host_answers_for_its_own_names_only() {
    let host = TestHost::empty(Limits::default()).await;
    let port = host.address.port();
    for (name, status) in [
        (format!("localhost:{port}"), 200),
        (format!("127.0.0.1:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        ("toru.example".into(), 200),
        ("evil.example".into(), 421),
        (format!("evil.example:{port}"), 421),
        ("localhost:1".into(), 421),
    ] {
        for path in ["/api/plugins", "/healthz"] {
            let mut request = host.request(Method::GET, path);
            request.headers_mut().insert(header::HOST, name.parse().unwrap());
            let answer = host.send(request).await;
            assert_eq!(answer.status.as_u16(), status, "{name} {path}");
        }
    }
    let twice = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost:{port}\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n"
    );
    assert!(host.exchange(twice).await.starts_with("HTTP/1.1 400 "));
    assert!(
        host.exchange("GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400 ")
    );
    host.stop().await;
}

#[tokio::test]
async fn wrong_tokens_are_held_up_and_right_ones_never() {
    let host = TestHost::empty(Limits::default()).await;
    let cookie = login(&host).await;
    let host = Arc::new(host);
    let mut tries = JoinSet::new();
    for _ in 0..200 {
        let host = host.clone();
        tries.spawn(async move {
            with_headers(&host, &Method::GET, "/", &[(header::AUTHORIZATION, "Bearer wrong")])
                .await
                .status
                .as_u16()
        });
    }
    let mut statuses = Vec::new();
    while statuses.len() < 20 {
        statuses.push(within(tries.join_next()).await.unwrap().unwrap());
    }
    assert_eq!(statuses, [401; 20]);
    // Each on a connection of its own: nothing that was shown before helps them.
    let right = format!("Bearer {TOKEN}");
    for _ in 0..64 {
        let answer =
            with_headers(&host, &Method::GET, "/api/plugins", &[(header::AUTHORIZATION, &right)]).await;
        assert_eq!(answer.status, 200);
    }
    tries.shutdown().await;
    let by_session = with_headers(&host, &Method::GET, "/api/plugins", &[(header::COOKIE, &cookie)]).await;
    assert_eq!(by_session.status, 200);
    Arc::into_inner(host).unwrap().stop().await;
}
