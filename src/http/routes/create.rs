//! `/servers/create`: choose a game, fill in its form.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::layers::layers_form;
use crate::domain::servers::Form;
use crate::domain::{Fields, Refusal, servers, templates};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::create::{ByField, CreateForm, CreatePage, GameChoice};
use crate::http::pages::layout::Layout;
use crate::http::problem::{Answer, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::SignedIn;
use crate::model::ids::GameId;
use crate::model::money::Credits;
use crate::model::servers::Wanted;

/// Messages by the name of their field.
pub(in crate::http) fn by_field(fields: &Fields) -> ByField {
    let mut errors = ByField::new();
    for (name, message) in &fields.0 {
        errors.entry(name.clone()).or_insert_with(|| message.clone());
    }
    errors
}

async fn page_of(web: &Web, layout: Layout, game: Option<&str>, typed: &ByField, errors: &ByField) -> Result<CreatePage, Refusal> {
    let games = web.ctx.games();
    let chosen = game.and_then(|id| id.parse::<GameId>().ok()).and_then(|id| games.game(&id).cloned());
    let choices = games.all().iter().map(|game| GameChoice::of(game, chosen.as_ref().is_some_and(|chosen| chosen.id == game.id))).collect();
    let regions = servers::regions(&web.ctx).await?;
    let offered = match &chosen {
        Some(game) => templates::offered(&web.ctx, &game.id).await?,
        None => Vec::new(),
    };
    let form = chosen.map(|game| {
        let mut defaults = ByField::new();
        if typed.is_empty() {
            defaults.insert("idle_minutes".to_owned(), web.ctx.policy.idle_minutes.to_string());
            defaults.insert("auto_sleep".to_owned(), "on".to_owned());
        }
        let form = CreateForm::of(&game, &web.ctx.policy.sales.currency, if typed.is_empty() { &defaults } else { typed }, errors)
            .standing_in(&regions, typed, errors);
        let layers = (!offered.is_empty() || ["layers", "variables"].iter().any(|field| errors.contains_key(*field)))
            .then(|| layers_form(&offered, typed, errors));
        CreateForm { layers, months: web.ctx.stripe.is_some(), ..form }
    });
    Ok(CreatePage { layout, games: choices, form })
}

/// `GET /servers/create`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    let layout = signed_in.layout(&web).await?;
    let mut page = page_of(&web, layout, asked.get("game"), &ByField::new(), &ByField::new()).await?;
    if let Some(form) = page.form.as_mut().filter(|_| signed_in.actor().user.balance <= Credits::ZERO) {
        form.warning = Some(
            if form.months {
                "You have no credits left: pay for it by the month, or get credits first."
            } else {
                "You have no credits left, so it could not start. Get credits first."
            }
            .to_owned(),
        );
    }
    Ok(page.into_response())
}

/// What the domain is asked for, from a form or from JSON.
pub(in crate::http) fn wanted(typed: &Typed) -> Result<Form, Refusal> {
    let mut fields = Fields::default();
    typed.only(
        &["name", "game", "plan", "env", "auto_sleep", "idle_minutes", "region", "tags", "layers", "variables", "billing"],
        &mut fields,
    );
    let by_month = match typed.text("billing") {
        "" | "hour" => false,
        "month" => true,
        _other => {
            fields.add("billing", "Either hour or month.");
            false
        }
    };
    let form = Form {
        name: typed.text("name").to_owned(),
        game: typed.text("game").to_owned(),
        plan: typed.text("plan").to_owned(),
        env: typed.env(),
        auto_sleep: typed.flag("auto_sleep", &mut fields),
        idle_minutes: typed.number("idle_minutes", &mut fields),
        region: typed.text("region").to_owned(),
        tags: typed.text("tags").split(',').map(str::to_owned).collect(),
        layers: typed.layers(),
        variables: typed.variables(&mut fields).unwrap_or_default(),
        by_month,
    };
    fields.check()?;
    Ok(form)
}

/// `POST /servers/create`
pub(super) async fn create(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    let made = match wanted(&typed) {
        Ok(form) => servers::create(&web.ctx, signed_in.actor(), &form).await,
        Err(refusal) => Err(refusal),
    };
    let (status, errors) = match made {
        Ok(server) if server.life.wanted == Wanted::Expired => return Ok(go(&format!("/servers/{}#month", server.id), Said::MadeByMonth)),
        Ok(server) => return Ok(Redirect::to(&format!("/servers/{}", server.id)).into_response()),
        Err(Refusal::Invalid(fields)) => (StatusCode::UNPROCESSABLE_ENTITY, by_field(&fields)),
        Err(Refusal::Conflict(why)) => (StatusCode::CONFLICT, ByField::from([(String::new(), why)])),
        Err(refusal) => return Err(refusal.into()),
    };
    let layout = signed_in.layout(&web).await?;
    Ok(shown(status, page_of(&web, layout, typed.maybe("game"), typed.values(), &errors).await?))
}
