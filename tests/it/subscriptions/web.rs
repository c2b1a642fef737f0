//! The same through the pages: buttons, what they say, forms that are refused.

use reqwest::StatusCode;
use roost::domain::Policy;
use roost::model::time::DAY;

use super::look;
use crate::app::App;
use crate::payments::selling;
use crate::stripe_peer::{Age, Peer, Told};

async fn told(app: &App, peer: &Peer, told: &Told) {
    assert_eq!(peer.send(&app.url, told).await, 200);
    look(&app.world).await;
}

#[tokio::test]
async fn the_pages_lead_through_paying_ending_and_coming_back() {
    selling("the_pages_lead_through_paying_ending_and_coming_back", Policy::default(), |world, peer| async move {
        let app = App::start(world).await;
        let ada = app.player("ada@example.org").await;
        let actor = app.actor("ada@example.org").await;
        let page = ada.get("/billing").await;
        page.shows("Pay by card");
        page.shows("You have not paid anything yet.");
        // A top-up: an own amount wins, and a wrong one comes back with its message.
        let wrong = ada.post("/billing/add-funds", &[("amount", "10"), ("own", "1"), ("request", "")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        wrong.shows("Between 5.00 EUR and 500.00 EUR at a time.");
        let onward = ada.post("/billing/add-funds", &[("amount", "10"), ("own", "7.50"), ("request", "0123456789abcdef")]).await;
        let session = peer.last_session();
        onward.shows(&format!("{}/pay/{session}", peer.url));
        let id = peer.thing(&session)["client_reference_id"].as_str().unwrap().to_owned();
        ada.get(&format!("/billing?cancelled={id}")).await;
        ada.get("/billing").await.shows("Nothing was paid");
        let waiting = ada.get(&format!("/billing/return?payment={id}")).await;
        assert_eq!(waiting.location(), format!("/billing?payment={id}"));
        ada.get(waiting.location()).await.shows("is being confirmed");
        peer.pay(&session);
        assert_eq!(ada.get(&format!("/billing/return?payment={id}")).await.location(), "/billing");
        look(&app.world).await;
        let page = ada.get("/billing").await;
        page.shows("The credits are added.");
        page.shows("https://pay.stripe.com/receipts/");
        ada.post("/billing/portal", &[]).await.shows(&format!("{}/portal", peer.url));
        // A month of a server.
        let server = app.world.create(&actor, "a").await.id;
        ada.get(&format!("/servers/{server}")).await.shows("Pay 1.00 EUR a month");
        ada.post(&format!("/servers/{server}/subscribe"), &[]).await.shows("Go on to Stripe");
        let session = peer.last_session();
        let paid = peer.pay(&session);
        let row = paid["client_reference_id"].as_str().unwrap();
        let back = ada.get(&format!("/billing/return?subscription={row}")).await;
        assert_eq!(back.location(), format!("/servers/{server}"));
        ada.get(back.location()).await.shows("It is paid by the month now.");
        told(&app, &peer, &peer.tell(Age::New, "checkout.session.completed", paid.clone())).await;
        ada.get("/billing").await.shows("By the month");
        ada.post(&format!("/servers/{server}/subscription/end"), &[]).await;
        ada.get(&format!("/servers/{server}")).await.shows("Keep the subscription");
        ada.post(&format!("/servers/{server}/subscription/keep"), &[]).await;
        ada.get(&format!("/servers/{server}")).await.shows("End it with the month");
        let sub = paid["subscription"].as_str().unwrap();
        let (_, invoice) = peer.invoice(sub, false, "past_due");
        told(&app, &peer, &peer.tell(Age::Old, "invoice.payment_failed", invoice)).await;
        let page = ada.get(&format!("/servers/{server}")).await;
        page.shows("A payment did not work");
        page.shows("Pay the invoice");
        ada.post(&format!("/servers/{server}/by-the-hour"), &[]).await;
        ada.get(&format!("/servers/{server}")).await.shows("It goes on by the hour");
        look(&app.world).await;
        assert_eq!(peer.thing(sub)["status"], "canceled");
        // Automatic top-ups: refused at its field, then on the way to a card.
        let wrong = ada.post("/billing/auto", &[("below", "x"), ("auto-amount", "10"), ("most", "20")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        wrong.shows("More than 0 and at most");
        ada.post("/billing/auto", &[("below", "50"), ("auto-amount", "10"), ("most", "20")]).await.shows("your card is kept");
        ada.get("/billing").await.shows("Waits for a card");
        app.world.clock.pass(DAY);
        app.world.ctx.clone()
    })
    .await;
}
