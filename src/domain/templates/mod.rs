//! Templates: what servers are laid out of. Their archives lie in the object store, everything else is a row.
//!
//! A version never changes: it is added whole, after its archive was checked to the end (`upload`), and goes only while no server
//! stands on it. Whoever makes a server may use every template; making and changing them is for operators.

mod layers;
mod settings;
mod upload;

pub use crate::objects::Body;
pub use layers::{Choice, Difference, Standing, choose, difference, fits, newer, offered, standing};
pub use settings::{Details, Imported, change, create, export, import};
pub use upload::{NewVersion, upload};

use std::collections::HashMap;

use super::{Actor, Ctx, Refusal};
use crate::model::ids::{ServerId, TemplateId};
use crate::model::templates::{Manifest, Template, TemplateVersion, Version};
use crate::model::time::{DAY, Millis};
use crate::model::users::Right;
use crate::objects::{ObjectKey, Prefix};
use crate::store::{StoreError, templates};

/// Most templates of a panel.
pub const TEMPLATES_MAX: u64 = 1_000;
/// Most versions of one template that are shown.
const VERSIONS_MAX: u64 = 200;
/// Servers of one version that are named.
const SERVERS_NAMED: u64 = 50;
/// An archive that no version names is taken away when it is this old, in milliseconds: no upload takes longer.
const LOOSE_AFTER: i64 = DAY;
/// Objects of one page of the sweep.
const PAGE: u16 = 500;

/// How many servers stand on each version.
pub type Uses = HashMap<(TemplateId, Version), u32>;

/// A template with its versions, newest first.
#[derive(Debug, Clone)]
pub struct Whole {
    /// What they have in common.
    pub template: Template,
    /// Newest first.
    pub versions: Vec<TemplateVersion>,
}

/// Every template with its versions, by name, and how many servers stand on each.
pub async fn list(ctx: &Ctx, actor: &Actor) -> Result<(Vec<Whole>, Uses), Refusal> {
    if !actor.may_at_all(Right::SeeTemplates) {
        return Err(Refusal::NotFound);
    }
    Ok((all(ctx).await?, templates::uses(&ctx.db, None).await?))
}

/// Every template with its versions, for choosing layers.
pub async fn all(ctx: &Ctx) -> Result<Vec<Whole>, Refusal> {
    let mut by_template: HashMap<TemplateId, Vec<TemplateVersion>> = HashMap::new();
    for version in templates::all_versions(&ctx.db, TEMPLATES_MAX * VERSIONS_MAX).await? {
        by_template.entry(version.template.clone()).or_default().push(version);
    }
    let list = templates::list(&ctx.db, TEMPLATES_MAX).await?.into_iter();
    Ok(list.map(|template| Whole { versions: by_template.remove(&template.id).unwrap_or_default(), template }).collect())
}

/// One template with its versions, and how many servers stand on each.
pub async fn find(ctx: &Ctx, actor: &Actor, id: &TemplateId) -> Result<(Whole, Uses), Refusal> {
    if !actor.may_at_all(Right::SeeTemplates) {
        return Err(Refusal::NotFound);
    }
    let template = templates::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)?;
    let versions = templates::versions(&ctx.db, id, VERSIONS_MAX).await?;
    Ok((Whole { template, versions }, templates::uses(&ctx.db, Some(id)).await?))
}

/// One version with what it holds and the servers that stand on it, the first of them.
pub async fn version(
    ctx: &Ctx,
    actor: &Actor,
    id: &TemplateId,
    version: &Version,
) -> Result<(Template, TemplateVersion, Manifest, Vec<ServerId>), Refusal> {
    if !actor.may_at_all(Right::SeeTemplates) {
        return Err(Refusal::NotFound);
    }
    let template = templates::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)?;
    let row = templates::version(&ctx.db, id, version).await?.ok_or(Refusal::NotFound)?;
    let manifest = templates::manifest(&ctx.db, id, version).await?.ok_or(Refusal::NotFound)?;
    Ok((template, row, manifest, templates::servers_on(&ctx.db, id, version, SERVERS_NAMED).await?))
}

/// Is this somebody who makes and changes templates?
pub fn may_manage(actor: &Actor) -> bool {
    actor.may_at_all(Right::ManageTemplates)
}

fn manages(actor: &Actor) -> Result<(), Refusal> {
    if may_manage(actor) {
        Ok(())
    } else if actor.may_at_all(Right::SeeTemplates) {
        Err(Refusal::Forbidden)
    } else {
        Err(Refusal::NotFound)
    }
}

/// May somebody upload a version of this template? Asked before anything of it is read.
pub async fn may_upload(ctx: &Ctx, actor: &Actor, id: &TemplateId) -> Result<(), Refusal> {
    manages(actor)?;
    templates::by_id(&ctx.db, id).await?.map(drop).ok_or(Refusal::NotFound)
}

fn in_use(error: StoreError, what: &str) -> Refusal {
    match error {
        StoreError::InUse(_) => Refusal::Conflict(format!(
            "Servers stand on {what}, or can go back to it. Give them other layers first, or delete them; its page names them."
        )),
        other => other.into(),
    }
}

/// Removes a version that no server stands on. Its archive goes after its row: one that stays behind is swept.
pub async fn delete_version(ctx: &Ctx, actor: &Actor, id: &TemplateId, version: &Version) -> Result<(), Refusal> {
    manages(actor)?;
    let row = templates::version(&ctx.db, id, version).await?.ok_or(Refusal::NotFound)?;
    templates::delete_version(&ctx.db, id, version).await.map_err(|error| in_use(error, "this version"))?;
    discard(ctx, &row.object_key).await;
    Ok(())
}

/// Removes a template with all its versions, where no server stands on any.
pub async fn delete(ctx: &Ctx, actor: &Actor, id: &TemplateId) -> Result<(), Refusal> {
    manages(actor)?;
    let (whole, _) = find(ctx, actor, id).await?;
    templates::delete(&ctx.db, id).await.map_err(|error| in_use(error, "versions of this template"))?;
    for version in whole.versions {
        discard(ctx, &version.object_key).await;
    }
    Ok(())
}

async fn discard(ctx: &Ctx, key: &str) {
    let Ok(key) = key.parse::<ObjectKey>() else { return };
    if let Err(error) = ctx.objects.delete(&key).await {
        tracing::warn!(%key, error = &error as &dyn std::error::Error, "an archive could not be removed; the sweep does it");
    }
}

/// Where an archive lies: the moment stands in its name, so that the sweep knows how old one is that nobody names.
fn key(id: &TemplateId, version: &Version, now: Millis) -> Result<ObjectKey, Refusal> {
    let text = format!("templates/{id}/{version}-{:013}-{}.tar", now.0, hex::encode(Ctx::random::<4>()));
    text.parse().map_err(|_| Refusal::Conflict("This version's name cannot become part of an archive's name.".to_owned()))
}

fn stored_at(key: &ObjectKey) -> Option<Millis> {
    key.as_str().strip_suffix(".tar")?.rsplit('-').nth(1)?.parse().ok().map(Millis)
}

/// Takes away archives that no version names, left by a kill between the archive and its row, or by a removal that failed.
pub async fn sweep(ctx: &Ctx) -> Result<u64, Refusal> {
    let now = ctx.clock.now();
    let named: std::collections::HashSet<String> =
        templates::all_versions(&ctx.db, TEMPLATES_MAX * VERSIONS_MAX).await?.into_iter().map(|version| version.object_key).collect();
    let Ok(prefix) = "templates/".parse::<Prefix>() else { return Ok(0) };
    let (mut from, mut gone) = (None, 0);
    loop {
        let page = match ctx.objects.list(&prefix, from.as_ref(), PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the object store could not be swept; next time again");
                return Ok(gone);
            }
        };
        for object in &page.objects {
            let old = stored_at(&object.key).is_some_and(|at| now.since(at) > LOOSE_AFTER);
            if old && !named.contains(object.key.as_str()) {
                discard(ctx, object.key.as_str()).await;
                gone += 1;
            }
        }
        from = page.next;
        if from.is_none() {
            return Ok(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archives_name_tells_when_it_came() {
        let key = key(&"lobby".parse().unwrap(), &"1.4-rc1".parse().unwrap(), Millis(1_767_268_800_000)).unwrap();
        assert!(key.as_str().starts_with("templates/lobby/1.4-rc1-1767268800000-"), "{key}");
        assert_eq!(stored_at(&key), Some(Millis(1_767_268_800_000)));
        assert_eq!(stored_at(&"templates/a/b.tar".parse().unwrap()), None);
    }
}
