//! Machines come and go: a token invites one, its certificate is how it is known, and both can be taken back.
//!
//! Keys and signatures are the affair of whoever calls; here is decided whose certificate counts, and written down which that is.

use std::net::IpAddr;

use super::NODES_MAX;
use crate::domain::{Actor, Change, Ctx, Fields, Refusal, digest};
use crate::model::ids::{NodeId, NodeTokenId};
use crate::model::nodes::{Certificate, NAME_MAX, Node, NodeToken, Standing, WORD_MAX, word};
use crate::model::time::{DAY, HOUR, MINUTE, Millis};
use crate::model::users::Right;
use crate::store::{StoreError, commands, node_tokens, nodes, panel, servers};

/// How long a token works, in milliseconds.
pub const TOKEN_LIVES: i64 = HOUR;
/// Most tokens that wait to be used.
const TOKENS_MAX: u64 = 50;
/// Ended tokens are remembered for this long, so that whoever comes with one is told what is wrong with it.
const TOKEN_KEPT: i64 = DAY;
/// The same reason for turning a node away is written down this often.
const REFUSAL_EVERY: i64 = MINUTE;

/// Addresses of the pages beside those of nodes: no node is called so.
const RESERVED: [&str; 3] = ["add", "live", "tokens"];

/// Why a machine is not let in; the agent logs it, and the node's page shows it.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// No such token.
    #[error(
        "This token is not known here: it was taken back, or it belongs to another panel. Make another one on the panel's page of nodes"
    )]
    UnknownToken,
    /// Somebody came with it.
    #[error("This token has been used, and a token works once. Make another one on the panel's page of nodes")]
    UsedToken,
    /// Its hour is over.
    #[error("This token has ended: it works for an hour. Make another one on the panel's page of nodes")]
    EndedToken,
    /// The node was removed.
    #[error("The panel does not know this node any more. Make a token on the panel's page of nodes and join again")]
    UnknownNode,
    /// An admin has turned it away.
    #[error("An admin has revoked this node. Make a new token on the node's page and join again")]
    Revoked,
    /// It was away for too long.
    #[error("The node's certificate has ended, because the node was away for too long. Make a new token on the node's page and join again")]
    Ended,
    /// It has joined anew since, perhaps on another machine.
    #[error("The node's certificate has been replaced by a newer one: it has joined anew since, or runs twice")]
    Replaced,
    /// Not the node's fault.
    #[error(transparent)]
    Panel(#[from] Refusal),
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Denied {
        Denied::Panel(error.into())
    }
}

/// Asks for the right to see nodes before the right to manage them, so that players do not learn that there are any.
fn check(actor: &Actor) -> Result<(), Refusal> {
    match (actor.may_at_all(Right::SeeNodes), actor.may_at_all(Right::ManageNodes)) {
        (false, _) => Err(Refusal::NotFound),
        (true, false) => Err(Refusal::Forbidden),
        (true, true) => Ok(()),
    }
}

/// Whom a token is for.
#[derive(Debug, Clone, Default)]
pub struct Invitation<'a> {
    /// As people will call it; not asked for where `node` is there.
    pub name: &'a str,
    /// Where it stands; may be empty.
    pub region: &'a str,
    /// A node that is known already and comes again.
    pub node: Option<NodeId>,
}

/// A node and the token by which it comes.
#[derive(Debug, Clone)]
pub struct Invited {
    /// The node.
    pub node: Node,
    /// The token.
    pub token: NodeToken,
    /// Its secret, which nobody can see again.
    pub secret: String,
}

fn checked<'a>(invitation: &Invitation<'a>) -> Result<(&'a str, String), Refusal> {
    let (name, region) = (invitation.name.trim(), invitation.region.trim());
    let mut fields = Fields::default();
    if name.is_empty() {
        fields.add("name", "Give the machine a name, such as fra-1.");
    } else if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        fields.add("name", format!("A name has at most {NAME_MAX} characters and no line breaks."));
    }
    if region.chars().count() > WORD_MAX {
        fields.add("region", format!("A region has at most {WORD_MAX} characters."));
    }
    fields.check()?;
    Ok((name, word(region)))
}

/// Makes a token, and the row of the node where it is a new one.
///
/// # Errors
/// [`Refusal::Invalid`] at `name` or `region`; [`Refusal::Conflict`] where too many tokens wait, and for the node inside the panel.
pub async fn invite(ctx: &Ctx, actor: &Actor, invitation: &Invitation<'_>) -> Result<Invited, Refusal> {
    check(actor)?;
    let fresh = if invitation.node.is_none() { Some(checked(invitation)?) } else { None };
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    panel::hold(&tx).await?;
    if node_tokens::open(&tx, now, TOKENS_MAX).await?.len() as u64 >= TOKENS_MAX {
        return Err(Refusal::Conflict(format!("{TOKENS_MAX} tokens wait to be used. Take one back that nobody needs.")));
    }
    let id = match (&invitation.node, &fresh) {
        (Some(id), _) => {
            not_inside(id)?;
            id.clone()
        }
        (None, Some((name, region))) => {
            let plain = NodeId::named(name, None);
            let taken = plain == NodeId::local() || RESERVED.contains(&plain.as_str()) || nodes::by_id(&tx, &plain).await?.is_some();
            let id = if taken { NodeId::named(name, Some(Ctx::random())) } else { plain };
            nodes::invite(&tx, &id, name, region).await?;
            id
        }
        (None, None) => return Err(Refusal::NotFound),
    };
    let node = nodes::by_id(&tx, &id).await?.ok_or(Refusal::NotFound)?;
    let secret = hex::encode(Ctx::random::<24>());
    let token = NodeToken {
        id: NodeTokenId::from_random(&Ctx::random::<12>()),
        node: id,
        made_by: actor.user.email.clone(),
        created_at: now,
        expires_at: now + TOKEN_LIVES,
        used_at: None,
    };
    node_tokens::insert(&tx, &token, &digest(&secret)).await?;
    tx.commit().await?;
    ctx.nodes.forget(&());
    ctx.tell(Change::Node);
    tracing::info!(node = %token.node, by = actor.user.email, "a token for a machine was made");
    Ok(Invited { node, token, secret })
}

fn not_inside(id: &NodeId) -> Result<(), Refusal> {
    if *id == NodeId::local() {
        let why = "This node lives inside the panel and needs no certificate. EMBEDDED_NODE=false ends it.";
        return Err(Refusal::Conflict(why.to_owned()));
    }
    Ok(())
}

/// Tokens that wait to be used, newest first.
pub async fn open_tokens(ctx: &Ctx, actor: &Actor) -> Result<Vec<NodeToken>, Refusal> {
    check(actor)?;
    Ok(node_tokens::open(&ctx.db, ctx.clock.now(), TOKENS_MAX).await?)
}

/// Takes a token back that nobody has used. A node that never came goes with its last one.
pub async fn revoke_token(ctx: &Ctx, actor: &Actor, id: &NodeTokenId) -> Result<(), Refusal> {
    check(actor)?;
    let tx = ctx.db.begin().await?;
    let node = node_tokens::revoke(&tx, id).await?.ok_or(Refusal::NotFound)?;
    let open = node_tokens::open(&tx, ctx.clock.now(), TOKENS_MAX).await?;
    let never_came = nodes::by_id(&tx, &node).await?.is_some_and(|node| node.standing == Standing::Invited);
    if never_came && open.iter().all(|token| token.node != node) {
        nodes::remove(&tx, &node).await?;
    }
    tx.commit().await?;
    ctx.nodes.forget(&());
    ctx.tell(Change::Node);
    Ok(())
}

/// The token of this secret, if a machine may come with it now. Nothing is used up.
///
/// # Errors
/// [`Denied`] about tokens; [`Refusal::TooMany`] from one address.
pub async fn token(ctx: &Ctx, secret: &str, from: IpAddr) -> Result<NodeToken, Denied> {
    ctx.limits.join(from)?;
    let token = node_tokens::by_hash(&ctx.db, &digest(secret)).await?.ok_or(Denied::UnknownToken)?;
    if token.expires_at <= ctx.clock.now() {
        return Err(Denied::EndedToken);
    }
    Ok(token)
}

/// Uses a token: from now on its node is known by this certificate, for the key with this hash. The same key may come again with the
/// same token, because an answer can get lost.
///
/// # Errors
/// [`Denied::UsedToken`] and the others about tokens.
pub async fn join(ctx: &Ctx, token: &NodeToken, key: &str, certificate: &Certificate) -> Result<(), Denied> {
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    if !node_tokens::take(&tx, &token.id, key, now).await? {
        return Err(if token.expires_at <= now { Denied::EndedToken } else { Denied::UsedToken });
    }
    if !nodes::joined(&tx, &token.node, certificate).await? {
        return Err(Denied::UnknownNode);
    }
    tx.commit().await?;
    ctx.nodes.forget(&());
    // Whoever is linked with the certificate of before is not this machine any more.
    let _ = ctx.cut.send(token.node.clone());
    ctx.tell(Change::Node);
    tracing::info!(node = %token.node, "a machine has joined");
    Ok(())
}

/// Name under which the fingerprint of the authority is kept.
const AUTHORITY: &str = "authority";

/// Notes by which authority nodes are known; true: it is another one than before, and machines joined under that one.
pub async fn note_authority(ctx: &Ctx, fingerprint: &str) -> Result<bool, Refusal> {
    let before = panel::get(&ctx.db, AUTHORITY).await?;
    if before.as_deref() == Some(fingerprint) {
        return Ok(false);
    }
    panel::set(&ctx.db, AUTHORITY, fingerprint).await?;
    let joined = nodes::list(&ctx.db, NODES_MAX).await?.iter().any(|node| node.certificate.is_some());
    Ok(before.is_some() && joined)
}

/// What a node's row says of a certificate.
fn judge(node: &Node, fingerprint: &str, now: Millis) -> Result<Certificate, Denied> {
    match node.standing {
        Standing::Revoked => return Err(Denied::Revoked),
        Standing::Invited | Standing::Joined => {}
    }
    let held = [&node.certificate, &node.next_certificate].into_iter().flatten().find(|held| held.fingerprint == fingerprint);
    match held {
        None => Err(Denied::Replaced),
        Some(held) if held.until <= now => Err(Denied::Ended),
        Some(held) => Ok(held.clone()),
    }
}

/// Lets a node in that showed this certificate; its next certificate takes the place of the one before by being used.
///
/// # Errors
/// [`Denied`] about nodes; the reason is written down for the node's page.
pub async fn admit(ctx: &Ctx, id: &NodeId, fingerprint: &str) -> Result<Certificate, Denied> {
    let node = nodes::by_id(&ctx.db, id).await?.ok_or(Denied::UnknownNode)?;
    let now = ctx.clock.now();
    match judge(&node, fingerprint, now) {
        Ok(held) => {
            if node.next_certificate.as_ref() == Some(&held) && !nodes::promote(&ctx.db, id, &held).await? {
                return Err(Denied::Replaced);
            }
            if node.refused.is_some() {
                nodes::note_refusal(&ctx.db, id, None).await?;
                ctx.tell(Change::Node);
            }
            ctx.nodes.forget(&());
            Ok(held)
        }
        Err(denied) => {
            let why = denied.to_string();
            if node.refused.is_none_or(|(before, at)| before != why || now.since(at) >= REFUSAL_EVERY) {
                nodes::note_refusal(&ctx.db, id, Some((&why, now))).await?;
                ctx.nodes.forget(&());
                ctx.tell(Change::Node);
            }
            Err(denied)
        }
    }
}

/// Does a certificate that was let in still count?
///
/// # Errors
/// [`Denied`] about nodes.
pub async fn stands(ctx: &Ctx, id: &NodeId, fingerprint: &str) -> Result<(), Denied> {
    let node = nodes::by_id(&ctx.db, id).await?.ok_or(Denied::UnknownNode)?;
    judge(&node, fingerprint, ctx.clock.now()).map(drop)
}

/// Notes the next certificate of a node that is linked with the one of this fingerprint.
///
/// # Errors
/// [`Denied::Replaced`] where the one it holds counts no more.
pub async fn renew(ctx: &Ctx, id: &NodeId, held: &str, next: &Certificate) -> Result<(), Denied> {
    if !nodes::renew(&ctx.db, id, held, next).await? {
        return Err(Denied::Replaced);
    }
    ctx.nodes.forget(&());
    Ok(())
}

async fn confirmed(ctx: &Ctx, id: &NodeId, confirm: Option<&str>) -> Result<Node, Refusal> {
    not_inside(id)?;
    let node = nodes::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)?;
    if confirm.is_some_and(|typed| typed.trim() != node.called()) {
        let mut fields = Fields::default();
        fields.add("confirm", format!("This is not the node's name. Type {}.", node.called()));
        return Err(Refusal::Invalid(fields));
    }
    Ok(node)
}

/// Turns a node away: its link ends now, and its certificates and tokens count no more. What runs there plays on.
///
/// # Errors
/// [`Refusal::Invalid`] at `confirm`; [`Refusal::Conflict`] for the node inside the panel and for one that is revoked.
pub async fn revoke(ctx: &Ctx, actor: &Actor, id: &NodeId, confirm: Option<&str>) -> Result<Node, Refusal> {
    check(actor)?;
    confirmed(ctx, id, confirm).await?;
    let tx = ctx.db.begin().await?;
    if !nodes::revoke(&tx, id).await? {
        return Err(Refusal::Conflict("It is revoked already.".to_owned()));
    }
    node_tokens::revoke_all(&tx, id).await?;
    tx.commit().await?;
    ctx.nodes.forget(&());
    let _ = ctx.cut.send(id.clone());
    ctx.tell(Change::Node);
    tracing::warn!(node = %id, by = actor.user.email, "a node was revoked");
    nodes::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)
}

/// Forgets a node on which no server lives.
///
/// # Errors
/// [`Refusal::Invalid`] at `confirm`; [`Refusal::Conflict`] while a server lives there, and for the node inside the panel.
pub async fn remove(ctx: &Ctx, actor: &Actor, id: &NodeId, confirm: Option<&str>) -> Result<(), Refusal> {
    check(actor)?;
    confirmed(ctx, id, confirm).await?;
    let tx = ctx.db.begin().await?;
    if !servers::on_node(&tx, id, "", 1).await?.is_empty() {
        return Err(Refusal::Conflict("Servers live on this node. Delete or move them first.".to_owned()));
    }
    nodes::remove(&tx, id).await?;
    commands::forget(&tx, id).await?;
    tx.commit().await?;
    ctx.nodes.forget(&());
    let _ = ctx.cut.send(id.clone());
    ctx.tell(Change::Node);
    tracing::warn!(node = %id, by = actor.user.email, "a node was removed");
    Ok(())
}

/// Forgets tokens that have ended, and nodes that never came.
pub async fn sweep(ctx: &Ctx) -> Result<(), Refusal> {
    let before = ctx.clock.now() - TOKEN_KEPT;
    node_tokens::sweep(&ctx.db, before).await?;
    let waiting = node_tokens::open(&ctx.db, before, NODES_MAX).await?;
    for node in nodes::list(&ctx.db, NODES_MAX).await? {
        if node.standing == Standing::Invited && waiting.iter().all(|token| token.node != node.id) {
            nodes::remove(&ctx.db, &node.id).await?;
            ctx.nodes.forget(&());
        }
    }
    Ok(())
}
