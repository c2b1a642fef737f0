//! The database: SQLite or PostgreSQL, a pool or a transaction, behind one type without generics.
//!
//! Statements are built by sea-query for whichever is open; the few that it has no words for are text with `$1`, which both
//! databases read. SQLite writes go through one connection that begins with `BEGIN IMMEDIATE`, so that they queue inside
//! this process instead of meeting a lock, and reads have a pool of their own beside it.

use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use futures_util::TryStreamExt;
use sea_query::{PostgresQueryBuilder, SqliteQueryBuilder, Value, Values};
use sea_query_sqlx::{SqlxBinder, SqlxValues};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, FromRow, PgPool, Postgres, Sqlite, SqlitePool, Transaction};
use tokio::sync::Mutex;

/// Reading connections to SQLite.
const LITE_READERS: u32 = 4;
/// Connections to PostgreSQL.
const PG_CONNECTIONS: u32 = 16;
/// Longest wait for a connection or a lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can go wrong below.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something that must be unique is there already.
    #[error("it exists already")]
    Exists(#[source] sqlx::Error),
    /// Something else points at it, so it cannot go.
    #[error("it is in use")]
    InUse(#[source] sqlx::Error),
    /// Locked, out of connections, or cut off: worth another try.
    #[error("the database is busy or away")]
    Busy(#[source] sqlx::Error),
    /// There is no room to write: worth another try once somebody has made some.
    #[error("the disk of the database is full")]
    Full(#[source] sqlx::Error),
    /// The row moved since it was read.
    #[error("the row has changed since it was read")]
    Stale,
    /// A row says something that this program does not understand.
    #[error("the database holds something unreadable in {0}")]
    Unreadable(&'static str),
    /// Anything else.
    #[error("the database refused")]
    Other(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLite's 13, and PostgreSQL's disk_full.
        let full = |code: &str| matches!(code, "13" | "53100");
        let busy_lite = |code: &str| matches!(code, "5" | "6" | "261" | "262" | "517");
        match &error {
            sqlx::Error::Database(refusal) if refusal.is_foreign_key_violation() => StoreError::InUse(error),
            sqlx::Error::Database(refusal) if refusal.is_unique_violation() => StoreError::Exists(error),
            sqlx::Error::Database(refusal) if refusal.code().is_some_and(|code| full(&code)) => StoreError::Full(error),
            sqlx::Error::Database(refusal)
                if refusal.code().is_some_and(|code| busy_lite(&code) || code.starts_with("40") || code.starts_with("57P")) =>
            {
                StoreError::Busy(error)
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => StoreError::Busy(error),
            _ => StoreError::Other(error),
        }
    }
}

/// A row that both databases can give.
pub(super) trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}
impl<T> Row for T where T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}

enum Inner {
    Lite { readers: SqlitePool, writer: SqlitePool },
    Pg(PgPool),
    LiteTx(Mutex<Transaction<'static, Sqlite>>),
    PgTx(Mutex<Transaction<'static, Postgres>>),
}

/// A statement for whichever database it meets.
pub(super) enum Sql<'a> {
    /// Built by sea-query.
    Built(&'a dyn Build),
    /// Text with `$1`, and its values.
    Text(&'static str, Vec<Value>),
    /// What the two databases have different words for: SQLite's, PostgreSQL's.
    Either(String, String),
}

/// A statement that sea-query can write for both.
pub(super) trait Build: Sync {
    fn lite(&self) -> (String, SqlxValues);
    fn pg(&self) -> (String, SqlxValues);
}

impl<T: SqlxBinder + Sync> Build for T {
    fn lite(&self) -> (String, SqlxValues) {
        self.build_sqlx(SqliteQueryBuilder)
    }
    fn pg(&self) -> (String, SqlxValues) {
        self.build_sqlx(PostgresQueryBuilder)
    }
}

impl Sql<'_> {
    fn lite(self) -> (String, SqlxValues) {
        match self {
            Sql::Built(statement) => statement.lite(),
            Sql::Text(text, values) => (text.to_owned(), SqlxValues(Values(values))),
            Sql::Either(lite, _) => (lite, SqlxValues(Values(Vec::new()))),
        }
    }
    fn pg(self) -> (String, SqlxValues) {
        match self {
            Sql::Built(statement) => statement.pg(),
            Sql::Text(text, values) => (text.to_owned(), SqlxValues(Values(values))),
            Sql::Either(_, pg) => (pg, SqlxValues(Values(Vec::new()))),
        }
    }
}

impl<'a, T: Build> From<&'a T> for Sql<'a> {
    fn from(statement: &'a T) -> Self {
        Sql::Built(statement)
    }
}

/// The database, or a transaction on it.
pub struct Db(Inner);

/// Several statements as one; rolls back when it is dropped without [`Tx::commit`].
pub struct Tx(Db);

impl Deref for Tx {
    type Target = Db;
    fn deref(&self) -> &Db {
        &self.0
    }
}

impl Tx {
    /// Makes it so.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.0.0 {
            Inner::LiteTx(tx) => tx.into_inner().commit().await?,
            Inner::PgTx(tx) => tx.into_inner().commit().await?,
            Inner::Lite { .. } | Inner::Pg(_) => {}
        }
        Ok(())
    }
}

/// All migrations that this program knows.
pub(super) fn migrations() -> Migrator {
    sqlx::migrate!()
}

fn is_lite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

fn lite_options(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    Ok(SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
        .pragma("temp_store", "memory")
        .statement_cache_capacity(256))
}

macro_rules! on {
    ($db:expr, $sql:expr, $write:expr, |$text:ident, $values:ident, $conn:ident| $run:expr) => {
        match &$db.0 {
            Inner::Lite { readers, writer } => {
                let ($text, $values) = $sql.lite();
                let $conn = if $write { writer } else { readers };
                $run
            }
            Inner::Pg(pool) => {
                let ($text, $values) = $sql.pg();
                let $conn = pool;
                $run
            }
            Inner::LiteTx(tx) => {
                let ($text, $values) = $sql.lite();
                let mut tx = tx.lock().await;
                let $conn = &mut **tx;
                $run
            }
            Inner::PgTx(tx) => {
                let ($text, $values) = $sql.pg();
                let mut tx = tx.lock().await;
                let $conn = &mut **tx;
                $run
            }
        }
    };
}

impl Db {
    /// Opens `sqlite://path` (made if it is not there) or `postgres://...` and brings its tables up to date.
    pub async fn open(url: &str) -> Result<Db, StoreError> {
        let db = if is_lite(url) { Db::open_lite(url).await? } else { Db::open_pg(url).await? };
        db.migrate(None).await?;
        Ok(db)
    }

    /// Opens a database as it is: nothing is made, nothing is brought up to date, and whoever uses it goes on.
    pub async fn open_as_it_is(url: &str) -> Result<Db, StoreError> {
        if is_lite(url) {
            let options = lite_options(url)?.create_if_missing(false).disable_statement_logging();
            let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_with(options).await?;
            Ok(Db(Inner::Lite { readers: pool.clone(), writer: pool }))
        } else {
            Db::open_one(url).await
        }
    }

    /// Opens a database (`sqlite://path` is made if it is not there) with one connection. A SQLite database is locked for everybody else
    /// until it is closed.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when somebody has that SQLite database open.
    pub async fn open_alone(url: &str) -> Result<Db, StoreError> {
        if is_lite(url) {
            let options = lite_options(url)?.locking_mode(SqliteLockingMode::Exclusive).disable_statement_logging();
            let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None).acquire_timeout(PATIENCE);
            let pool = pool.connect_with(options).await?;
            Ok(Db(Inner::Lite { readers: pool.clone(), writer: pool }))
        } else {
            Db::open_one(url).await
        }
    }

    /// Brings the tables up to date, or up to one migration.
    pub(super) async fn migrate(&self, to: Option<i64>) -> Result<(), StoreError> {
        let migrations = migrations();
        let done = match (&self.0, to) {
            (Inner::Lite { writer, .. }, None) => migrations.run(writer).await,
            (Inner::Lite { writer, .. }, Some(to)) => migrations.run_to(to, writer).await,
            (Inner::Pg(pool), None) => migrations.run(pool).await,
            (Inner::Pg(pool), Some(to)) => migrations.run_to(to, pool).await,
            (Inner::LiteTx(_) | Inner::PgTx(_), _) => Ok(()),
        };
        done.map_err(|error| StoreError::Other(error.into()))
    }

    async fn open_lite(url: &str) -> Result<Db, StoreError> {
        let options = lite_options(url)?;
        let pool = |connections: u32| SqlitePoolOptions::new().max_connections(connections).min_connections(1).acquire_timeout(PATIENCE);
        // SQLite ends a transaction by itself when its disk is full; the connection still believes in it, and must not be used again.
        let writer = pool(1).after_release(|conn, _| {
            let whole = !conn.is_in_transaction();
            Box::pin(async move { Ok(whole) })
        });
        let writer = writer.idle_timeout(None).max_lifetime(None).connect_with(options.clone()).await?;
        let readers = pool(LITE_READERS).idle_timeout(None).max_lifetime(None).test_before_acquire(false).connect_with(options).await?;
        Ok(Db(Inner::Lite { readers, writer }))
    }

    async fn open_pg(url: &str) -> Result<Db, StoreError> {
        let options = PgConnectOptions::from_str(url)?;
        let pool = PgPoolOptions::new().max_connections(PG_CONNECTIONS).acquire_timeout(PATIENCE).connect_with(options).await?;
        Ok(Db(Inner::Pg(pool)))
    }

    async fn open_one(url: &str) -> Result<Db, StoreError> {
        let options = PgConnectOptions::from_str(url)?.disable_statement_logging();
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_with(options).await?;
        Ok(Db(Inner::Pg(pool)))
    }

    /// Is it PostgreSQL? Only for what cannot be said to both alike, such as what a text may hold.
    pub(super) fn is_pg(&self) -> bool {
        match &self.0 {
            Inner::Pg(_) | Inner::PgTx(_) => true,
            Inner::Lite { .. } | Inner::LiteTx(_) => false,
        }
    }

    /// Ends all connections; waits for those in use.
    pub async fn close(&self) {
        match &self.0 {
            Inner::Lite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Inner::Pg(pool) => pool.close().await,
            Inner::LiteTx(_) | Inner::PgTx(_) => {}
        }
    }

    /// Begins a transaction that will write.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let inner = match &self.0 {
            Inner::Lite { writer, .. } => Inner::LiteTx(Mutex::new(writer.begin_with("BEGIN IMMEDIATE").await?)),
            Inner::Pg(pool) => Inner::PgTx(Mutex::new(pool.begin().await?)),
            Inner::LiteTx(_) | Inner::PgTx(_) => return Err(StoreError::Other(sqlx::Error::BeginFailed)),
        };
        Ok(Tx(Db(inner)))
    }

    /// Begins a transaction that only reads, and sees everything as it was at one moment, whoever writes meanwhile.
    pub async fn picture(&self) -> Result<Tx, StoreError> {
        const PG: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        let inner = match &self.0 {
            Inner::Lite { readers, .. } => Inner::LiteTx(Mutex::new(readers.begin().await?)),
            Inner::Pg(pool) => Inner::PgTx(Mutex::new(pool.begin_with(PG).await?)),
            Inner::LiteTx(_) | Inner::PgTx(_) => return Err(StoreError::Other(sqlx::Error::BeginFailed)),
        };
        Ok(Tx(Db(inner)))
    }

    /// Hands on every row that the statement gives, one after the other, so that they need not fit into memory together.
    pub(super) async fn each<'a, T: Row, E: From<StoreError>>(
        &self,
        sql: impl Into<Sql<'a>>,
        mut take: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = sql.into();
        on!(self, sql, false, |text, values, conn| {
            let mut rows = sqlx::query_as_with::<_, T, _>(AssertSqlSafe(text), values).fetch(conn);
            while let Some(row) = rows.try_next().await.map_err(StoreError::from)? {
                take(row)?;
            }
        });
        Ok(())
    }

    /// All rows that the statement gives; each statement carries its own limit.
    pub(super) async fn all<'a, T: Row>(&self, sql: impl Into<Sql<'a>>) -> Result<Vec<T>, StoreError> {
        let sql = sql.into();
        Ok(on!(self, sql, false, |text, values, conn| sqlx::query_as_with(AssertSqlSafe(text), values).fetch_all(conn).await?))
    }

    /// The first row, if any.
    pub(super) async fn opt<'a, T: Row>(&self, sql: impl Into<Sql<'a>>) -> Result<Option<T>, StoreError> {
        let sql = sql.into();
        Ok(on!(self, sql, false, |text, values, conn| sqlx::query_as_with(AssertSqlSafe(text), values).fetch_optional(conn).await?))
    }

    /// Writes; gives the number of rows touched.
    pub(super) async fn run<'a>(&self, sql: impl Into<Sql<'a>>) -> Result<u64, StoreError> {
        let sql = sql.into();
        Ok(on!(self, sql, true, |text, values, conn| sqlx::query_with(AssertSqlSafe(text), values).execute(conn).await?.rows_affected()))
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Inner::Lite { .. } => "Db(sqlite)",
            Inner::Pg(_) => "Db(postgres)",
            Inner::LiteTx(_) | Inner::PgTx(_) => "Db(transaction)",
        })
    }
}
