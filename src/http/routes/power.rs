//! The buttons of a server: wake, sleep, start, stop, restart, retry, delete.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::servers::{Refused, refused, whole};
use crate::domain::servers::Power;
use crate::domain::{Refusal, servers};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::problem::{Answer, shown};
use crate::http::typed::Typed;
use crate::http::who::{Named, SignedIn};
use crate::model::ids::ServerId;

/// Back to where the button was: the dashboard or the server's page.
fn back(headers: &HeaderMap, id: &ServerId) -> String {
    let from = headers.get(header::REFERER).and_then(|referer| referer.to_str().ok()?.parse::<Uri>().ok());
    if from.is_some_and(|from| from.path() == "/dashboard") { "/dashboard".to_owned() } else { format!("/servers/{id}") }
}

async fn press(web: Web, signed_in: SignedIn, id: ServerId, headers: HeaderMap, power: Power) -> Answer {
    let said = match power {
        Power::Wake => Said::Waking,
        Power::Hibernate => Said::FallingAsleep,
        Power::Start => Said::Starting,
        Power::Stop => Said::Stopping,
        Power::Restart => Said::Restarting,
    };
    match servers::power(&web.ctx, signed_in.actor(), &id, power).await {
        Ok(_) => Ok(go(&back(&headers, &id), said)),
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}

macro_rules! buttons {
    ($($(#[$doc:meta])* $name:ident => $power:expr;)*) => {$(
        $(#[$doc])*
        pub(super) async fn $name(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, headers: HeaderMap) -> Answer {
            press(web, signed_in, id, headers, $power).await
        }
    )*};
}

buttons! {
    /// `POST /servers/{id}/wake`
    wake => Power::Wake;
    /// `POST /servers/{id}/hibernate`
    hibernate => Power::Hibernate;
    /// `POST /servers/{id}/start`
    start => Power::Start;
    /// `POST /servers/{id}/stop`
    stop => Power::Stop;
    /// `POST /servers/{id}/restart`
    restart => Power::Restart;
}

/// `POST /servers/{id}/retry`
pub(super) async fn retry(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, headers: HeaderMap) -> Answer {
    match servers::retry(&web.ctx, signed_in.actor(), &id).await {
        Ok(_) => Ok(go(&back(&headers, &id), Said::TryingAgain)),
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}

/// `POST /servers/{id}/delete`
pub(super) async fn delete(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    match servers::delete(&web.ctx, signed_in.actor(), &id, Some(typed.text("confirm"))).await {
        Ok(_) => Ok(go("/dashboard", Said::Deleting)),
        Err(Refusal::Invalid(fields)) => {
            let why = fields.at("confirm").unwrap_or_default().to_owned();
            let refused = Refused { delete: Some((typed.text("confirm"), why)), ..Refused::default() };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(&web, &signed_in, &id, refused).await?))
        }
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}
