//! `/api/servers/{id}/shares`: guests of a server.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shapes::moment;
use crate::domain::{Fields, servers, shares};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::sharing::{Of, grants, link};
use crate::http::typed::Typed;
use crate::http::who::{Caller, Named};
use crate::model::ids::{InvitationId, ServerId, UserId};
use crate::model::shares::{Grant, Grants};
use crate::model::users::Right;

/// A guest.
#[derive(Serialize, ToSchema)]
pub(super) struct ShareShape {
    /// Id of the account.
    user: String,
    email: String,
    /// `see`, `power`, `console`, `files`, `settings`.
    grants: Vec<&'static str>,
    since: String,
}

/// An invitation that waits for an answer.
#[derive(Serialize, ToSchema)]
pub(super) struct InvitationShape {
    id: String,
    email: String,
    grants: Vec<&'static str>,
    expires_at: String,
    /// To hand over; only in the answer that made it.
    link: Option<String>,
}

/// Guests, and those invited.
#[derive(Serialize, ToSchema)]
pub(super) struct SharesShape {
    guests: Vec<ShareShape>,
    invitations: Vec<InvitationShape>,
}

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(super) struct NewShare {
    email: String,
    /// Of `see`, `power`, `console`, `files`, `settings`.
    grants: Vec<String>,
}

/// What a guest may do from now on.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(super) struct NewGrants {
    grants: Vec<String>,
}

fn words(grants: Grants) -> Vec<&'static str> {
    grants.iter().map(Grant::as_str).collect()
}

fn invitation(invitation: &shares::Invitation, link: Option<String>) -> InvitationShape {
    InvitationShape {
        id: invitation.id.to_string(),
        email: invitation.email.to_string(),
        grants: words(invitation.grants),
        expires_at: moment(invitation.expires_at),
        link,
    }
}

/// Who may do what with a server.
#[utoipa::path(get, path = "/api/servers/{id}/shares", tag = "sharing", responses((status = 200, body = SharesShape), (status = 404)))]
pub(super) async fn list(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>) -> Answer {
    let (guests, invited) = shares::of_server(&web.ctx, caller.actor(), &id).await?;
    let share = |share: &shares::Share| ShareShape {
        user: share.user.to_string(),
        email: share.email.clone(),
        grants: words(share.grants),
        since: moment(share.since),
    };
    let invitations = invited.iter().map(|each| invitation(each, None)).collect();
    Ok(Json(SharesShape { guests: guests.iter().map(share).collect(), invitations }).into_response())
}

/// Invites an address.
#[utoipa::path(
    post, path = "/api/servers/{id}/shares", tag = "sharing", request_body = NewShare,
    responses((status = 201, body = InvitationShape), (status = 404), (status = 409), (status = 422), (status = 429))
)]
pub(super) async fn invite(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    let mut fields = Fields::default();
    typed.only(&["email", "grants"], &mut fields);
    let grants = grants(&typed, &mut fields);
    fields.check()?;
    let (made, secret) = shares::invite(&web.ctx, caller.actor(), &id, typed.text("email"), grants, &link(&web)).await?;
    let link = format!("{}{secret}", link(&web));
    Ok((StatusCode::CREATED, Json(invitation(&made, Some(link)))).into_response())
}

/// Changes what a guest may do.
#[utoipa::path(
    put, path = "/api/servers/{id}/shares/{guest}", tag = "sharing", request_body = NewGrants,
    responses((status = 204), (status = 404), (status = 422))
)]
pub(super) async fn change(State(web): State<Web>, caller: Caller, Of(id, guest): Of<UserId>, typed: Typed) -> Answer {
    servers::find(&web.ctx, caller.actor(), &id, Right::ShareServer).await?;
    let mut fields = Fields::default();
    typed.only(&["grants"], &mut fields);
    let grants = grants(&typed, &mut fields);
    if grants.is_empty() {
        fields.add("grants", "At least one of them; DELETE takes everything away.");
    }
    fields.check()?;
    shares::change(&web.ctx, caller.actor(), &id, &guest, grants).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes everything away from a guest.
#[utoipa::path(delete, path = "/api/servers/{id}/shares/{guest}", tag = "sharing", responses((status = 204), (status = 404)))]
pub(super) async fn remove(State(web): State<Web>, caller: Caller, Of(id, guest): Of<UserId>) -> Answer {
    shares::change(&web.ctx, caller.actor(), &id, &guest, Grants::NONE).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes an invitation back.
#[utoipa::path(delete, path = "/api/servers/{id}/invitations/{invitation}", tag = "sharing", responses((status = 204), (status = 404)))]
pub(super) async fn take_back(State(web): State<Web>, caller: Caller, Of(id, invitation): Of<InvitationId>) -> Answer {
    shares::take_back(&web.ctx, caller.actor(), &id, &invitation).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
