//! The whole database as lines of text, for either kind of database: what `roost backup` writes and `roost restore` reads.
//!
//! A table is a line with the names of its columns and a line for each row, both JSON arrays; rows come in the order of the primary key,
//! which both databases sort alike, so that equal rows give equal bytes. Tables and columns are asked of the database itself: whatever a
//! migration adds is in the next dump. Tables come in an order in which what is pointed at stands before what points at it.

use std::collections::BTreeSet;
use std::io;

use sea_query::{Alias, Query, Value};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, TypeInfo, ValueRef};

use super::db::{Sql, migrations};
use super::{Db, StoreError, payments, subscriptions};
use crate::model::time::{DAY, Millis};

/// Tables that are not in a dump. Whoever has a session logs in again; a dump that falls into wrong hands opens none.
pub const LEFT_OUT: [&str; 1] = ["sessions"];
/// Tables in which the first start of a panel writes before anybody uses it.
const OF_A_FIRST_START: [&str; 6] = ["panel", "games", "plans", "nodes", "figures", "node_samples"];
/// By how much every server's generation grows: nodes refuse commands of a lower one than they have seen since the dump.
pub const AHEAD: i64 = 1_000_000;
/// Payments that began so long before are asked about anew: nothing more goes back of older ones.
const LOOKED_BACK: i64 = 180 * DAY;
/// Most values of one statement, and most bytes of text.
const VALUES_MAX: usize = 8_000;
const BYTES_MAX: usize = 1 << 20;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever takes the lines.
    #[error("the copy cannot be written")]
    Write(#[source] io::Error),
    /// Only texts and whole numbers are known here.
    #[error("the column {column} of the table {table} is of the kind {kind}, which a dump has no place for")]
    Kind {
        /// Which table.
        table: String,
        /// Which column.
        column: String,
        /// What it is.
        kind: String,
    },
    /// Tables that point at each other.
    #[error("the tables {0} point at each other in a circle")]
    Circle(String),
    /// A line that is not one of this table.
    #[error("line {line} of the table {table} {what}")]
    Line {
        /// Which table.
        table: String,
        /// From 1; the first one names the columns.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A step in the history of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// They count up.
    pub version: i64,
    /// In words.
    pub name: String,
    /// SHA-384 of its text, in hexadecimal.
    pub checksum: String,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    kind: Kind,
}

/// A table, as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    columns: Vec<Column>,
    key: Vec<String>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Cell {
    Number(i64),
    Text(String),
    Nothing,
}

/// A row of any table.
struct Cells(Vec<Cell>);

macro_rules! cells {
    ($row:ty, $number:literal, $text:literal) => {
        impl FromRow<'_, $row> for Cells {
            fn from_row(row: &$row) -> Result<Cells, sqlx::Error> {
                let cell = |at: usize| {
                    let raw = row.try_get_raw(at)?;
                    if raw.is_null() {
                        return Ok(Cell::Nothing);
                    }
                    let kind = raw.type_info().name().to_owned();
                    match kind.as_str() {
                        $number => row.try_get(at).map(Cell::Number),
                        $text => row.try_get(at).map(Cell::Text),
                        _ => Err(sqlx::Error::ColumnDecode { index: at.to_string(), source: format!("a value of the kind {kind}").into() }),
                    }
                };
                (0..row.len()).map(cell).collect::<Result<_, _>>().map(Cells)
            }
        }
    };
}
cells!(SqliteRow, "INTEGER", "TEXT");
cells!(PgRow, "INT8", "TEXT");

#[derive(FromRow)]
struct ColumnRow {
    tab: String,
    col: String,
    kind: String,
    key: i64,
}

#[derive(FromRow)]
struct PointRow {
    tab: String,
    parent: String,
}

#[derive(FromRow)]
struct MigrationRow {
    version: i64,
    description: String,
    checksum: Vec<u8>,
}

#[derive(FromRow)]
struct NumberRow {
    number: i64,
}

fn either(lite: &str, pg: &str) -> Sql<'static> {
    Sql::Either(lite.to_owned(), pg.to_owned())
}

fn both(text: String) -> Sql<'static> {
    Sql::Either(text.clone(), text)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Which database it is, in a word.
pub fn kind(db: &Db) -> &'static str {
    if db.is_pg() { "postgresql" } else { "sqlite" }
}

/// The migrations that this program knows, in order.
pub fn known() -> Vec<Migration> {
    let step = |step: &sqlx::migrate::Migration| Migration {
        version: step.version,
        name: step.description.to_string(),
        checksum: hex::encode(&step.checksum),
    };
    migrations().iter().map(step).collect()
}

/// The migrations that the database has seen, in order; none: Roost never used it.
pub async fn applied(db: &Db) -> Result<Vec<Migration>, StoreError> {
    const LITE: &str = "SELECT COUNT(*) AS number FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
    const PG: &str = "SELECT COUNT(*) AS number FROM pg_class WHERE relkind = 'r' AND relname = '_sqlx_migrations' \
        AND relnamespace = current_schema()::regnamespace";
    if db.opt::<NumberRow>(either(LITE, PG)).await?.is_none_or(|row| row.number == 0) {
        return Ok(Vec::new());
    }
    let rows: Vec<MigrationRow> =
        db.all(Sql::Text("SELECT version, description, checksum FROM _sqlx_migrations ORDER BY version", Vec::new())).await?;
    let step = |row: MigrationRow| Migration { version: row.version, name: row.description, checksum: hex::encode(row.checksum) };
    Ok(rows.into_iter().map(step).collect())
}

/// Brings the tables up to this migration, or to the last that is known.
pub async fn migrate(db: &Db, to: Option<i64>) -> Result<(), StoreError> {
    db.migrate(to).await
}

/// Other programs that are connected to a PostgreSQL database; SQLite's are locked out, see [`Db::open_alone`].
pub async fn others(db: &Db) -> Result<i64, StoreError> {
    const PG: &str = "SELECT COUNT(*) AS number FROM pg_stat_activity WHERE datname = current_database() \
        AND pid <> pg_backend_pid() AND usesysid IS NOT NULL AND COALESCE(backend_type, 'client backend') = 'client backend'";
    Ok(db.opt::<NumberRow>(either("SELECT 0 AS number", PG)).await?.map_or(0, |row| row.number))
}

/// Every table but those of [`LEFT_OUT`], what is pointed at first.
pub async fn tables(db: &Db) -> Result<Vec<Table>, DumpError> {
    let mut open = Vec::<Table>::new();
    for row in columns(db).await? {
        if LEFT_OUT.contains(&row.tab.as_str()) {
            continue;
        }
        let kind = match row.kind.to_lowercase().as_str() {
            "text" => Kind::Text,
            "bigint" => Kind::Number,
            _ => return Err(DumpError::Kind { table: row.tab, column: row.col, kind: row.kind }),
        };
        if open.last().is_none_or(|table| table.name != row.tab) {
            open.push(Table { name: row.tab, columns: Vec::new(), key: Vec::new() });
        }
        if let Some(table) = open.last_mut() {
            // Keys are of few columns, and come as they are numbered below.
            if row.key > 0 {
                table.key.push(format!("{:03}{}", row.key, row.col));
            }
            table.columns.push(Column { name: row.col, kind });
        }
    }
    for table in &mut open {
        table.key.sort();
        table.key.iter_mut().for_each(|column| drop(column.drain(..3)));
    }
    in_order(open, &pointers(db).await?)
}

async fn columns(db: &Db) -> Result<Vec<ColumnRow>, StoreError> {
    const LITE: &str = "SELECT m.name AS tab, c.name AS col, c.type AS kind, c.pk AS key \
        FROM sqlite_master m JOIN pragma_table_info(m.name) c \
        WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name <> '_sqlx_migrations' ORDER BY m.name, c.cid";
    const PG: &str = "SELECT r.relname::text AS tab, a.attname::text AS col, format_type(a.atttypid, NULL) AS kind, \
        CAST(COALESCE(array_position(string_to_array(i.indkey::text, ' '), a.attnum::text), 0) AS BIGINT) AS key \
        FROM pg_class r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped \
        LEFT JOIN pg_index i ON i.indrelid = r.oid AND i.indisprimary \
        WHERE r.relkind = 'r' AND r.relnamespace = current_schema()::regnamespace AND r.relname <> '_sqlx_migrations' \
        ORDER BY r.relname::text COLLATE \"C\", a.attnum";
    db.all(either(LITE, PG)).await
}

async fn pointers(db: &Db) -> Result<Vec<PointRow>, StoreError> {
    const LITE: &str = "SELECT m.name AS tab, f.\"table\" AS parent FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f \
        WHERE m.type = 'table'";
    const PG: &str = "SELECT a.relname::text AS tab, b.relname::text AS parent FROM pg_constraint c \
        JOIN pg_class a ON a.oid = c.conrelid JOIN pg_class b ON b.oid = c.confrelid \
        WHERE c.contype = 'f' AND a.relnamespace = current_schema()::regnamespace";
    db.all(either(LITE, PG)).await
}

fn in_order(mut open: Vec<Table>, pointers: &[PointRow]) -> Result<Vec<Table>, DumpError> {
    let mut done = Vec::new();
    while !open.is_empty() {
        let waiting: BTreeSet<String> = open.iter().map(|table| table.name.clone()).collect();
        let waits = |table: &Table| pointers.iter().any(|p| p.tab == table.name && p.parent != p.tab && waiting.contains(&p.parent));
        let (later, now): (Vec<Table>, Vec<Table>) = open.into_iter().partition(waits);
        if now.is_empty() {
            return Err(DumpError::Circle(waiting.into_iter().collect::<Vec<_>>().join(", ")));
        }
        done.extend(now);
        open = later;
    }
    Ok(done)
}

impl Table {
    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    fn wrong(&self, line: u64, what: &'static str) -> DumpError {
        DumpError::Line { table: self.name.clone(), line, what }
    }

    /// All rows in the order of the key.
    fn select(&self) -> Sql<'static> {
        let list: Vec<String> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        let begin = format!("SELECT {} FROM {} ORDER BY ", list.join(", "), quoted(&self.name));
        let by = if self.key.is_empty() { self.names() } else { self.key.iter().map(String::as_str).collect() };
        let is_text = |name: &str| self.columns.iter().any(|column| column.name == name && column.kind == Kind::Text);
        let pg: Vec<String> =
            by.iter().map(|name| if is_text(name) { format!("{} COLLATE \"C\"", quoted(name)) } else { quoted(name) }).collect();
        let lite: Vec<String> = by.iter().map(|name| quoted(name)).collect();
        Sql::Either(format!("{begin}{}", lite.join(", ")), format!("{begin}{}", pg.join(", ")))
    }
}

/// Writes a table, line by line; gives the number of rows.
pub async fn write(db: &Db, table: &Table, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> Result<u64, DumpError> {
    let (mut rows, mut line) = (0, Vec::new());
    let mut give = |line: &mut Vec<u8>| {
        line.push(b'\n');
        take(line).map_err(DumpError::Write)
    };
    serde_json::to_writer(&mut line, &table.names()).map_err(|error| DumpError::Write(error.into()))?;
    give(&mut line)?;
    db.each(table.select(), |row: Cells| {
        line.clear();
        serde_json::to_writer(&mut line, &row.0).map_err(|error| DumpError::Write(error.into()))?;
        rows += 1;
        give(&mut line)
    })
    .await?;
    Ok(rows)
}

/// Is this one line of a table, whatever the table is? The first one names columns.
pub fn is_line(line: &[u8], first: bool) -> bool {
    if first { serde_json::from_slice::<Vec<String>>(line).is_ok() } else { serde_json::from_slice::<Vec<Cell>>(line).is_ok() }
}

/// Tables that hold more than a first start of the panel writes.
pub async fn in_use(db: &Db, tables: &[Table]) -> Result<Vec<String>, StoreError> {
    let mut used = Vec::new();
    for table in tables.iter().filter(|table| !OF_A_FIRST_START.contains(&table.name.as_str())) {
        let sql = format!("SELECT COUNT(*) AS number FROM (SELECT 1 AS one FROM {} LIMIT 1) AS rows", quoted(&table.name));
        if db.opt::<NumberRow>(both(sql)).await?.is_some_and(|row| row.number > 0) {
            used.push(table.name.clone());
        }
    }
    Ok(used)
}

/// Removes every row.
pub async fn clear(tx: &Db, tables: &[Table]) -> Result<(), StoreError> {
    for table in tables.iter().rev().map(|table| table.name.as_str()).chain(LEFT_OUT) {
        tx.run(both(format!("DELETE FROM {}", quoted(table)))).await?;
    }
    Ok(())
}

/// Puts a table's lines back, many at once.
pub struct Loader<'a> {
    table: &'a Table,
    /// For each value of a line, the column that it goes to.
    order: Vec<Column>,
    lines: u64,
    rows: Vec<Vec<Cell>>,
    bytes: usize,
    /// PostgreSQL has no place for the character U+0000; it gets U+FFFD in its place, this often.
    pub replaced: u64,
}

impl<'a> Loader<'a> {
    /// For this table.
    pub fn new(table: &'a Table) -> Loader<'a> {
        Loader { table, order: Vec::new(), lines: 0, rows: Vec::new(), bytes: 0, replaced: 0 }
    }

    /// Takes a line; true: [`Loader::flush`] now.
    ///
    /// # Errors
    /// [`DumpError::Line`] when it does not fit the table.
    pub fn take(&mut self, line: &[u8]) -> Result<bool, DumpError> {
        self.lines += 1;
        let wrong = |what| self.table.wrong(self.lines, what);
        if self.order.is_empty() {
            let names: Vec<String> = serde_json::from_slice(line).map_err(|_| wrong("does not name columns"))?;
            let distinct: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            if names.len() != self.table.columns.len() || distinct != self.table.names().into_iter().collect() {
                return Err(wrong("names other columns than the database has"));
            }
            let column = |name: &String| self.table.columns.iter().find(|column| column.name == *name).cloned();
            self.order = names.iter().filter_map(column).collect();
            return Ok(false);
        }
        let cells: Vec<Cell> = serde_json::from_slice(line).map_err(|_| wrong("is not a row of texts, whole numbers and nulls"))?;
        let fits = |(cell, column): (&Cell, &Column)| match (cell, column.kind) {
            (Cell::Nothing, Kind::Text | Kind::Number) | (Cell::Text(_), Kind::Text) | (Cell::Number(_), Kind::Number) => true,
            (Cell::Text(_), Kind::Number) | (Cell::Number(_), Kind::Text) => false,
        };
        if cells.len() != self.order.len() || !cells.iter().zip(&self.order).all(fits) {
            return Err(wrong("does not fit its columns"));
        }
        self.rows.push(cells);
        self.bytes += line.len();
        Ok(self.rows.len() * self.order.len() >= VALUES_MAX || self.bytes >= BYTES_MAX)
    }

    /// Writes what was taken.
    pub async fn flush(&mut self, tx: &Db) -> Result<(), DumpError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let columns = self.order.iter().map(|column| Alias::new(&column.name));
        let mut insert = Query::insert().into_table(Alias::new(&self.table.name)).columns(columns).to_owned();
        let (rows, is_pg) = (std::mem::take(&mut self.rows), tx.is_pg());
        self.bytes = 0;
        for row in rows {
            let mut values = Vec::with_capacity(row.len());
            for (cell, column) in row.into_iter().zip(&self.order) {
                values.push(match (cell, column.kind) {
                    (Cell::Text(text), _) if is_pg && text.contains('\0') => {
                        self.replaced += 1;
                        Value::from(text.replace('\0', "\u{fffd}")).into()
                    }
                    (Cell::Text(text), _) => Value::from(text).into(),
                    (Cell::Number(number), _) => Value::from(number).into(),
                    (Cell::Nothing, Kind::Text) => Value::from(None::<String>).into(),
                    (Cell::Nothing, Kind::Number) => Value::from(None::<i64>).into(),
                });
            }
            insert.values(values).map_err(|_| self.table.wrong(self.lines, "does not fit its columns"))?;
        }
        tx.run(&insert).await?;
        Ok(())
    }
}

/// What a panel cannot know any more after its database was put back: how its servers are, what it had asked of nodes, and how far backups
/// were, of which what they have stored is thrown away. The nodes' next words say how servers are; what they remember of earlier commands
/// does not stand against later ones.
pub async fn forget_what_was_under_way(tx: &Db, tables: &[Table], now: Millis) -> Result<(), StoreError> {
    const SERVERS: &str = "UPDATE servers SET seen = '{\"state\":\"unknown\"}', doing = NULL, spec_seen = '', due_at = 0, \
        generation = generation + $1, phase = CASE WHEN phase = 'preparing' THEN 'requested' ELSE phase END";
    const COMMANDS: &str = "DELETE FROM node_commands WHERE answered_at IS NULL";
    const TRASH: &str = "INSERT INTO object_trash (object_key, upload, due_at) \
        SELECT 'backups/' || server || '/' || id || '.tar.zst', upload, $1 FROM backups \
        WHERE state IN ('waiting', 'running', 'storing') ON CONFLICT DO NOTHING";
    const BACKUPS: &str = "UPDATE backups SET state = 'failed', command = NULL, upload = NULL, archived = NULL, message = $1, done_at = $2 \
        WHERE state IN ('waiting', 'running', 'storing')";
    const RESTORES: &str = "UPDATE restores SET state = 'failed', message = $1, ended_at = $2 WHERE ended_at IS NULL";
    const WHY: &str = "The panel was restored from its backup.";
    let there = |name: &str| tables.iter().any(|table| table.name == name);
    tx.run(Sql::Text(SERVERS, vec![AHEAD.into()])).await?;
    tx.run(Sql::Text(COMMANDS, vec![])).await?;
    // What was paid, refunded or ended since is asked of Stripe.
    if there("payments") && there("subscriptions") {
        payments::all_due(tx, now - LOOKED_BACK).await?;
        subscriptions::all_due(tx, now).await?;
    }
    // Dumps of earlier Roosts have no backups of servers.
    if there("backups") && there("object_trash") && there("restores") {
        tx.run(Sql::Text(TRASH, vec![now.0.into()])).await?;
        tx.run(Sql::Text(BACKUPS, vec![WHY.into(), now.0.into()])).await?;
        tx.run(Sql::Text(RESTORES, vec![WHY.into(), now.0.into()])).await?;
    }
    Ok(())
}
