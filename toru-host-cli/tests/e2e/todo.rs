//! Two windows of a browser on the todo app, through the host.

use std::fs;

use fantoccini::{Client, Locator, error::CmdError};

use crate::{
    client::{HANG, TOKEN, within},
    host::Host,
    nginx::Nginx,
    place::Place,
    programs::Chromium,
};

const APP: &str = "/api/plugins/route/todo";

/// What two people see, one step after the other.
#[derive(Debug, Default)]
struct Seen {
    /// Where the browser is after the form that gave a name.
    after_form: String,
    cookie_path: Option<String>,
    /// In the other window, by the WebSocket.
    arrived: String,
    /// In the first one, after the other has ticked it off.
    ticked_off: String,
    /// After a reload: what the store has.
    kept: String,
}

/// How often what was found may be gone before it is looked at: the page makes its list anew with each message.
const TRIES: usize = 100;

/// Waits until the page shows a todo that this selects: its text.
async fn shown(browser: &Client, css: &str) -> Result<String, CmdError> {
    for _ in 1..TRIES {
        match browser.wait().for_element(Locator::Css(css)).await?.text().await {
            Err(error) if error.is_stale_element_reference() => {}
            text => return text,
        }
    }
    browser.wait().for_element(Locator::Css(css)).await?.text().await
}

/// Clicks on what this selects.
async fn click(browser: &Client, css: &str) -> Result<(), CmdError> {
    for _ in 1..TRIES {
        match browser.wait().for_element(Locator::Css(css)).await?.click().await {
            Err(error) if error.is_stale_element_reference() => {}
            clicked => return clicked,
        }
    }
    browser.wait().for_element(Locator::Css(css)).await?.click().await
}

async fn use_it(browser: &Client, login: &str, app: &str, picture: Option<&str>) -> Result<Seen, CmdError> {
    let mut seen = Seen::default();
    browser.goto(login).await?;
    browser.goto(app).await?;
    let name = browser.find(Locator::Css("footer input")).await?;
    name.clear().await?;
    name.send_keys("Ann").await?;
    browser.find(Locator::Css("footer button")).await?.click().await?;
    shown(browser, "footer input[value=Ann]").await?;
    seen.after_form = browser.current_url().await?.to_string();
    seen.cookie_path = browser.get_named_cookie("name").await?.path().map(str::to_owned);

    let first = browser.window().await?;
    let second = browser.new_window(false).await?.handle;
    browser.switch_to_window(second.clone()).await?;
    browser.goto(app).await?;
    // Both sockets are open before anything changes, so that what arrives has come by them.
    browser.wait().for_element(Locator::XPath("//*[@id='live'][text()='live']")).await?;
    browser.switch_to_window(first.clone()).await?;
    browser.wait().for_element(Locator::XPath("//*[@id='live'][text()='live']")).await?;
    browser.find(Locator::Css(".new input")).await?.send_keys("Show this to Bob").await?;
    browser.find(Locator::Css(".new button")).await?.click().await?;
    browser.switch_to_window(second).await?;
    seen.arrived = shown(browser, "#list li").await?;
    click(browser, "#list .check").await?;
    browser.switch_to_window(first).await?;
    seen.ticked_off = shown(browser, "#list li.done").await?;
    browser.refresh().await?;
    seen.kept = shown(browser, "#list li.done").await?;
    if let Some(picture) = picture {
        fs::write(picture, browser.screenshot().await?).unwrap();
    }
    Ok(seen)
}

/// Uses the app at this base, below this prefix.
async fn check(chromium: &Chromium, place: &Place, base: &str, prefix: &str) {
    let profile = place.path().join(format!("browser{}", prefix.replace('/', "-")));
    let (_driver, browser) = within(chromium.open(&profile)).await;
    let (login, app) = (format!("{base}{prefix}/login?token={TOKEN}"), format!("{base}{prefix}{APP}"));
    // Where a person wants to look at it too.
    let picture = std::env::var("TORU_PICTURE").ok();
    // Judged only once the browser is closed: it would outlive a panic.
    let seen = tokio::time::timeout(HANG, use_it(&browser, &login, &app, picture.as_deref())).await;
    within(browser.close()).await.unwrap();
    let seen = seen.expect("the browser hangs").unwrap();
    assert_eq!(seen.after_form, format!("{app}/"), "{seen:#?}");
    assert_eq!(seen.cookie_path, Some(format!("{prefix}{APP}")), "{seen:#?}");
    for text in [&seen.arrived, &seen.ticked_off, &seen.kept] {
        assert!(text.contains("Show this to Bob") && text.contains("Ann"), "{seen:#?}");
    }
}

#[tokio::test]
async fn what_one_window_adds_arrives_in_the_other_by_its_websocket() {
    let Some(chromium) = Chromium::find() else { return };
    let place = Place::new();
    place.install_rust("todo-axum", "todo");
    let mut host = Host::start(&place).await;
    host.event("todo", "ready").await;
    check(&chromium, &place, &format!("http://{}", host.address()), "").await;
    assert_eq!(host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_browser_uses_the_todo_app_through_nginx_below_a_prefix() {
    let Some(chromium) = Chromium::find() else { return };
    let Some(nginx) = Nginx::find() else { return };
    let place = Place::new();
    place.install_rust("todo-axum", "todo");
    let options = ["--allow-host", "127.0.0.1", "--trusted-proxy", "127.0.0.1"];
    let mut host = Host::start_with(&place, &options).await;
    host.event("todo", "ready").await;
    let front = nginx.before(host.address(), &place.path().join("nginx")).await;
    check(&chromium, &place, &format!("http://{}", front.address), "/tools").await;
    assert_eq!(host.stop().await.code(), Some(0));
}
