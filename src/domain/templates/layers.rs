//! A server's list of layers: chosen by name, compared before it is changed, and whether there is something newer.

use std::collections::BTreeMap;

use super::{Whole, all};
use crate::domain::{Ctx, Fields, Refusal};
use crate::model::ids::GameId;
use crate::model::layers::{Change, LAYERS_MAX, LayerRef, Missing, changes, merge};
use crate::model::templates::{Manifest, TemplateVersion, Version};
use crate::store::{Db, templates};

/// A layer as somebody chose it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Id of a template.
    pub template: String,
    /// One of its versions; empty: the newest.
    pub version: String,
}

/// What another list of layers would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Paths that are added, removed or replaced.
    pub changes: Vec<Change>,
    /// Required paths that would not be there; the index is that of the layer.
    pub missing: Vec<Missing>,
}

fn reference(version: &TemplateVersion) -> LayerRef {
    LayerRef { template: version.template.clone(), version: version.version.clone(), sha256: version.sha256, bytes: version.bytes }
}

/// Reads a list of layers for a server of a game.
///
/// # Errors
/// [`Refusal::Invalid`] at `layers`.
pub async fn choose(ctx: &Ctx, game: &GameId, choices: &[Choice]) -> Result<Vec<LayerRef>, Refusal> {
    let mut fields = Fields::default();
    if choices.len() > LAYERS_MAX {
        fields.add("layers", format!("A server has at most {LAYERS_MAX} layers."));
    }
    fields.check()?;
    let all = if choices.is_empty() { Vec::new() } else { all(ctx).await? };
    let mut fields = Fields::default();
    let mut layers: Vec<LayerRef> = Vec::new();
    for choice in choices {
        match one(&all, game, choice) {
            Ok(layer) if layers.iter().any(|other| other.template == layer.template) => {
                fields.add("layers", format!("{} stands in the list twice.", layer.template));
            }
            Ok(layer) => layers.push(layer),
            Err(why) => fields.add("layers", why),
        }
    }
    fields.check()?;
    Ok(layers)
}

fn one(all: &[Whole], game: &GameId, choice: &Choice) -> Result<LayerRef, String> {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(60).collect::<String>();
    let whole = all.iter().find(|whole| whole.template.id.as_str() == choice.template);
    let whole = whole.ok_or_else(|| format!("There is no template {}.", short(&choice.template)))?;
    if whole.template.game.as_ref().is_some_and(|only| only != game) {
        return Err(format!("{} is not for this game.", whole.template.name));
    }
    let version = match choice.version.as_str() {
        "" => whole.versions.first().ok_or_else(|| format!("{} has no version yet.", whole.template.name))?,
        name => {
            let named = whole.versions.iter().find(|version| version.version.as_str() == name);
            named.ok_or_else(|| format!("{} has no version {}.", whole.template.name, short(name)))?
        }
    };
    Ok(reference(version))
}

/// A layer that a server stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub layer: LayerRef,
    /// The template's name.
    pub name: String,
    /// Its newest version, where that is another.
    pub newer: Option<Version>,
}

/// What is known of the layers of a server, in their order.
pub async fn standing(ctx: &Ctx, layers: &[LayerRef]) -> Result<Vec<Standing>, Refusal> {
    let mut all = Vec::with_capacity(layers.len());
    for layer in layers {
        let template = templates::by_id(&ctx.db, &layer.template).await?;
        let newest = templates::versions(&ctx.db, &layer.template, 1).await?.into_iter().next();
        let name = template.map_or_else(|| layer.template.to_string(), |template| template.name);
        let newer = newest.map(|newest| newest.version).filter(|newest| *newest != layer.version);
        all.push(Standing { layer: layer.clone(), name, newer });
    }
    Ok(all)
}

/// Is there anything that a server of this game can be laid out of?
pub async fn fits(ctx: &Ctx, game: &GameId) -> Result<bool, Refusal> {
    Ok(templates::any_for(&ctx.db, game).await?)
}

/// Everything that a server of this game can be laid out of: templates that have a version, by name.
pub async fn offered(ctx: &Ctx, game: &GameId) -> Result<Vec<Whole>, Refusal> {
    if !fits(ctx, game).await? {
        return Ok(Vec::new());
    }
    let mut all = all(ctx).await?;
    all.retain(|whole| !whole.versions.is_empty() && whole.template.game.as_ref().is_none_or(|only| only == game));
    Ok(all)
}

async fn manifests(db: &Db, layers: &[LayerRef]) -> Result<Vec<Manifest>, Refusal> {
    let mut all = Vec::with_capacity(layers.len());
    for layer in layers {
        all.push(templates::manifest(db, &layer.template, &layer.version).await?.ok_or(Refusal::NotFound)?);
    }
    Ok(all)
}

/// What changes when `after` takes the place of `before`, by what the archives hold. Of the server's own files nothing is known here.
pub async fn difference(ctx: &Ctx, before: &[LayerRef], after: &[LayerRef]) -> Result<Difference, Refusal> {
    let (old, new) = (manifests(&ctx.db, before).await?, manifests(&ctx.db, after).await?);
    let (old, new) = (merge(&old), merge(&new));
    Ok(Difference { changes: changes(&old, &new), missing: new.missing })
}

/// The same layers with their newest versions; none: there is nothing newer.
pub async fn newer(ctx: &Ctx, layers: &[LayerRef]) -> Result<Option<Vec<LayerRef>>, Refusal> {
    if layers.is_empty() {
        return Ok(None);
    }
    let newest: BTreeMap<_, _> =
        all(ctx).await?.into_iter().filter_map(|whole| Some((whole.template.id.clone(), reference(whole.versions.first()?)))).collect();
    let newer: Vec<LayerRef> = layers.iter().map(|layer| newest.get(&layer.template).unwrap_or(layer).clone()).collect();
    Ok((newer != layers).then_some(newer))
}
