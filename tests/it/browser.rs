//! A real browser, driven as a person would drive it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};

use crate::services;

/// How long a page may take to show what it should.
pub const SOON: Duration = Duration::from_secs(20);

/// A browser window of its own.
pub struct Window {
    pub client: Client,
    driver: Child,
    driver_url: String,
    url: String,
}

impl Window {
    /// Opens a window of this width on a panel.
    pub async fn open(browser: &services::Browser, url: &str, width: u32) -> Window {
        let port = services::free_port(&services::LISTENERS);
        let driver = Command::new(&browser.driver)
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver starts");
        let options = serde_json::json!({"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", format!("--window-size={width},1100")
        ]});
        let capabilities = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let begin = Instant::now();
        let client = loop {
            let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            match builder.capabilities(serde_json::Map::clone(&capabilities)).connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => break client,
                Err(error) => assert!(begin.elapsed() < SOON, "the browser does not start: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        Window { client, driver, driver_url: format!("http://127.0.0.1:{port}"), url: url.to_owned() }
    }

    /// Gives it a device that keeps passkeys and unlocks them for whoever asks.
    pub async fn plug_in_a_device(&self) {
        let session = self.client.session_id().await.expect("asked").expect("a session");
        let device = serde_json::json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true, "isUserVerified": true
        });
        let place = format!("{}/session/{session}/webauthn/authenticator", self.driver_url);
        services::ring();
        let answer = reqwest::Client::new().post(place).json(&device).send().await.expect("answered");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }

    pub async fn go(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.url)).await.expect("the page loads");
    }

    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.client.wait().at_most(SOON).for_element(Locator::Css(css)).await.unwrap_or_else(|_| panic!("no field {css}"));
        field.clear().await.expect("it empties");
        field.send_keys(text).await.expect("it takes keys");
    }

    pub async fn click(&self, css: &str) {
        let begin = Instant::now();
        loop {
            let button = self.client.wait().at_most(SOON).for_element(Locator::Css(css)).await;
            match button.unwrap_or_else(|_| panic!("no button {css}")).click().await {
                Ok(()) => return,
                // A live part has just been put in its place; a person finds it there again.
                Err(error) if error.is_stale_element_reference() && begin.elapsed() < SOON => {}
                Err(error) => panic!("{css}: {error}"),
            }
        }
    }

    /// The text of an element as it is now.
    pub async fn text(&self, css: &str) -> String {
        match self.client.find(Locator::Css(css)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Waits, without reloading, until an element's text contains something.
    pub async fn sees(&self, css: &str, text: &str, within: Duration) -> String {
        let begin = Instant::now();
        let mut last = String::new();
        while begin.elapsed() < within {
            last = self.text(css).await;
            if last.contains(text) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{css} never says {text:?}; it says {last:?}");
    }

    /// Where the window is.
    pub async fn path(&self) -> String {
        self.client.current_url().await.map(|url| url.path().to_owned()).unwrap_or_default()
    }

    pub async fn picture(&self, file: &std::path::Path) {
        let png = self.client.screenshot().await.expect("a picture");
        std::fs::write(file, png).expect("it is kept");
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // The browser is a child of the driver, in its group: it goes with it, whatever became of the test.
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.driver.wait();
    }
}
