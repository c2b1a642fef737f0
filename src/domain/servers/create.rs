//! Making a server: everything is checked first, then row, ports and network are reserved in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::placing::{self, Unplaced};
use super::{Cause, ground, layers, update};
use crate::domain::templates::Choice as Layer;
use crate::domain::{Actor, Ctx, Fields, Refusal, billing, templates};
use crate::model::games::{Game, Plan};
use crate::model::idleness::Quiet;
use crate::model::ids::ServerId;
use crate::model::layers::LayerRef;
use crate::model::life::Life;
use crate::model::nodes::{Node, TAGS_MAX, WORD_MAX};
use crate::model::placing::Wish;
use crate::model::servers::{IDLE_MINUTES_MAX, IDLE_MINUTES_MIN, Name, Phase, Seen, Server, Wanted};
use crate::model::time::Millis;
use crate::model::users::Right;
use crate::model::variables::{BUILT_IN, VALUE_MAX, is_name};
use crate::store::{StoreError, Tx, placements, servers, templates as template_rows, users};

/// Most variables of one server.
const VARIABLES_MAX: usize = 50;
/// Those of the built-in ones that somebody can set.
pub const SETTABLE: [&str; 3] = ["SEED", "LOCALE", "ENVIRONMENT"];

/// What somebody filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Name, for people.
    pub name: String,
    /// Id of a game.
    pub game: String,
    /// Id of one of its plans.
    pub plan: String,
    /// What the game declares, by name.
    pub env: BTreeMap<String, String>,
    /// Sleep by itself? None: yes.
    pub auto_sleep: Option<bool>,
    /// Minutes of quiet before that; none: the panel's default.
    pub idle_minutes: Option<i64>,
    /// Only on nodes that stand there; empty: anywhere.
    pub region: String,
    /// Only on nodes that have all of them.
    pub tags: Vec<String>,
    /// What its data are laid out of, the lowest first.
    pub layers: Vec<Layer>,
    /// Its own values for variables in text files of its layers.
    pub variables: BTreeMap<String, String>,
    /// Paid for by the month: it waits for the first payment instead of costing credits.
    pub by_month: bool,
}

struct Checked {
    name: Name,
    game: Arc<Game>,
    plan: Plan,
    env: BTreeMap<String, String>,
    auto_sleep: bool,
    idle_minutes: u32,
    wish: Wish,
    layers: Vec<LayerRef>,
    variables: BTreeMap<String, String>,
}

/// Checks minutes of quiet.
pub(super) fn idle_minutes(typed: Option<i64>, default: u32, fields: &mut Fields) -> u32 {
    match typed.map(u32::try_from) {
        None => default,
        Some(Ok(minutes)) if (IDLE_MINUTES_MIN..=IDLE_MINUTES_MAX).contains(&minutes) => minutes,
        Some(Ok(_) | Err(_)) => {
            fields.add("idle_minutes", format!("Between {IDLE_MINUTES_MIN} and {IDLE_MINUTES_MAX} minutes (a day)."));
            default
        }
    }
}

/// Checks where it may stand. Whether such a node is there is for the choice to say.
fn place(form: &Form, fields: &mut Fields) -> (String, Vec<String>) {
    let odd = |text: &str| text.chars().count() > WORD_MAX || text.chars().any(char::is_control);
    let region = form.region.trim();
    if odd(region) {
        fields.add("region", format!("A region has at most {WORD_MAX} characters and no line breaks."));
    }
    let mut tags: Vec<String> = form.tags.iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect();
    tags.sort();
    tags.dedup();
    if tags.len() > TAGS_MAX || tags.iter().any(|tag| odd(tag)) {
        fields.add("tags", format!("At most {TAGS_MAX} tags, each of at most {WORD_MAX} characters."));
    }
    (region.to_owned(), tags)
}

/// Checks names and values of variables.
pub(super) fn variables(typed: &BTreeMap<String, String>, fields: &mut Fields) {
    if typed.len() > VARIABLES_MAX {
        fields.add("variables", format!("At most {VARIABLES_MAX} variables."));
    }
    for (name, value) in typed {
        if !is_name(name) {
            fields.add("variables", "A variable's name has capital letters, digits and underscores, and begins with a letter.");
        } else if BUILT_IN.contains(&name.as_str()) && !SETTABLE.contains(&name.as_str()) {
            fields.add("variables", format!("{name} is given by the panel and cannot be set."));
        } else if value.chars().count() > VALUE_MAX || value.chars().any(char::is_control) {
            fields.add("variables", format!("The value of {name} has at most {VALUE_MAX} characters and no line breaks."));
        }
    }
}

async fn check(ctx: &Ctx, form: &Form) -> Result<Checked, Refusal> {
    let mut fields = Fields::default();
    let games = ctx.games();
    let name = Name::parse(&form.name).map_err(|why| fields.add("name", why)).ok();
    let game = form.game.parse().ok().and_then(|id| games.game(&id).cloned());
    if game.is_none() {
        fields.add("game", "Choose one of the games.");
    }
    let plan = game.as_ref().and_then(|game| form.plan.parse().ok().and_then(|id| game.plan(&id).cloned()));
    if game.is_some() && plan.is_none() {
        fields.add("plan", "Choose one of the plans of this game.");
    }
    let env = game.as_ref().map(|game| game.environment(&form.env));
    if let Some(Err(refused)) = &env {
        for (name, why) in refused {
            fields.add(&format!("env.{name}"), format!("{why}."));
        }
    }
    let monthly = ctx.stripe.is_some() && plan.as_ref().is_some_and(|plan| plan.month_cents > 0);
    if form.by_month && plan.is_some() && !monthly {
        fields.add("billing", "This plan cannot be had by the month. It runs by the hour.");
    }
    let idle_minutes = idle_minutes(form.idle_minutes, ctx.policy.idle_minutes, &mut fields);
    let (region, tags) = place(form, &mut fields);
    variables(&form.variables, &mut fields);
    let layers = match &game {
        Some(game) => match templates::choose(ctx, &game.id, &form.layers).await {
            Err(Refusal::Invalid(wrong)) => {
                fields.0.extend(wrong.0);
                Vec::new()
            }
            other => other?,
        },
        None => Vec::new(),
    };
    match (name, game, plan, env) {
        (Some(name), Some(game), Some(plan), Some(Ok(env))) if fields.0.is_empty() => {
            let wish = Wish { size: placing::size(&plan), region, tags };
            Ok(Checked {
                name,
                game,
                plan,
                env,
                auto_sleep: form.auto_sleep.unwrap_or(true),
                idle_minutes,
                wish,
                layers,
                variables: form.variables.clone(),
            })
        }
        _ => Err(Refusal::Invalid(fields)),
    }
}

/// Makes a server and has it started.
///
/// # Errors
/// [`Refusal::Invalid`] at `name`, `game`, `plan`, `env.<NAME>`, `idle_minutes`; [`Refusal::Conflict`] when no credits, ports
/// or networks are left.
pub async fn create(ctx: &Arc<Ctx>, actor: &Actor, form: &Form) -> Result<Server, Refusal> {
    if !actor.may_at_all(Right::CreateServer) {
        return Err(Refusal::Forbidden);
    }
    let checked = check(ctx, form).await?;
    if !form.by_month && !billing::can_pay(ctx, &actor.user.id).await? {
        return Err(Refusal::Conflict("You have no credits left, so it could not start. Get credits first.".to_owned()));
    }
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    users::hold(&tx, &actor.user.id).await?;
    let count = servers::count_of_owner(&tx, &actor.user.id).await?;
    if count >= i64::from(ctx.policy.servers_max) {
        let most = ctx.policy.servers_max;
        return Err(Refusal::Conflict(format!("You have {count} servers, and {most} is the most for one account. Delete one first.")));
    }
    let (name, wish) = (checked.name.as_str().to_owned(), checked.wish.clone());
    let (node, choice) = match placing::place(ctx, &tx, &wish).await {
        Ok(found) => found,
        Err(Unplaced::Store(StoreError::Stale)) => {
            return Err(Refusal::Conflict("Many servers are being made at this moment, and each node filled up. Try again.".to_owned()));
        }
        Err(Unplaced::Store(error)) => return Err(error.into()),
        Err(Unplaced::NoFit(no_fit)) => {
            drop(tx);
            tracing::warn!(owner = %actor.user.id, reason = %no_fit, "no node fits a new server");
            placements::insert(&ctx.db, &placing::placement(&actor.user.id, None, &name, &wish, Err(&no_fit), now)).await?;
            return Err(Refusal::Conflict(no_fit.to_string()));
        }
    };
    let mut server = row(ctx, &tx, actor, checked, &node, now).await?;
    if form.by_month {
        unpaid(ctx, &mut server, now);
    }
    placements::insert(&tx, &placing::placement(&actor.user.id, Some(&server.id), &name, &wish, Ok(&choice), now)).await?;
    match reserve(&tx, &node, &server).await {
        Err(StoreError::InUse(_)) => return Err(Refusal::Conflict(layers::GONE.to_owned())),
        Err(StoreError::Exists(_)) => return Err(Refusal::Conflict("Somebody was faster at the same port. Try again.".to_owned())),
        other => other?,
    }
    tx.commit().await?;
    let why = if form.by_month { "It was created, and waits for the first month to be paid." } else { "It was created." };
    let cause = Cause::new(actor.user.email.clone(), why);
    let made = update(ctx, &server.id, &cause, |server, now| {
        if form.by_month {
            unpaid(ctx, server, now);
        } else {
            server.life.want(Wanted::Running, now);
        }
        Ok(())
    })
    .await?;
    made.ok_or(Refusal::NotFound)
}

/// Makes it one whose month is over: paid, it runs; if nobody pays, it goes.
fn unpaid(ctx: &Ctx, server: &mut Server, now: Millis) {
    server.expired_from = Some(Wanted::Running);
    server.delete_after = Some(now + ctx.policy.sales.grace);
    server.life.want(Wanted::Expired, now);
}

async fn reserve(tx: &Tx, node: &Node, server: &Server) -> Result<(), StoreError> {
    servers::insert(tx, server, Millis(0)).await?;
    template_rows::hold(tx, &server.id, &server.layers).await?;
    ground::reserve(tx, node, &server.ports, &server.id).await
}

async fn row(ctx: &Ctx, tx: &Tx, actor: &Actor, checked: Checked, node: &Node, now: Millis) -> Result<Server, Refusal> {
    let (ports, subnet) = ground::choose(ctx, tx, node, &checked.game, &[]).await?;
    Ok(Server {
        id: ServerId::new(&actor.user.id, &checked.game.id, Ctx::random::<6>()),
        owner: actor.user.id.clone(),
        name: checked.name.as_str().to_owned(),
        game: checked.game.id.clone(),
        per_hour: checked.plan.per_hour,
        plan: checked.plan.id,
        node: node.id.clone(),
        env: checked.env,
        ports,
        subnet,
        auto_sleep: checked.auto_sleep,
        idle_minutes: checked.idle_minutes,
        life: Life {
            generation: 1,
            wanted: Wanted::Running,
            wanted_since: Millis(0),
            gently: false,
            restart_before: None,
            phase: Phase::Requested,
            phase_since: now,
            message: String::new(),
            doing: None,
            trouble: None,
            attempts: 0,
            crashes: Vec::new(),
        },
        spec_seen: String::new(),
        // Its id is new, so no node can have anything of it.
        seen: Seen::Gone,
        seen_at: None,
        quiet: Quiet::default(),
        players: None,
        created_at: now,
        delete_after: None,
        region: checked.wish.region,
        tags: checked.wish.tags,
        layers: checked.layers,
        layers_before: Vec::new(),
        variables: checked.variables,
        pending: None,
        covered: false,
        expired_from: None,
    })
}
