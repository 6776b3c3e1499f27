//! A person at a terminal with a browser: Chromium, driven over WebDriver.

use std::{fs::File, process::Stdio};

use fantoccini::{Locator, error::CmdError};
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, Command},
};

use crate::{client::within, place::Place, programs::Chromium};

/// `toru serve` with a terminal as its stderr: what it says there.
fn serve_at_a_terminal(place: &Place) -> (Child, Lines<BufReader<tokio::fs::File>>) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let stderr = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let host = Command::new(env!("CARGO_BIN_EXE_toru"))
        .args(["serve", "--listen", "127.0.0.1:0", "--plugins"])
        .arg(place.plugins())
        .arg("--data")
        .arg(place.data())
        .env_remove("TORU_ADMIN_TOKEN")
        .env("TORU_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(stderr))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (host, BufReader::new(tokio::fs::File::from_std(File::from(terminal))).lines())
}

/// What a person sees, one step after the other.
#[derive(Debug, Default)]
struct Seen {
    address: String,
    plugins: String,
    layout: String,
    cookie_is_hidden_from_scripts: Option<bool>,
    plugin: String,
    after_logout: String,
    after_login: String,
    frontend: String,
    drawing: String,
}

/// A page as a bundler builds it, of a plugin that never runs; what was written into the page must not run.
fn add_frontend(place: &Place) {
    let dist =
        place.folder("pages", "route = \"/pages\"\nexec = [\"./none\"]\nfrontend = \"dist/\"\n").join("dist");
    std::fs::create_dir_all(dist.join("assets")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dist.join(name), text).unwrap();
    write(
        "index.html",
        "<!doctype html><script type=module crossorigin src=assets/app.js></script>\
         <script>document.documentElement.id = 'told'</script>",
    );
    write("assets/app.js", "import { tell } from './tell.js'; await tell();");
    write(
        "assets/tell.js",
        "export async function tell() { const answer = await fetch('data.json'); \
         document.body.innerHTML = `<p id=told>${(await answer.json()).text}</p>`; }",
    );
    write("data.json", "{\"text\": \"the module has fetched this\"}");
    write(
        "drawing.svg",
        "<svg xmlns='http://www.w3.org/2000/svg'><text y='20'>drawn</text>\
         <script>document.querySelector('text').textContent = 'ran'</script></svg>",
    );
}

async fn look(browser: &fantoccini::Client, link: &str, token: &str) -> Result<Seen, CmdError> {
    let mut seen = Seen::default();
    browser.goto(link).await?;
    seen.address = browser.current_url().await?.to_string();
    let main = browser.find(Locator::Css("main")).await?;
    seen.plugins = main.text().await?;
    seen.layout = main.css_value("display").await?;
    seen.cookie_is_hidden_from_scripts = browser.get_named_cookie("toru_session").await?.http_only();
    browser.find(Locator::LinkText("/simple-python")).await?.click().await?;
    seen.plugin = browser.find(Locator::Css("body")).await?.text().await?;
    browser.back().await?;
    browser.find(Locator::Css("header button")).await?.click().await?;
    seen.after_logout = browser.wait().for_element(Locator::Css("main.enter")).await?.text().await?;
    browser.find(Locator::Id("token")).await?.send_keys(token).await?;
    browser.find(Locator::Css("main.enter button")).await?.click().await?;
    seen.after_login = browser.wait().for_element(Locator::Css("article")).await?.text().await?;
    let frontend = format!("{}api/plugins/pages/frontend", seen.address);
    browser.goto(&frontend).await?;
    seen.frontend = browser.wait().for_element(Locator::Id("told")).await?.text().await?;
    browser.goto(&format!("{frontend}/drawing.svg")).await?;
    seen.drawing = browser.find(Locator::Css("text")).await?.text().await?;
    Ok(seen)
}

#[tokio::test]
async fn a_browser_enters_by_the_printed_link_and_by_the_form_and_sees_the_plugins() {
    let Some(chromium) = Chromium::find() else { return };
    let place = Place::new();
    place.install("simple-plugin-python", "simple-python");
    std::fs::create_dir(place.plugins().join("empty")).unwrap();
    add_frontend(&place);

    let (_host, mut terminal) = serve_at_a_terminal(&place);
    let (mut link, mut is_ready) = (None, false);
    while link.is_none() || !is_ready {
        let line = within(terminal.next_line()).await.unwrap().expect("the host ended before it was ready");
        is_ready |= line.contains("ready (protocol 2");
        link = link.or(line.strip_prefix("enter by ").map(|link| link.trim().to_owned()));
    }
    let link = link.unwrap();
    let token = std::fs::read_to_string(place.data().join("admin-token")).unwrap();

    let (_driver, browser) = within(chromium.open(&place.path().join("browser"))).await;
    // Judged only once the browser is closed: it would outlive a panic.
    let seen = tokio::time::timeout(crate::client::HANG, look(&browser, &link, token.trim())).await;
    within(browser.close()).await.unwrap();

    let seen = seen.expect("the browser hangs").unwrap();
    assert_eq!(
        format!("{}/", link.split_once("/login?token=").unwrap().0),
        seen.address,
        "the token is gone"
    );
    for text in ["Simple (Python)", "healthy", "empty", "failed", "manifest_missing"] {
        assert!(seen.plugins.contains(text), "{text:?} is not shown: {seen:#?}");
    }
    assert_eq!(seen.layout, "grid", "the style sheet is not loaded");
    assert_eq!(seen.cookie_is_hidden_from_scripts, Some(true));
    assert!(seen.plugin.contains("Hello from a simple plugin"), "{seen:#?}");
    assert!(seen.after_logout.contains("Enter with the admin token"), "{seen:#?}");
    assert!(seen.after_login.contains("empty"), "{seen:#?}");
    assert_eq!(seen.frontend, "the module has fetched this", "{seen:#?}");
    assert_eq!(seen.drawing, "drawn", "the script of a drawing ran");
}
