//! nginx in front of the host, configured as the documents say.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use futures_util::StreamExt;
use http::{Method, Request, header};
use http_body_util::Full;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

use crate::{
    client::{Answer, Connection, TOKEN, within},
    docs::block,
    host::Host,
    place::Place,
    programs,
};

const DOCUMENT: &str = "docs/HTTP.md";
/// The name under which clients ask for the host.
const NAME: &str = "toru.example";
/// Another program may take the port between its choice and nginx.
const TRIES: usize = 5;

/// The program.
pub(crate) struct Nginx(PathBuf);

/// A front that runs. Dropped, it is killed.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    _process: Child,
}

impl Nginx {
    pub(crate) fn find() -> Option<Self> {
        programs::find("nginx", ["nginx"], "nginx-light").map(|[program]| Self(program))
    }

    /// Starts nginx before this host: at `/`, and below `/tools`.
    pub(crate) async fn before(&self, host: SocketAddr, folder: &Path) -> Front {
        fs::create_dir(folder).unwrap();
        for _ in 0..TRIES {
            let address = free_address().await;
            fs::write(folder.join("nginx.conf"), configuration(host, address, folder)).unwrap();
            if let Some(process) = within(self.start(folder)).await {
                return Front { address, _process: process };
            }
        }
        panic!("nginx has not started {TRIES} times");
    }

    /// Returns once it listens; `None`: it has ended.
    async fn start(&self, folder: &Path) -> Option<Child> {
        let mut process = Command::new(&self.0)
            .arg("-p")
            .arg(folder)
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            // The first line after its sockets were opened.
            if line.contains("using the \"epoll\" event method") {
                // It is read on: a pipe that nobody reads would end nginx.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Some(process);
            }
        }
        None
    }
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// The configuration of the documents, on other addresses, and what a test adds to run it in a folder.
fn configuration(host: SocketAddr, address: SocketAddr, folder: &Path) -> String {
    let server = block(DOCUMENT, "### nginx", "nginx");
    let below_a_prefix = block(DOCUMENT, "### nginx, below a prefix", "nginx");
    let (server, end) = server.trim_end().rsplit_once('}').expect("a server block ends");
    let server = format!("{server}{below_a_prefix}{end}}}\n")
        .replace("listen 80;", &format!("listen {address};"))
        .replace("127.0.0.1:3000", &host.to_string());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {}/pid;\nerror_log stderr notice;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{server}}}\n",
        folder.display()
    )
}

async fn send(front: &Front, request: Request<Full<bytes::Bytes>>) -> Answer {
    within(async { Connection::open(front.address).await.try_send(request).await }).await.unwrap()
}

/// A request with the admin token, from a page of the host itself.
fn request(method: Method, path: &str, body: impl Into<bytes::Bytes>) -> Request<Full<bytes::Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, NAME)
        .header(header::ORIGIN, format!("http://{NAME}"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(body.into()))
        .unwrap()
}

async fn get(front: &Front, path: &str) -> Answer {
    send(front, request(Method::GET, path, "")).await
}

async fn post(front: &Front, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
    send(front, request(Method::POST, path, body)).await
}

async fn check_hello(front: &Front, mount: &str) {
    let json = get(front, &format!("{mount}/json")).await;
    assert_eq!((json.status.as_u16(), json.body.len()), (200, 100), "{mount}: {json:?}");
    let events = get(front, &format!("{mount}/events?n=3")).await;
    assert_eq!(events.text(), "data: 0\n\ndata: 1\n\ndata: 2\n\n", "{mount}");
    let body = vec![b'x'; 3 << 20];
    assert!(post(front, &format!("{mount}/echo"), body.clone()).await.body == body, "{mount}");
}

async fn check_todo(front: &Front, mount: &str) {
    let home = format!("{mount}/");
    let named = post(front, &format!("{mount}/name"), "name=Ann").await;
    assert_eq!((named.status.as_u16(), named.field("location")), (303, format!("http://{NAME}{home}")));
    assert!(named.field("set-cookie").starts_with(&format!("name=Ann; Path={mount};")), "{named:?}");

    let added = post(front, &format!("{mount}/todos"), "text=milk").await;
    assert_eq!((added.status.as_u16(), added.field("location")), (303, home.clone()));
    let page = get(front, &home).await;
    for text in ["milk", &format!("<base href=\"{home}\">"), &format!("href=\"http://{NAME}{home}\"")] {
        assert!(page.text().contains(text), "{text}: {}", page.text());
    }

    let mut upgrade = format!("ws://{NAME}{mount}/live").into_client_request().unwrap();
    let headers = upgrade.headers_mut();
    headers.insert(header::AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
    headers.insert(header::ORIGIN, format!("http://{NAME}").parse().unwrap());
    let stream = within(TcpStream::connect(front.address)).await.unwrap();
    let (mut socket, _) = within(client_async(upgrade, stream)).await.unwrap();
    let first = within(socket.next()).await.unwrap().unwrap();
    assert!(first.to_text().unwrap().contains("milk"), "{first}");
    assert_eq!(post(front, &format!("{mount}/todos"), "text=bread").await.status, 303);
    let second = within(socket.next()).await.unwrap().unwrap();
    assert!(second.to_text().unwrap().contains("bread"), "{second}");
}

#[tokio::test]
async fn plugins_work_through_nginx_with_and_without_a_prefix() {
    let Some(nginx) = Nginx::find() else { return };
    let place = Place::new();
    place.install_rust("todo-axum", "todo");
    place.install_rust("hello-plugin-rust", "hello-rust");
    place.install("hello-plugin-python", "hello-python");
    let mut host = Host::start_with(&place, &["--allow-host", NAME, "--trusted-proxy", "127.0.0.1"]).await;
    for id in ["todo", "hello-rust", "hello-python"] {
        host.event(id, "ready").await;
    }
    let front = nginx.before(host.address(), &place.path().join("nginx")).await;
    for prefix in ["", "/tools"] {
        let mount = |route| format!("{prefix}/api/plugins/route/{route}");
        check_hello(&front, &mount("hello-rust")).await;
        check_hello(&front, &mount("hello-python")).await;
        check_todo(&front, &mount("todo")).await;
        let login = get(&front, &format!("{prefix}/login?token={TOKEN}")).await;
        assert_eq!((login.status.as_u16(), login.field("location")), (303, format!("{prefix}/")));
    }
    drop(front);
    assert_eq!(host.stop().await.code(), Some(0));
}
