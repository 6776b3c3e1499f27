//! nginx as the proxy of an application on a Unix socket.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
};

use super::{System, application};
use crate::{
    Outcome,
    load::Target,
    process::Guard,
    tool::{self, NotStarted},
};

/// Keep-alive on both sides, no log; an upload is streamed, and no part of an answer goes to the disk: it has 16 buffers of 64 KiB.
/// Of what was tried (no buffering, the default buffers with and without a file) this takes the least CPU for bodies by far, and
/// as much as the others for small answers.
const CONFIGURATION: &str = "\
daemon off;
worker_processes WORKERS;
error_log stderr crit;
pid FOLDER/nginx.pid;
events { worker_connections 2048; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    upstream application {
        server unix:FOLDER/app.sock;
        keepalive 256;
        keepalive_requests 100000000;
    }
    server {
        listen 127.0.0.1:PORT;
        location / {
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_buffers 16 64k;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }
    }
}
";

pub(crate) fn configuration() -> &'static str {
    CONFIGURATION
}

pub(super) fn before_axum(workers: u32) -> Result<System, NotStarted> {
    require()?;
    let folder = tempfile::tempdir()?;
    let (app, _) = application(folder.path())?;
    let (nginx, target) = start(folder.path(), workers)?;
    Ok(System { target, processes: vec![nginx, app], _folder: Some(folder) })
}

pub(super) fn require() -> Result<(), NotStarted> {
    tool::require("nginx", "nginx-light")
}

/// nginx before `app.sock` in this folder.
pub(super) fn start(folder: &Path, workers: u32) -> Outcome<(Guard, Target)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let folder_name = folder.display().to_string();
    let mut text = CONFIGURATION
        .replace("FOLDER", &folder_name)
        .replace("PORT", &port.to_string())
        .replace("WORKERS", &workers.to_string());
    if fs::metadata("/proc/self")?.uid() == 0 {
        // Else its worker gives root up, and may not enter the folder of the socket.
        text.insert_str(0, "user root;\n");
    }
    let path = folder.join("nginx.conf");
    fs::write(&path, text)?;
    let mut nginx = Guard::spawn(Command::new("nginx").arg("-c").arg(&path).args(["-e", "stderr"]))?;
    let authority = format!("127.0.0.1:{port}");
    // It says nothing when it accepts.
    nginx.wait_until(|| TcpStream::connect(&authority).is_ok())?;
    Ok((nginx, Target { authority, prefix: String::new(), header: None }))
}
