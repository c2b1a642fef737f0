//! `/admin`: how the whole panel stands, and everybody's servers, for those who see more than their own.

use axum::extract::State;
use axum::response::IntoResponse;

use crate::domain::figures::overview;
use crate::domain::nodes;
use crate::domain::servers::{self, Cursor, Question, Sort};
use crate::http::Web;
use crate::http::pages::admin::AdminPage;
use crate::http::pages::server_lists::AllServersPage;
use crate::http::problem::Answer;
use crate::http::typed::Asked;
use crate::http::who::SignedIn;
use crate::model::servers::Phase;

/// `GET /admin`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    let overview = overview(&web.ctx, signed_in.actor()).await?;
    Ok(AdminPage::of(signed_in.layout(&web).await?, &overview, web.ctx.clock.now()).into_response())
}

/// What an address asks for; what cannot be read is not asked for.
fn question(asked: &Asked) -> Question {
    let usual = Question::default();
    Question {
        phase: asked.get("phase").and_then(Phase::parse),
        node: asked.get("node").and_then(|id| id.parse().ok()),
        game: asked.get("game").and_then(|id| id.parse().ok()),
        search: asked.get("q").unwrap_or_default().trim().to_owned(),
        sort: asked.get("sort").and_then(Sort::parse).unwrap_or(usual.sort),
        down: asked.get("order").map_or(usual.down, |order| order == "down"),
    }
}

/// `GET /admin/servers`
pub(super) async fn all_servers(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    let question = question(&asked);
    let place = |name: &str| asked.get(name).and_then(|text| Cursor::parse(question.sort, text));
    let found = servers::all(&web.ctx, signed_in.actor(), &question, place("after"), place("before")).await?;
    let nodes = nodes::all(&web.ctx).await?;
    let layout = signed_in.layout(&web).await?;
    Ok(AllServersPage::of(layout, &question, &found, &web.ctx.games(), &nodes, web.ctx.clock.now()).into_response())
}
