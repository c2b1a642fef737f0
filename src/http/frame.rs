//! The frame around every page: who is looking, their balance, the notice of their last action.

use askama::Template;
use axum::response::Html;

use super::Web;
use super::pages::layout::{BalanceBadge, Layout, Me, Notice};
use crate::domain::{Actor, Refusal, billing};
use crate::model::money::Credits;
use crate::model::users::Right;

/// For somebody who is signed in. Asks what runs now, for the mood of the balance.
pub(super) async fn layout(web: &Web, actor: &Actor, path: &str) -> Result<Layout, Refusal> {
    let overview = billing::overview(&web.ctx, actor).await?;
    Ok(layout_with(web, actor, path, overview.per_hour))
}

/// For somebody who is signed in, where what runs now is known already.
pub(super) fn layout_with(web: &Web, actor: &Actor, path: &str, per_hour: Credits) -> Layout {
    Layout {
        me: Some(Me {
            email: actor.user.email.clone(),
            is_staff: actor.is_staff(),
            is_admin: actor.may_at_all(Right::ManageUsers),
            balance: BalanceBadge::of(actor.user.balance, per_hour, web.ctx.policy.sales.low),
        }),
        notice: None,
        path: path.to_owned(),
        now: web.ctx.clock.now(),
        demo_credits: web.ctx.policy.demo_top_up,
    }
}

/// For whoever is not signed in, and for errors where nothing can be asked.
pub(super) fn nobodys(path: &str) -> Layout {
    Layout { path: path.to_owned(), ..Layout::default() }
}

/// For a visitor who is not signed in.
pub(super) fn visitors(web: &Web, path: &str) -> Layout {
    Layout { now: web.ctx.clock.now(), demo_credits: web.ctx.policy.demo_top_up, ..nobodys(path) }
}

/// A notice alone, to take the place of the one on the page.
#[derive(Template)]
#[template(
    source = r#"<div class="wrap notices" id="notice" role="status" hx-swap-oob="true"><p class="notice {{ notice.class() }}"><svg class="sign" aria-hidden="true"><use href="/static/icons/signs.svg#{{ notice.sign() }}"/></svg><span>{{ notice.text }}</span></p></div>"#,
    ext = "html"
)]
struct NoticePart<'a> {
    notice: &'a Notice,
}

/// A refusal as a fragment.
pub(super) fn notice_fragment(text: &str) -> Html<String> {
    Html(NoticePart { notice: &Notice::refused(text) }.render().unwrap_or_default())
}
