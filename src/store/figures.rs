//! How the whole panel stood, a row a minute; and what its overview counts beside nodes and servers.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::figures::Figure;
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
enum Figures {
    Table,
    At,
    Servers,
    Awake,
    Nodes,
    Online,
    CacheHits,
    CacheMisses,
}

use Figures as F;

const COLUMNS: [Figures; 7] = [F::At, F::Servers, F::Awake, F::Nodes, F::Online, F::CacheHits, F::CacheMisses];

#[derive(FromRow)]
struct FigureRow {
    at: i64,
    servers: i64,
    awake: i64,
    nodes: i64,
    online: i64,
    cache_hits: i64,
    cache_misses: i64,
}

impl TryFrom<FigureRow> for Figure {
    type Error = StoreError;
    fn try_from(row: FigureRow) -> Result<Figure, StoreError> {
        let small = |number: i64| u32::try_from(number).map_err(|_| StoreError::Unreadable("figures"));
        let count = |number: i64| u64::try_from(number).map_err(|_| StoreError::Unreadable("figures"));
        Ok(Figure {
            at: Millis(row.at),
            servers: small(row.servers)?,
            awake: small(row.awake)?,
            nodes: small(row.nodes)?,
            online: small(row.online)?,
            cache_hits: count(row.cache_hits)?,
            cache_misses: count(row.cache_misses)?,
        })
    }
}

/// Keeps the figure of a minute; false where that minute has one.
pub async fn insert(db: &Db, figure: &Figure) -> Result<bool, StoreError> {
    let small = i64::from;
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let insert = Query::insert()
        .into_table(F::Table)
        .columns(COLUMNS)
        .values_panic([
            figure.at.0.into(),
            small(figure.servers).into(),
            small(figure.awake).into(),
            small(figure.nodes).into(),
            small(figure.online).into(),
            count(figure.cache_hits).into(),
            count(figure.cache_misses).into(),
        ])
        .on_conflict(OnConflict::column(F::At).do_nothing().to_owned())
        .to_owned();
    Ok(db.run(&insert).await? == 1)
}

/// Has this minute its figure?
pub async fn is_there(db: &Db, at: Millis) -> Result<bool, StoreError> {
    let select = Query::select().columns(COLUMNS).from(F::Table).and_where(Expr::col(F::At).eq(at.0)).to_owned();
    Ok(db.opt::<FigureRow>(&select).await?.is_some())
}

/// Figures since a moment, oldest first.
pub async fn since(db: &Db, from: Millis, limit: u64) -> Result<Vec<Figure>, StoreError> {
    let select = Query::select()
        .columns(COLUMNS)
        .from(F::Table)
        .and_where(Expr::col(F::At).gte(from.0))
        .order_by(F::At, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<FigureRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Forgets those before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(F::Table).and_where(Expr::col(F::At).lt(before.0)).to_owned();
    db.run(&delete).await
}

/// How many there are of what the overview counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Totals {
    /// Templates.
    pub templates: i64,
    /// Versions of all of them.
    pub versions: i64,
    /// Accounts.
    pub accounts: i64,
    /// Of these with a role beyond that of a player.
    pub staff: i64,
}

/// Counts them.
pub async fn totals(db: &Db) -> Result<Totals, StoreError> {
    const TEXT: &str = "SELECT (SELECT COUNT(*) FROM templates) AS templates, (SELECT COUNT(*) FROM template_versions) AS versions, \
                        (SELECT COUNT(*) FROM users) AS accounts, (SELECT COUNT(*) FROM users WHERE role <> $1) AS staff";
    let player = crate::model::users::Role::Player.as_str();
    db.opt(Sql::Text(TEXT, vec![player.into()])).await?.ok_or(StoreError::Unreadable("totals"))
}
