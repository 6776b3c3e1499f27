//! The host and its plugin as real processes.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

/// A host that runs until it is dropped.
struct Host {
    process: Child,
    /// Open as long as the host may write to it.
    _stdout: BufReader<ChildStdout>,
    authority: String,
}

impl Host {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_embed-mail"))
            .arg(folder)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let authority = line.trim().strip_prefix("listening on http://").expect(&line).to_owned();
        Self { process, _stdout: stdout, authority }
    }

    /// The status and body of the answer.
    fn send(&self, method: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.authority).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "{method} /plugins/newsletter/subscribers HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.authority,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The plugin ends by itself when its host dies.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn letters(folder: &Path) -> Vec<String> {
    let outbox = fs::read_dir(folder.join("outbox")).unwrap();
    outbox.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn a_plugin_sends_mail_by_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path());
    let ann = r#"{"address": "ann@example.org"}"#;
    assert_eq!(host.send("POST", ann), (201, "Welcome!\n".to_owned()));
    assert_eq!(host.send("POST", ann).0, 200);
    let [letter] = &letters(folder.path())[..] else { panic!("one letter is sent") };
    assert!(
        letter.starts_with("From: newsletter@plugins.invalid\r\nTo: ann@example.org\r\nSubject: Welcome\r\n")
    );
    assert!(letter.ends_with("\r\n\r\nYou will hear from us.\r\n"), "{letter}");

    // What would be a header of its own is refused by the host, told by the plugin, and not kept.
    let (status, text) = host.send("POST", r#"{"address": "bob@example.org\r\nBcc: all@example.org"}"#);
    assert_eq!((status, letters(folder.path()).len()), (400, 1), "{text}");
    assert!(text.contains("must be one address"), "{text}");
    assert_eq!(host.send("GET", "").1, r#"["ann@example.org"]"#);
}
