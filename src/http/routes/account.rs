//! `/account`: password, tokens, logging out everywhere.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use tower_sessions::Session;

use crate::domain::sign_in::{self, Ways};
use crate::domain::{Actor, Fields, Refusal, second_factor, tokens, users};
use crate::http::notice::{Said, go};
use crate::http::pages::account::{AccountPage, Line, PasswordForm, TokenForm, TokenRow, Verified, covered};
use crate::http::pages::checks::{Checks, SCOPE_PREFIX};
use crate::http::pages::moments::Moment;
use crate::http::problem::{Answer, shown};
use crate::http::typed::Typed;
use crate::http::who::{From, Named, SignedIn};
use crate::http::{Web, sessions};
use crate::model::ids::TokenId;
use crate::model::time::Millis;
use crate::model::tokens::{Scope, Scopes};

/// Days that the form offers first.
const DAYS: u32 = 30;

fn row(token: &tokens::Token, now: Millis) -> TokenRow {
    TokenRow {
        id: token.id.to_string(),
        name: token.name.clone(),
        made: Moment::relative(token.created_at, now),
        used: token.last_used_at.map(|at| Moment::relative(at, now)),
        expires: Moment::relative(token.expires_at, now),
        expired: token.expires_at <= now,
        may: covered(token.scopes),
    }
}

/// How people get in, in a few words each.
async fn security(web: &Web, actor: &Actor, ways: &Ways) -> Result<Vec<Line>, Refusal> {
    let standing = second_factor::standing(&web.ctx, &actor.user.id).await?;
    let mut opened: Vec<String> = ways.password.then(|| "password".to_owned()).into_iter().collect();
    opened.extend(ways.linked.iter().filter_map(|identity| web.ctx.providers.name(&identity.provider)).map(str::to_owned));
    let second = if standing.is_on() {
        let app = standing.app.then(|| "codes of an app".to_owned());
        let keys = match standing.passkeys.len() {
            0 => None,
            1 => Some("one passkey".to_owned()),
            more => Some(format!("{more} passkeys")),
        };
        format!("{}; {} recovery codes left", app.into_iter().chain(keys).collect::<Vec<_>>().join(", "), standing.codes_left)
    } else {
        "off".to_owned()
    };
    Ok(vec![Line { what: "Log in with", stands: opened.join(", ") }, Line { what: "Second factor", stands: second }])
}

async fn whole(web: &Web, signed_in: &SignedIn) -> Result<AccountPage, Refusal> {
    let actor = signed_in.actor();
    let now = web.ctx.clock.now();
    let tokens = tokens::list(&web.ctx, actor).await?;
    let ways = sign_in::ways(&web.ctx, actor).await?;
    Ok(AccountPage {
        layout: signed_in.layout(web).await?,
        email: actor.user.email.clone(),
        role: actor.user.role.as_str(),
        since: Moment::full(actor.user.created_at),
        verified: match (actor.user.email_verified_at, &web.ctx.mail) {
            (Some(_), _) => Verified::Yes,
            (None, Some(_)) => Verified::Ask,
            (None, None) => Verified::Cannot,
        },
        security: security(web, actor, &ways).await?,
        password: ways.password.then(|| PasswordForm::of(None, None)),
        new_token: None,
        tokens: tokens.iter().map(|token| row(token, now)).collect(),
        token_form: TokenForm::of("", DAYS, None),
    })
}

/// `GET /account`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    Ok(whole(&web, &signed_in).await?.into_response())
}

/// `POST /account/password`
pub(super) async fn password(State(web): State<Web>, signed_in: SignedIn, session: Session, From(from): From, typed: Typed) -> Answer {
    let actor = signed_in.actor();
    let chosen = typed.maybe("new").unwrap_or_else(|| typed.text("password"));
    match users::change_password(&web.ctx, actor, typed.text("current"), chosen, from).await {
        Ok(()) => {
            sessions::begin(&web.ctx, &session, &actor.user).await?;
            Ok(go("/account", Said::PasswordChanged))
        }
        Err(Refusal::Invalid(fields)) => {
            let at = |name: &str| fields.at(name).map(str::to_owned);
            let page = whole(&web, &signed_in).await?;
            let page = AccountPage { password: Some(PasswordForm::of(at("current"), at("password"))), ..page };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, page))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// What was ticked.
fn scopes(typed: &Typed) -> Scopes {
    typed.below(SCOPE_PREFIX).keys().filter_map(|name| Scope::parse(name)).collect()
}

async fn make(web: &Web, actor: &Actor, typed: &Typed) -> Result<String, Refusal> {
    let mut fields = Fields::default();
    let days = typed.number("days", &mut fields).map(|days| u32::try_from(days).unwrap_or(u32::MAX));
    fields.check()?;
    Ok(tokens::create(&web.ctx, actor, typed.text("name"), days.unwrap_or(0), scopes(typed)).await?.1)
}

/// `POST /account/tokens`: the page with the token's secret, this once.
pub(super) async fn make_token(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    match make(&web, signed_in.actor(), &typed).await {
        Ok(secret) => {
            let page = whole(&web, &signed_in).await?;
            Ok(AccountPage { new_token: Some(secret), ..page }.into_response())
        }
        Err(Refusal::Invalid(fields)) => {
            let page = whole(&web, &signed_in).await?;
            let mut form =
                TokenForm::of(typed.text("name"), typed.text("days").parse().unwrap_or(DAYS), fields.at("name").map(str::to_owned));
            form.days = form.days.error(fields.at("days").map(str::to_owned));
            form.scopes = Checks::scopes(scopes(&typed), fields.at("scopes").map(str::to_owned));
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, AccountPage { token_form: form, ..page }))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /account/tokens/{id}/revoke`
pub(super) async fn revoke_token(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<TokenId>) -> Answer {
    tokens::revoke(&web.ctx, signed_in.actor(), &id).await?;
    Ok(go("/account", Said::TokenRevoked))
}

/// `POST /account/logout-everywhere`
pub(super) async fn logout_everywhere(State(web): State<Web>, signed_in: SignedIn, session: Session, typed: Typed) -> Answer {
    let tokens_too = typed.maybe("tokens").is_some();
    users::log_out_everywhere(&web.ctx, signed_in.actor(), tokens_too).await?;
    sessions::end(&session).await?;
    Ok(go("/auth/login", if tokens_too { Said::LoggedOutWithTokens } else { Said::LoggedOutEverywhere }))
}
