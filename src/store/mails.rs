//! Letters that wait to go out, and those that went. The text of one that went is not kept.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::accounts::Email;
use crate::model::mails::Mail;
use crate::model::time::Millis;

#[derive(Iden)]
enum Mails {
    Table,
    Key,
    Address,
    Subject,
    Body,
    CreatedAt,
    DueAt,
    Attempts,
    SentAt,
    Trouble,
}

use Mails as M;

/// A letter, and how it fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The letter; without its text once it went out.
    pub mail: Mail,
    /// When it was written.
    pub created_at: Millis,
    /// When it is tried next; none: it went, or it was given up.
    pub due_at: Option<Millis>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it went.
    pub sent_at: Option<Millis>,
    /// What went wrong last; may be empty.
    pub trouble: String,
}

#[derive(FromRow)]
struct MailRow {
    key: String,
    address: String,
    subject: String,
    body: String,
    created_at: i64,
    due_at: Option<i64>,
    attempts: i64,
    sent_at: Option<i64>,
    trouble: String,
}

impl TryFrom<MailRow> for Posted {
    type Error = StoreError;
    fn try_from(row: MailRow) -> Result<Posted, StoreError> {
        let to = Email::parse(&row.address).map_err(|_| StoreError::Unreadable("mails.address"))?;
        Ok(Posted {
            mail: Mail { key: row.key, to, subject: row.subject, text: row.body },
            created_at: Millis(row.created_at),
            due_at: row.due_at.map(Millis),
            attempts: u32::try_from(row.attempts).map_err(|_| StoreError::Unreadable("mails.attempts"))?,
            sent_at: row.sent_at.map(Millis),
            trouble: row.trouble,
        })
    }
}

fn select() -> sea_query::SelectStatement {
    Query::select()
        .columns([M::Key, M::Address, M::Subject, M::Body, M::CreatedAt, M::DueAt, M::Attempts, M::SentAt, M::Trouble])
        .from(M::Table)
        .to_owned()
}

/// Puts a letter out to be sent; false when one of its key was written before.
pub async fn insert(db: &Db, mail: &Mail, now: Millis) -> Result<bool, StoreError> {
    let insert = Query::insert()
        .into_table(M::Table)
        .columns([M::Key, M::Address, M::Subject, M::Body, M::CreatedAt, M::DueAt, M::Attempts, M::Trouble])
        .values_panic([
            mail.key.as_str().into(),
            mail.to.as_str().into(),
            mail.subject.as_str().into(),
            mail.text.as_str().into(),
            now.0.into(),
            now.0.into(),
            0_i64.into(),
            "".into(),
        ])
        .on_conflict(OnConflict::column(M::Key).do_nothing().to_owned())
        .to_owned();
    Ok(db.run(&insert).await? == 1)
}

/// Letters whose time has come, the longest waiting first.
pub async fn due(db: &Db, now: Millis, limit: u64) -> Result<Vec<Posted>, StoreError> {
    let select = select()
        .and_where(Expr::col(M::DueAt).lte(now.0))
        .order_by(M::DueAt, Order::Asc)
        .order_by(M::Key, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<MailRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Takes a letter for one try, so that nobody else sends it meanwhile; false when somebody was faster.
pub async fn claim(db: &Db, posted: &Posted, until: Millis) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(M::Table)
        .value(M::DueAt, until.0)
        .value(M::Attempts, i64::from(posted.attempts) + 1)
        .and_where(Expr::col(M::Key).eq(posted.mail.key.as_str()))
        .and_where(Expr::col(M::Attempts).eq(i64::from(posted.attempts)))
        .and_where(Expr::col(M::SentAt).is_null())
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// It went: its text is forgotten.
pub async fn sent(db: &Db, key: &str, now: Millis) -> Result<(), StoreError> {
    let update = Query::update()
        .table(M::Table)
        .value(M::SentAt, now.0)
        .value(M::DueAt, Option::<i64>::None)
        .value(M::Body, "")
        .value(M::Trouble, "")
        .and_where(Expr::col(M::Key).eq(key))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// It did not go: when it is tried again, if ever.
pub async fn failed(db: &Db, key: &str, trouble: &str, next: Option<Millis>) -> Result<(), StoreError> {
    let update = Query::update()
        .table(M::Table)
        .value(M::DueAt, next.map(|at| at.0))
        .value(M::Trouble, trouble)
        .and_where(Expr::col(M::Key).eq(key))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// The newest letters, for whoever runs the panel.
pub async fn newest(db: &Db, limit: u64) -> Result<Vec<Posted>, StoreError> {
    let select = select().order_by(M::CreatedAt, Order::Desc).order_by(M::Key, Order::Desc).limit(limit).to_owned();
    db.all::<MailRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Forgets letters from before a moment; gives their number. The keys go with them: no event may write about the same thing later.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(M::Table).and_where(Expr::col(M::CreatedAt).lt(before.0)).to_owned();
    db.run(&delete).await
}
