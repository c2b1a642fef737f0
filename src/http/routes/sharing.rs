//! `/servers/{id}/sharing`: guests of a server; `/invitation`: taking one up. The secret of an invitation stands behind the question
//! mark, where logs do not keep it.

use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;

use crate::domain::{Fields, Refusal, servers, shares};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::checks::{Checks, GRANT_PREFIX};
use crate::http::pages::fields::Field;
use crate::http::pages::layout::Layout;
use crate::http::pages::sharing::{Guest, InvitationPage, Invited, SharingPage, words};
use crate::http::problem::{Answer, Problem, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Named, SignedIn};
use crate::model::ids::{InvitationId, ServerId, UserId};
use crate::model::shares::{Grant, Grants};
use crate::model::users::Right;

/// A server and somebody or something of it, out of the path.
pub(in crate::http) struct Of<T>(pub ServerId, pub T);

impl<T: std::str::FromStr + Send> FromRequestParts<Web> for Of<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, web).await.map_err(|_| Problem::not_found())?;
        let mut texts = params.iter().map(|(_, text)| text);
        let server = texts.next().and_then(|text| text.parse().ok());
        let thing = texts.next().and_then(|text| text.parse().ok());
        server.zip(thing).map(|(server, thing)| Of(server, thing)).ok_or_else(Problem::not_found)
    }
}

/// What was ticked, or what a program listed.
pub(in crate::http) fn grants(typed: &Typed, fields: &mut Fields) -> Grants {
    match typed.maybe("grants").map(Grants::parse) {
        Some(Some(grants)) => grants,
        Some(None) => {
            fields.add("grants", "A list of: see, power, console, files, settings.");
            Grants::NONE
        }
        None => typed.below(GRANT_PREFIX).keys().filter_map(|name| Grant::parse(name)).collect(),
    }
}

/// Where an invitation's link leads; its secret comes behind it.
pub(in crate::http) fn link(web: &Web) -> String {
    format!("{}/invitation?key=", web.settings.backend_url)
}

/// What the form asks for.
struct Asks<'a> {
    email: &'a str,
    grants: Grants,
    errors: Fields,
    link: Option<(String, String)>,
}

impl Default for Asks<'_> {
    /// An empty form: most people are let in to start and stop it.
    fn default() -> Self {
        Asks { email: "", grants: Grants::NONE.with(Grant::Power), errors: Fields::default(), link: None }
    }
}

async fn whole(web: &Web, signed_in: &SignedIn, id: &ServerId, asks: Asks<'_>) -> Result<SharingPage, Refusal> {
    let actor = signed_in.actor();
    let server = servers::find(&web.ctx, actor, id, Right::ShareServer).await?;
    let (guests, invited) = shares::of_server(&web.ctx, actor, id).await?;
    let (now, layout) = (web.ctx.clock.now(), signed_in.layout(web).await?);
    let error = |name: &str| asks.errors.at(name).map(str::to_owned);
    Ok(SharingPage {
        layout: Layout { path: format!("/servers/{id}/sharing"), ..layout },
        id: id.to_string(),
        name: server.name,
        guests: guests.iter().map(|share| Guest::of(share, now)).collect(),
        invited: invited.iter().map(|invitation| Invited::of(invitation, now)).collect(),
        email: Field::email("email", "E-mail address", asks.email).error(error("email")).required(),
        checks: Checks::grants("grants", asks.grants, error("grants")),
        link: asks.link,
        mails: web.ctx.mail.is_some(),
    })
}

/// `GET /servers/{id}/sharing`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    Ok(whole(&web, &signed_in, &id, Asks::default()).await?.into_response())
}

/// `POST /servers/{id}/sharing`: the page with the link of the invitation, this once.
pub(super) async fn invite(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    let mut fields = Fields::default();
    let grants = grants(&typed, &mut fields).seeing();
    match shares::invite(&web.ctx, signed_in.actor(), &id, typed.text("email"), grants, &link(&web)).await {
        Ok((invitation, secret)) => {
            let link = Some((invitation.email.to_string(), format!("{}{secret}", link(&web))));
            Ok(whole(&web, &signed_in, &id, Asks { link, ..Asks::default() }).await?.into_response())
        }
        Err(Refusal::Invalid(errors)) => {
            let asks = Asks { email: typed.text("email"), grants, errors, link: None };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(&web, &signed_in, &id, asks).await?))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /servers/{id}/sharing/guests/{guest}`
pub(super) async fn change(State(web): State<Web>, signed_in: SignedIn, Of(id, guest): Of<UserId>, typed: Typed) -> Answer {
    let mut fields = Fields::default();
    let grants = grants(&typed, &mut fields).seeing();
    shares::change(&web.ctx, signed_in.actor(), &id, &guest, grants).await?;
    Ok(go(&format!("/servers/{id}/sharing"), Said::GuestChanged))
}

/// `POST /servers/{id}/sharing/guests/{guest}/remove`: by whoever shares it, or by the guest who leaves.
pub(super) async fn remove(State(web): State<Web>, signed_in: SignedIn, Of(id, guest): Of<UserId>) -> Answer {
    let actor = signed_in.actor();
    shares::change(&web.ctx, actor, &id, &guest, Grants::NONE).await?;
    if guest == actor.user.id {
        Ok(go("/dashboard", Said::ShareLeft))
    } else {
        Ok(go(&format!("/servers/{id}/sharing"), Said::GuestRemoved))
    }
}

/// `POST /servers/{id}/sharing/invitations/{invitation}/revoke`
pub(super) async fn take_back(State(web): State<Web>, signed_in: SignedIn, Of(id, invitation): Of<InvitationId>) -> Answer {
    shares::take_back(&web.ctx, signed_in.actor(), &id, &invitation).await?;
    Ok(go(&format!("/servers/{id}/sharing"), Said::InvitationTakenBack))
}

fn gone(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NotFound => Problem::new(
            StatusCode::NOT_FOUND,
            "This invitation has been taken up, taken back, or is older than seven days. Ask whoever sent it for another one.",
        ),
        other => other.into(),
    }
}

/// `GET /invitation?key=...`
pub(super) async fn invitation(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    let key = asked.get("key").unwrap_or_default();
    let (invitation, server) = shares::look(&web.ctx, key).await.map_err(gone)?;
    let me = signed_in.actor().user.email.clone();
    let page = InvitationPage {
        layout: signed_in.layout(&web).await?,
        server,
        from: invitation.made_by,
        fits: invitation.email.as_str() == me,
        email: invitation.email.to_string(),
        me,
        may: words(invitation.grants),
        key: key.to_owned(),
    };
    Ok(page.into_response())
}

/// `POST /invitation`
pub(super) async fn accept(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    let server = shares::accept(&web.ctx, signed_in.actor(), typed.text("key")).await.map_err(gone)?;
    Ok(go(&format!("/servers/{server}"), Said::InvitationTaken))
}
