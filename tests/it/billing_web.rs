//! Credits in the browser: grants, top-ups of a demonstration, forms that are sent twice, and amounts that are none.

use reqwest::StatusCode;
use roost::domain::Policy;

use crate::app::{Answer, App, PASSWORD, on_site, on_site_with};

fn request_of(page: &Answer) -> String {
    let rest = page.text.split("name=\"request\" value=\"").nth(1).expect("the form carries a key");
    rest.split('"').next().expect("closed").to_owned()
}

async fn balance(app: &App, email: &str) -> String {
    app.actor(email).await.user.balance.to_string()
}

#[tokio::test]
async fn an_admin_grants_credits_once_for_each_form() {
    on_site("an_admin_grants_credits_once_for_each_form", |app| async move {
        app.world.admin().await;
        let ada = app.player("ada@example.org").await;
        let admin = app.log_in("admin@example.org").await;
        let request = request_of(&admin.get("/billing").await);
        let fields = [("email", "ada@example.org"), ("grant-amount", "12.5"), ("note", "for the tournament"), ("request", &request)];
        for _ in 0..2 {
            let answer = admin.post("/billing/grant", &fields).await;
            assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/billing"), "{}", answer.text);
        }
        assert_eq!(balance(&app, "ada@example.org").await, "112.50");
        admin.get("/billing").await.shows("The credits are granted.");
        ada.get("/billing").await.shows("Granted by an admin: for the tournament");
        let next = request_of(&admin.get("/billing").await);
        assert_ne!(next, request);
        for (field, value, shown) in [
            ("email", "nobody@example.org", "There is no account"),
            ("email", "", "Enter your e-mail"),
            ("grant-amount", "", "not an amount"),
            ("grant-amount", "1e9", "not an amount"),
            ("grant-amount", "0", "Between 0.01"),
            ("grant-amount", "99999999", "Between 0.01"),
            ("note", "two\nlines", "no line breaks"),
            ("note", "a\0b", "no line breaks"),
        ] {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, old)| (*name, if *name == field { value } else { *old })).collect();
            let answer = admin.post("/billing/grant", &fields).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}={value:?}");
            answer.shows(&format!("id=\"{field}-error\""));
            answer.shows(shown);
        }
        assert_eq!(balance(&app, "ada@example.org").await, "112.50");
    })
    .await;
}

#[tokio::test]
async fn an_open_billing_page_shows_a_grant_without_being_asked_for_again() {
    on_site("an_open_billing_page_shows_a_grant_without_being_asked_for_again", |app| async move {
        app.world.admin().await;
        let ada = app.player("ada@example.org").await;
        let mut socket = ada.socket("/billing/live").await.expect("it opens");
        socket.until("id=\"ledger\"").await;
        let mut older = ada.socket("/billing/live?ledger=no").await.expect("it opens");
        let first = older.until("id=\"purse\"").await;
        let admin = app.log_in("admin@example.org").await;
        let request = request_of(&admin.get("/billing").await);
        let fields = [("email", "ada@example.org"), ("grant-amount", "12.5"), ("note", "for the tournament"), ("request", &request)];
        admin.post("/billing/grant", &fields).await;
        let shown = socket.until("for the tournament").await;
        assert!(shown.contains("id=\"purse\"") && shown.contains("112.50"), "{shown}");
        let second = older.until("112.50").await;
        assert!(!first.contains("ledger-h") && !second.contains("ledger-h"), "older entries stay where the reader has them");
    })
    .await;
}

#[tokio::test]
async fn a_demonstration_lets_people_top_up_says_so_and_nothing_else_does() {
    let demo = Policy { demo_top_up: true, ..Policy::default() };
    on_site_with("a_demonstration_lets_people_top_up_says_so_and_nothing_else_does", demo, |app| async move {
        let ada = app.player("ada@example.org").await;
        let page = ada.get("/billing").await;
        page.shows("Demonstration");
        let request = request_of(&page);
        for _ in 0..2 {
            let answer = ada.post("/billing/add-funds", &[("amount", "25"), ("request", &request)]).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER);
        }
        assert_eq!(balance(&app, "ada@example.org").await, "125.00");
        for bad in ["-5", "0", "1001", "x", "１"] {
            let answer = ada.post("/billing/add-funds", &[("amount", bad)]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
            answer.shows("id=\"amount-error\"");
        }
        app.browser().get("/auth/login").await.shows("Demonstration");
    })
    .await;
    on_site("a_demonstration_lets_people_top_up_says_so_and_nothing_else_does", |app| async move {
        let fields = [("email", "ada@example.org"), ("password", PASSWORD)];
        let ada = app.browser();
        ada.post("/auth/register", &fields).await;
        ada.get("/billing").await.shows("How to get credits");
        assert_eq!(ada.post("/billing/add-funds", &[("amount", "25")]).await.status, StatusCode::CONFLICT);
        assert_eq!(balance(&app, "ada@example.org").await, "100.00");
    })
    .await;
}
