//! `/account/security`: the ways into an account and its second factor. Everything here asks once more whose account it is.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_sessions::Session;

use super::providers::explain;
use super::second::read;
use crate::domain::sign_in::{self, Purpose, Ways};
use crate::domain::{Refusal, second_factor};
use crate::http::notice::{Said, go};
use crate::http::pages::fields::Field;
use crate::http::pages::gate::{GateForm, GatePage, Sky, Way};
use crate::http::pages::moments::Moment;
use crate::http::pages::security::{CodesPage, LinkedRow, NewAppPage, PasskeyLine, SecurityPage};
use crate::http::problem::{Answer, Problem, shown};
use crate::http::steps::{self, BrowserSecret, Confirmed};
use crate::http::typed::{Raw, Typed};
use crate::http::who::{From, Named, SignedIn};
use crate::http::{Web, sessions};
use crate::model::ids::PasskeyId;
use crate::model::time::Millis;

const HERE: &str = "/account/security";

fn linked(web: &Web, ways: &Ways, now: Millis) -> Vec<LinkedRow> {
    let known = web.ctx.providers.list().map(|(key, name)| {
        let identity = ways.linked.iter().find(|identity| identity.provider == key);
        LinkedRow {
            key: key.to_owned(),
            name: name.to_owned(),
            works: true,
            label: identity.map(|identity| identity.label.clone()),
            since: identity.map(|identity| Moment::relative(identity.created_at, now)),
            last: identity.is_some() && !ways.without(&web.ctx, key),
        }
    });
    let gone = ways.linked.iter().filter(|identity| web.ctx.providers.name(&identity.provider).is_none()).map(|identity| LinkedRow {
        key: identity.provider.clone(),
        name: identity.provider.clone(),
        works: false,
        label: Some(identity.label.clone()),
        since: Some(Moment::relative(identity.created_at, now)),
        last: !ways.without(&web.ctx, &identity.provider),
    });
    known.chain(gone).collect()
}

async fn whole(web: &Web, confirmed: &Confirmed) -> Result<SecurityPage, Refusal> {
    let actor = confirmed.signed_in.actor();
    let now = web.ctx.clock.now();
    let ways = sign_in::ways(&web.ctx, actor).await?;
    let standing = second_factor::standing(&web.ctx, &actor.user.id).await?;
    let line = |row: &second_factor::PasskeyRow| PasskeyLine {
        id: row.id.to_string(),
        name: row.name.clone(),
        made: Moment::relative(row.created_at, now),
        used: row.used_at.map(|at| Moment::relative(at, now)),
    };
    Ok(SecurityPage {
        layout: confirmed.signed_in.layout(web).await?,
        linked: linked(web, &ways, now),
        new_password: (!ways.password).then(|| new_password(None)),
        email: actor.user.email.clone(),
        app: standing.app,
        passkeys: standing.passkeys.iter().map(line).collect(),
        passkeys_possible: web.ctx.relying_party.is_there(),
        codes_left: standing.is_on().then_some(standing.codes_left),
    })
}

fn new_password(error: Option<String>) -> Field {
    Field::password("password", "Password", "new-password").help("At least 10 characters.").error(error).required()
}

/// `GET /account/security`
pub(super) async fn page(State(web): State<Web>, confirmed: Confirmed) -> Answer {
    Ok(whole(&web, &confirmed).await?.into_response())
}

async fn question(web: &Web, signed_in: &SignedIn, error: Option<String>) -> Result<GatePage, Refusal> {
    let actor = signed_in.actor();
    let ways = sign_in::ways(&web.ctx, actor).await?;
    let mut page = GatePage::of(signed_in.layout(web).await?, Sky::Dusk, "Is it you?");
    page.says = vec!["The next page changes who gets into your account. Show once more that it is yours.".to_owned()];
    if ways.password {
        let field = Field::password("current", "Password", "current-password").error(error).required();
        page.form = Some(GateForm::to("/account/confirm", "Go on").account(&actor.user.email).field(field));
    }
    let linked = ways.linked.iter().filter_map(|identity| Some((identity, web.ctx.providers.name(&identity.provider)?)));
    let posts =
        linked.map(|(identity, name)| Way::post(&format!("/account/confirm/{}", identity.provider), &format!("Log in at {name} again")));
    page.ways = posts.chain([Way::link("/account", "Back to your account")]).collect();
    Ok(page)
}

/// `GET /account/confirm`
pub(super) async fn confirm_page(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    Ok(question(&web, &signed_in, None).await?.into_response())
}

/// `POST /account/confirm`
pub(super) async fn confirm(State(web): State<Web>, signed_in: SignedIn, session: Session, From(from): From, typed: Typed) -> Answer {
    match sign_in::confirm(&web.ctx, signed_in.actor(), typed.text("current"), from).await {
        Ok(()) => {
            steps::show(&web.ctx, &session).await?;
            Ok(Redirect::to(HERE).into_response())
        }
        Err(Refusal::Invalid(fields)) => {
            let page = question(&web, &signed_in, fields.at("current").map(str::to_owned)).await?;
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, page))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// A form that leads to another site must not be answered with a redirect there: our own policy lets forms lead to this site only. So
/// the answer is a page that says where it goes, and goes there.
async fn leave(
    web: &Web,
    signed_in: &SignedIn,
    browser: &BrowserSecret,
    provider: &str,
    purpose: Purpose,
    from: std::net::IpAddr,
) -> Answer {
    let name = web.ctx.providers.name(provider).ok_or_else(Problem::not_found)?;
    match sign_in::begin(&web.ctx, provider, purpose, &browser.0, HERE, from).await {
        Ok(url) => {
            let mut page = GatePage::of(signed_in.layout(web).await?, Sky::Dusk, &format!("Taking you to {name}"));
            page.says = vec![format!("If nothing happens within a few seconds, {name} may be away.")];
            page.ways = vec![Way::link(HERE, "Back to your account")];
            let mut response = browser.with(web, page);
            let refresh = HeaderValue::from_str(&format!("0; url={url}")).map_err(Problem::internal)?;
            response.headers_mut().insert(HeaderName::from_static("refresh"), refresh);
            Ok(response)
        }
        Err(trouble) => explain(web, signed_in.layout(web).await?, provider, trouble, true),
    }
}

/// `POST /account/confirm/{provider}`
pub(super) async fn confirm_there(
    State(web): State<Web>,
    signed_in: SignedIn,
    browser: BrowserSecret,
    From(from): From,
    Path(provider): Path<String>,
) -> Answer {
    let purpose = Purpose::Confirm(signed_in.actor().user.id.clone());
    leave(&web, &signed_in, &browser, &provider, purpose, from).await
}

/// `POST /account/providers/{provider}/link`
pub(super) async fn link(
    State(web): State<Web>,
    confirmed: Confirmed,
    browser: BrowserSecret,
    From(from): From,
    Path(provider): Path<String>,
) -> Answer {
    let purpose = Purpose::Link(confirmed.signed_in.actor().user.id.clone());
    leave(&web, &confirmed.signed_in, &browser, &provider, purpose, from).await
}

/// A new session for whoever ended all others.
async fn stay(web: &Web, session: &Session, confirmed: &Confirmed) -> Result<(), Problem> {
    sessions::begin(&web.ctx, session, &confirmed.signed_in.actor().user).await?;
    steps::show(&web.ctx, session).await
}

/// `POST /account/providers/{provider}/unlink`
pub(super) async fn unlink(State(web): State<Web>, confirmed: Confirmed, session: Session, Path(provider): Path<String>) -> Answer {
    sign_in::unlink(&web.ctx, confirmed.signed_in.actor(), &provider, confirmed.proof).await?;
    stay(&web, &session, &confirmed).await?;
    Ok(go(HERE, Said::Unlinked))
}

/// `POST /account/security/password`: the first one of an account without.
pub(super) async fn password(State(web): State<Web>, confirmed: Confirmed, session: Session, typed: Typed) -> Answer {
    match sign_in::first_password(&web.ctx, confirmed.signed_in.actor(), typed.text("password"), confirmed.proof).await {
        Ok(()) => {
            stay(&web, &session, &confirmed).await?;
            Ok(go(HERE, Said::PasswordSet))
        }
        Err(Refusal::Invalid(fields)) => {
            let new_password = Some(new_password(fields.at("password").map(str::to_owned)));
            let page = SecurityPage { new_password, ..whole(&web, &confirmed).await? };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, page))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /account/app`: begins to set an app up.
pub(super) async fn begin_app(State(web): State<Web>, confirmed: Confirmed) -> Answer {
    second_factor::begin_app(&web.ctx, confirmed.signed_in.actor(), confirmed.proof).await?;
    Ok(Redirect::to("/account/app").into_response())
}

async fn app(web: &Web, confirmed: &Confirmed, error: Option<String>) -> Result<Option<NewAppPage>, Refusal> {
    let Some(new) = second_factor::pending_app(&web.ctx, confirmed.signed_in.actor(), confirmed.proof).await? else { return Ok(None) };
    NewAppPage::of(confirmed.signed_in.layout(web).await?, &new.secret, &new.url, error).map(Some).ok_or(Refusal::NotFound)
}

/// `GET /account/app`: the code to scan, and the question for the first code.
pub(super) async fn app_page(State(web): State<Web>, confirmed: Confirmed) -> Answer {
    match app(&web, &confirmed, None).await? {
        Some(page) => Ok(page.into_response()),
        None => Ok(Redirect::to(HERE).into_response()),
    }
}

/// `POST /account/app/confirm`
pub(super) async fn confirm_app(State(web): State<Web>, confirmed: Confirmed, session: Session, From(from): From, typed: Typed) -> Answer {
    let actor = confirmed.signed_in.actor();
    match second_factor::confirm_app(&web.ctx, actor, typed.text("code"), from, confirmed.proof).await {
        Ok(codes) => {
            stay(&web, &session, &confirmed).await?;
            match codes {
                Some(codes) => Ok(CodesPage::of(confirmed.signed_in.layout(&web).await?, codes).into_response()),
                None => Ok(go(HERE, Said::AppAdded)),
            }
        }
        Err(Refusal::Invalid(fields)) => match app(&web, &confirmed, fields.at("code").map(str::to_owned)).await? {
            Some(page) => Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, page)),
            None => Ok(Redirect::to(HERE).into_response()),
        },
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /account/app/remove`
pub(super) async fn remove_app(State(web): State<Web>, confirmed: Confirmed) -> Answer {
    second_factor::remove_app(&web.ctx, confirmed.signed_in.actor(), confirmed.proof).await?;
    Ok(go(HERE, Said::AppRemoved))
}

/// `POST /account/codes`: new recovery codes, shown this once.
pub(super) async fn codes(State(web): State<Web>, confirmed: Confirmed) -> Answer {
    let codes = second_factor::make_codes(&web.ctx, confirmed.signed_in.actor(), confirmed.proof).await?;
    Ok(CodesPage::of(confirmed.signed_in.layout(&web).await?, codes).into_response())
}

/// What the script brings for a new passkey.
#[derive(Deserialize)]
struct NewPasskey {
    id: String,
    name: String,
    credential: Value,
}

/// `POST /account/passkeys/begin`: what to ask a browser that is to make one.
pub(super) async fn begin_passkey(State(web): State<Web>, confirmed: Confirmed, browser: BrowserSecret) -> Answer {
    let asked = second_factor::begin_passkey(&web.ctx, confirmed.signed_in.actor(), &browser.0, confirmed.proof).await?;
    Ok(browser.with(&web, Json(json!({"id": asked.id, "options": asked.options}))))
}

/// `POST /account/passkeys`
pub(super) async fn add_passkey(
    State(web): State<Web>,
    confirmed: Confirmed,
    session: Session,
    browser: BrowserSecret,
    raw: Raw,
) -> Answer {
    let new: NewPasskey = read(&raw)?;
    let answer = (new.id.as_str(), new.name.as_str(), new.credential);
    second_factor::add_passkey(&web.ctx, confirmed.signed_in.actor(), &browser.0, answer, confirmed.proof).await?;
    stay(&web, &session, &confirmed).await?;
    Ok(Json(json!({"next": HERE})).into_response())
}

/// `POST /account/passkeys/{id}/remove`
pub(super) async fn remove_passkey(State(web): State<Web>, confirmed: Confirmed, session: Session, Named(id): Named<PasskeyId>) -> Answer {
    second_factor::remove_passkey(&web.ctx, confirmed.signed_in.actor(), &id, confirmed.proof).await?;
    stay(&web, &session, &confirmed).await?;
    Ok(go(HERE, Said::PasskeyRemoved))
}
