//! Templates, their versions, what each version holds, and which servers stand on them.

use std::collections::HashMap;

use sea_query::{Expr, ExprTrait, Iden, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::{GameId, NodeId, ServerId, TemplateId};
use crate::model::layers::LayerRef;
use crate::model::templates::{Manifest, Template, TemplateKind, TemplateVersion, Version};
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
enum Templates {
    Table,
    Id,
    Name,
    Kind,
    Game,
    Description,
    Tags,
    CreatedAt,
    CreatedBy,
}

#[derive(Iden, Clone, Copy)]
enum TemplateVersions {
    Table,
    Template,
    Version,
    Sha256,
    Bytes,
    Unpacked,
    Files,
    ObjectKey,
    Note,
    CreatedAt,
    CreatedBy,
}

#[derive(Iden, Clone, Copy)]
enum TemplateManifests {
    Table,
    Template,
    Version,
    Body,
}

#[derive(Iden, Clone, Copy)]
enum ServerLayers {
    Table,
    Server,
    Position,
    Template,
    Version,
}

#[derive(Iden, Clone, Copy)]
enum Servers {
    Table,
    Id,
    Node,
}

use ServerLayers as L;
use TemplateManifests as M;
use TemplateVersions as V;
use Templates as T;

#[derive(FromRow)]
struct TemplateRow {
    id: String,
    name: String,
    kind: String,
    game: Option<String>,
    description: String,
    tags: String,
    created_at: i64,
    created_by: String,
}

impl TryFrom<TemplateRow> for Template {
    type Error = StoreError;
    fn try_from(row: TemplateRow) -> Result<Template, StoreError> {
        Ok(Template {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("templates.id"))?,
            name: row.name,
            kind: TemplateKind::parse(&row.kind).ok_or(StoreError::Unreadable("templates.kind"))?,
            game: row.game.map(|game| game.parse()).transpose().map_err(|_| StoreError::Unreadable("templates.game"))?,
            description: row.description,
            tags: serde_json::from_str(&row.tags).map_err(|_| StoreError::Unreadable("templates.tags"))?,
            created_at: Millis(row.created_at),
            created_by: row.created_by,
        })
    }
}

#[derive(FromRow)]
struct VersionRow {
    template: String,
    version: String,
    sha256: String,
    bytes: i64,
    unpacked: i64,
    files: i64,
    object_key: String,
    note: String,
    created_at: i64,
    created_by: String,
}

impl TryFrom<VersionRow> for TemplateVersion {
    type Error = StoreError;
    fn try_from(row: VersionRow) -> Result<TemplateVersion, StoreError> {
        let odd = StoreError::Unreadable;
        Ok(TemplateVersion {
            template: row.template.parse().map_err(|_| odd("template_versions.template"))?,
            version: row.version.parse().map_err(|_| odd("template_versions.version"))?,
            sha256: row.sha256.parse().map_err(|_| odd("template_versions.sha256"))?,
            bytes: u64::try_from(row.bytes).map_err(|_| odd("template_versions.bytes"))?,
            unpacked: u64::try_from(row.unpacked).map_err(|_| odd("template_versions.unpacked"))?,
            files: u32::try_from(row.files).map_err(|_| odd("template_versions.files"))?,
            object_key: row.object_key,
            note: row.note,
            created_at: Millis(row.created_at),
            created_by: row.created_by,
        })
    }
}

fn select() -> SelectStatement {
    Query::select()
        .columns([T::Id, T::Name, T::Kind, T::Game, T::Description, T::Tags, T::CreatedAt, T::CreatedBy])
        .from(T::Table)
        .to_owned()
}

fn select_versions() -> SelectStatement {
    Query::select()
        .columns([V::Template, V::Version, V::Sha256, V::Bytes, V::Unpacked, V::Files, V::ObjectKey, V::Note, V::CreatedAt, V::CreatedBy])
        .from(V::Table)
        .to_owned()
}

fn json(what: &impl serde::Serialize, column: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(what).map_err(|_| StoreError::Unreadable(column))
}

fn whole(number: u64, column: &'static str) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Unreadable(column))
}

/// Makes a template; [`StoreError::Exists`] when its id is taken.
pub async fn insert(db: &Db, template: &Template) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(T::Table)
        .columns([T::Id, T::Name, T::Kind, T::Game, T::Description, T::Tags, T::CreatedAt, T::CreatedBy])
        .values_panic([
            template.id.as_str().into(),
            template.name.as_str().into(),
            template.kind.as_str().into(),
            template.game.as_ref().map(|game| game.as_str().to_owned()).into(),
            template.description.as_str().into(),
            json(&template.tags, "templates.tags")?.into(),
            template.created_at.0.into(),
            template.created_by.as_str().into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Changes what is said of a template.
pub async fn change(db: &Db, template: &Template) -> Result<(), StoreError> {
    let update = Query::update()
        .table(T::Table)
        .value(T::Name, template.name.as_str())
        .value(T::Kind, template.kind.as_str())
        .value(T::Game, template.game.as_ref().map(|game| game.as_str().to_owned()))
        .value(T::Description, template.description.as_str())
        .value(T::Tags, json(&template.tags, "templates.tags")?)
        .and_where(Expr::col(T::Id).eq(template.id.as_str()))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// One template.
pub async fn by_id(db: &Db, id: &TemplateId) -> Result<Option<Template>, StoreError> {
    let select = select().and_where(Expr::col(T::Id).eq(id.as_str())).to_owned();
    db.opt::<TemplateRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// All templates, by name.
pub async fn list(db: &Db, limit: u64) -> Result<Vec<Template>, StoreError> {
    let select = select().order_by(T::Name, Order::Asc).order_by(T::Id, Order::Asc).limit(limit).to_owned();
    db.all::<TemplateRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Removes a template with its versions; [`StoreError::Other`] while a server stands on one of them.
pub async fn delete(db: &Db, id: &TemplateId) -> Result<(), StoreError> {
    let delete = Query::delete().from_table(T::Table).and_where(Expr::col(T::Id).eq(id.as_str())).to_owned();
    db.run(&delete).await.map(drop)
}

/// Adds a version with what it holds; [`StoreError::Exists`] when there is one of that name.
pub async fn insert_version(db: &Db, version: &TemplateVersion, manifest: &Manifest) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(V::Table)
        .columns([V::Template, V::Version, V::Sha256, V::Bytes, V::Unpacked, V::Files, V::ObjectKey, V::Note, V::CreatedAt, V::CreatedBy])
        .values_panic([
            version.template.as_str().into(),
            version.version.as_str().into(),
            version.sha256.to_string().into(),
            whole(version.bytes, "template_versions.bytes")?.into(),
            whole(version.unpacked, "template_versions.unpacked")?.into(),
            i64::from(version.files).into(),
            version.object_key.as_str().into(),
            version.note.as_str().into(),
            version.created_at.0.into(),
            version.created_by.as_str().into(),
        ])
        .to_owned();
    db.run(&insert).await?;
    let insert = Query::insert()
        .into_table(M::Table)
        .columns([M::Template, M::Version, M::Body])
        .values_panic([
            version.template.as_str().into(),
            version.version.as_str().into(),
            json(manifest, "template_manifests.body")?.into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// The versions of a template, newest first.
pub async fn versions(db: &Db, template: &TemplateId, limit: u64) -> Result<Vec<TemplateVersion>, StoreError> {
    let select = select_versions()
        .and_where(Expr::col(V::Template).eq(template.as_str()))
        .order_by(V::CreatedAt, Order::Desc)
        .order_by(V::Version, Order::Desc)
        .limit(limit)
        .to_owned();
    db.all::<VersionRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// All versions of all templates, newest first: for choosing layers.
pub async fn all_versions(db: &Db, limit: u64) -> Result<Vec<TemplateVersion>, StoreError> {
    let select = select_versions().order_by(V::CreatedAt, Order::Desc).order_by(V::Template, Order::Asc).limit(limit).to_owned();
    db.all::<VersionRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// One version.
pub async fn version(db: &Db, template: &TemplateId, version: &Version) -> Result<Option<TemplateVersion>, StoreError> {
    let select = select_versions()
        .and_where(Expr::col(V::Template).eq(template.as_str()))
        .and_where(Expr::col(V::Version).eq(version.as_str()))
        .to_owned();
    db.opt::<VersionRow>(&select).await?.map(TryInto::try_into).transpose()
}

#[derive(FromRow)]
struct BodyRow {
    body: String,
}

/// What a version holds.
pub async fn manifest(db: &Db, template: &TemplateId, version: &Version) -> Result<Option<Manifest>, StoreError> {
    let select = Query::select()
        .column(M::Body)
        .from(M::Table)
        .and_where(Expr::col(M::Template).eq(template.as_str()))
        .and_where(Expr::col(M::Version).eq(version.as_str()))
        .to_owned();
    let row: Option<BodyRow> = db.opt(&select).await?;
    row.map(|row| serde_json::from_str(&row.body).map_err(|_| StoreError::Unreadable("template_manifests.body"))).transpose()
}

/// Removes a version; [`StoreError::InUse`] while a server stands on it.
pub async fn delete_version(db: &Db, template: &TemplateId, version: &Version) -> Result<(), StoreError> {
    let delete = Query::delete()
        .from_table(V::Table)
        .and_where(Expr::col(V::Template).eq(template.as_str()))
        .and_where(Expr::col(V::Version).eq(version.as_str()))
        .to_owned();
    db.run(&delete).await.map(drop)
}

#[derive(FromRow)]
struct UseRow {
    template: String,
    version: String,
    number: i64,
}

/// How many servers stand on each version of these templates, or of all.
pub async fn uses(db: &Db, only: Option<&TemplateId>) -> Result<HashMap<(TemplateId, Version), u32>, StoreError> {
    let mut select = Query::select()
        .columns([L::Template, L::Version])
        .expr_as(Expr::col(L::Server).count_distinct(), "number")
        .from(L::Table)
        .group_by_columns([L::Template, L::Version])
        .to_owned();
    if let Some(template) = only {
        select.and_where(Expr::col(L::Template).eq(template.as_str()));
    }
    let odd = |_| StoreError::Unreadable("server_layers");
    let rows: Vec<UseRow> = db.all(&select).await?;
    let read = |row: UseRow| {
        let template = row.template.parse::<TemplateId>().map_err(|_| StoreError::Unreadable("server_layers.template"))?;
        let version = row.version.parse::<Version>().map_err(|_| StoreError::Unreadable("server_layers.version"))?;
        Ok(((template, version), u32::try_from(row.number).map_err(odd)?))
    };
    rows.into_iter().map(read).collect()
}

#[derive(FromRow)]
struct IdRow {
    #[allow(dead_code, reason = "that there is a row says it all")]
    id: String,
}

/// Is there a template with a version that servers of this game can be laid out of?
pub async fn any_for(db: &Db, game: &GameId) -> Result<bool, StoreError> {
    let with_version = Query::select().column(V::Template).from(V::Table).to_owned();
    let fits = Expr::col(T::Game).is_null().or(Expr::col(T::Game).eq(game.as_str()));
    let select = Query::select()
        .column(T::Id)
        .from(T::Table)
        .and_where(fits)
        .and_where(Expr::col(T::Id).in_subquery(with_version))
        .limit(1)
        .to_owned();
    Ok(db.opt::<IdRow>(&select).await?.is_some())
}

#[derive(FromRow)]
struct ServerRow {
    server: String,
}

/// Servers that stand on a version, by id.
pub async fn servers_on(db: &Db, template: &TemplateId, version: &Version, limit: u64) -> Result<Vec<ServerId>, StoreError> {
    let select = Query::select()
        .distinct()
        .column(L::Server)
        .from(L::Table)
        .and_where(Expr::col(L::Template).eq(template.as_str()))
        .and_where(Expr::col(L::Version).eq(version.as_str()))
        .order_by(L::Server, Order::Asc)
        .limit(limit)
        .to_owned();
    let rows: Vec<ServerRow> = db.all(&select).await?;
    rows.into_iter().map(|row| row.server.parse().map_err(|_| StoreError::Unreadable("server_layers.server"))).collect()
}

/// Does a server of this node stand on this version, or can it go back to it?
pub async fn stands_on(db: &Db, node: &NodeId, template: &TemplateId, version: &Version) -> Result<bool, StoreError> {
    let servers = Query::select().column(Servers::Id).from(Servers::Table).and_where(Expr::col(Servers::Node).eq(node.as_str())).to_owned();
    let select = Query::select()
        .column(L::Server)
        .from(L::Table)
        .and_where(Expr::col(L::Template).eq(template.as_str()))
        .and_where(Expr::col(L::Version).eq(version.as_str()))
        .and_where(Expr::col(L::Server).in_subquery(servers))
        .limit(1)
        .to_owned();
    Ok(db.opt::<ServerRow>(&select).await?.is_some())
}

/// Notes on what a server stands from now on, so that nobody removes it: what it has, and what it can go back to.
/// [`StoreError::InUse`] when one of the versions has gone meanwhile.
pub async fn hold(db: &Db, server: &ServerId, layers: &[LayerRef]) -> Result<(), StoreError> {
    let delete = Query::delete().from_table(L::Table).and_where(Expr::col(L::Server).eq(server.as_str())).to_owned();
    db.run(&delete).await?;
    for (position, layer) in (0i64..).zip(layers) {
        let insert = Query::insert()
            .into_table(L::Table)
            .columns([L::Server, L::Position, L::Template, L::Version])
            .values_panic([server.as_str().into(), position.into(), layer.template.as_str().into(), layer.version.as_str().into()])
            .to_owned();
        db.run(&insert).await?;
    }
    Ok(())
}
