//! The catalogue, as it was last read from the data files. Games that servers still use stay when their file goes.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::games::{Game, Plan};

#[derive(Iden)]
enum Games {
    Table,
    Id,
    Position,
    Body,
}

#[derive(Iden)]
enum Plans {
    Table,
    Game,
    Id,
    Position,
    Body,
}

#[derive(FromRow)]
struct GameRow {
    id: String,
    body: String,
}

#[derive(FromRow)]
struct PlanRow {
    game: String,
    body: String,
}

/// Most games that are read.
const GAMES_MAX: u64 = 1_000;
/// Most plans that are read.
const PLANS_MAX: u64 = 10_000;

/// Writes one game and its plans, over what was there.
pub async fn save(db: &Db, position: i64, game: &Game) -> Result<(), StoreError> {
    let unreadable = |_| StoreError::Unreadable("games.body");
    let body = serde_json::to_string(&Game { plans: Vec::new(), ..game.clone() }).map_err(unreadable)?;
    let insert = Query::insert()
        .into_table(Games::Table)
        .columns([Games::Id, Games::Position, Games::Body])
        .values_panic([game.id.as_str().into(), position.into(), body.into()])
        .on_conflict(OnConflict::column(Games::Id).update_columns([Games::Position, Games::Body]).to_owned())
        .to_owned();
    db.run(&insert).await?;
    for (position, plan) in (0i64..).zip(&game.plans) {
        let body = serde_json::to_string(plan).map_err(unreadable)?;
        let insert = Query::insert()
            .into_table(Plans::Table)
            .columns([Plans::Game, Plans::Id, Plans::Position, Plans::Body])
            .values_panic([game.id.as_str().into(), plan.id.as_str().into(), position.into(), body.into()])
            .on_conflict(OnConflict::columns([Plans::Game, Plans::Id]).update_columns([Plans::Position, Plans::Body]).to_owned())
            .to_owned();
        db.run(&insert).await?;
    }
    Ok(())
}

/// All games with their plans, in the catalogue's order.
pub async fn all(db: &Db) -> Result<Vec<Game>, StoreError> {
    let select = Query::select()
        .columns([Games::Id, Games::Body])
        .from(Games::Table)
        .order_by(Games::Position, Order::Asc)
        .order_by(Games::Id, Order::Asc)
        .limit(GAMES_MAX)
        .to_owned();
    let rows: Vec<GameRow> = db.all(&select).await?;
    let select = Query::select()
        .columns([Plans::Game, Plans::Body])
        .from(Plans::Table)
        .and_where(Expr::col(Plans::Game).is_not_null())
        .order_by(Plans::Game, Order::Asc)
        .order_by(Plans::Position, Order::Asc)
        .limit(PLANS_MAX)
        .to_owned();
    let plans: Vec<PlanRow> = db.all(&select).await?;
    rows.into_iter()
        .map(|row| {
            let mut game: Game = serde_json::from_str(&row.body).map_err(|_| StoreError::Unreadable("games.body"))?;
            game.plans = plans
                .iter()
                .filter(|plan| plan.game == row.id)
                .map(|plan| serde_json::from_str::<Plan>(&plan.body).map_err(|_| StoreError::Unreadable("plans.body")))
                .collect::<Result<_, _>>()?;
            Ok(game)
        })
        .collect()
}
