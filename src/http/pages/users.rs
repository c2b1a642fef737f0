//! The accounts of the panel: the list, and the page of one.

use askama::Template;
use askama_web::WebTemplate;

use super::fields::{Choice, Field};
use super::layout::{Layout, amount};
use super::moments::Moment;
use super::phases::PhaseView;
use crate::domain::accounts::{Line, PAGE, Question};
use crate::domain::games::Catalogue;
use crate::model::money::Credits;
use crate::model::servers::Server;
use crate::model::time::Millis;
use crate::model::users::{Role, User};

/// Every role, lowest first.
pub const ROLES: [Role; 4] = [Role::Player, Role::Viewer, Role::Operator, Role::Admin];
/// Longest reason or note, in characters.
const WORDS_MAX: u32 = 200;

/// `/admin/users`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "users/list.html")]
pub struct UsersPage {
    /// Frame.
    pub layout: Layout,
    /// What is searched for.
    pub search: String,
    /// Roles to choose from.
    pub roles: Vec<Choice>,
    /// Only those that are shut out.
    pub suspended: bool,
    /// Not all are shown.
    pub narrowed: bool,
    /// In the order of their addresses.
    pub rows: Vec<UserRow>,
    /// The next page.
    pub next: Option<String>,
}

/// An account in the list.
#[derive(Debug, Clone)]
pub struct UserRow {
    /// Its id.
    pub id: String,
    /// Its address.
    pub email: String,
    /// `player`, `admin`.
    pub role: &'static str,
    /// Credits left.
    pub balance: String,
    /// Less than nothing.
    pub overdrawn: bool,
    /// How many servers.
    pub servers: i64,
    /// Shut out.
    pub suspended: bool,
    /// When it was made.
    pub made: Moment,
}

impl UsersPage {
    /// A page of the list.
    pub fn of(layout: Layout, question: &Question, found: &[Line], now: Millis) -> UsersPage {
        let choice =
            |role: Role| Choice { value: role.as_str().to_owned(), label: role.as_str().to_owned(), chosen: question.role == Some(role) };
        let any = Choice { value: String::new(), label: "Every role".to_owned(), chosen: question.role.is_none() };
        let last = found.last().filter(|_| found.len() as u64 == PAGE);
        UsersPage {
            layout,
            search: question.search.clone(),
            roles: std::iter::once(any).chain(ROLES.map(choice)).collect(),
            suspended: question.suspended,
            narrowed: *question != Question::default(),
            rows: found.iter().map(|line| row(line, now)).collect(),
            next: last.map(|line| address(question, &line.user.email)),
        }
    }
}

fn row(line: &Line, now: Millis) -> UserRow {
    let user = &line.user;
    UserRow {
        id: user.id.to_string(),
        email: user.email.clone(),
        role: user.role.as_str(),
        balance: amount(user.balance),
        overdrawn: user.balance < Credits::ZERO,
        servers: line.servers,
        suspended: user.suspended.is_some(),
        made: Moment::relative(user.created_at, now),
    }
}

fn address(question: &Question, after: &str) -> String {
    let mut pairs = vec![("after", after)];
    if !question.search.is_empty() {
        pairs.push(("q", &question.search));
    }
    pairs.extend(question.role.map(|role| ("role", role.as_str())));
    if question.suspended {
        pairs.push(("state", "suspended"));
    }
    format!("/admin/users?{}", serde_urlencoded::to_string(pairs).unwrap_or_default())
}

/// `/admin/users/{id}`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "users/detail.html")]
pub struct UserPage {
    /// Frame.
    pub layout: Layout,
    /// Its id.
    pub id: String,
    /// Its address.
    pub email: String,
    /// The same, for a query.
    pub email_query: String,
    /// `player`, `admin`.
    pub role: &'static str,
    /// Letters to its address reach it.
    pub verified: bool,
    /// When it was made.
    pub since: Moment,
    /// Credits left.
    pub balance: String,
    /// Since when it is shut out, and why.
    pub suspended: Option<(Moment, String)>,
    /// Its servers.
    pub servers: Vec<UserServer>,
    /// What the visitor can change; none: nothing.
    pub manage: Option<ManageForm>,
    /// A link that was just made; never shown again.
    pub link: Option<String>,
}

/// A server of the account.
#[derive(Debug, Clone)]
pub struct UserServer {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub phase: PhaseView,
    /// Name of the game.
    pub game: String,
}

/// What an admin can change.
#[derive(Debug, Clone)]
pub struct ManageForm {
    /// It is the visitor's own account.
    pub oneself: bool,
    /// Its role.
    pub role: Field,
    /// Why it is shut out.
    pub why: Field,
    /// How many credits.
    pub amount: Field,
    /// What for.
    pub note: Field,
    /// Makes the form count once.
    pub request: String,
    /// A link to set a new password can be made.
    pub reset: bool,
}

/// What was typed into a form that was refused, and what is wrong with it, by field.
#[derive(Debug, Clone, Default)]
pub struct Refused {
    /// As typed.
    pub typed: super::create::ByField,
    /// What is wrong.
    pub errors: super::create::ByField,
}

impl ManageForm {
    /// As the account stands, or as it was typed.
    pub fn of(user: &User, oneself: bool, request: String, refused: &Refused) -> ManageForm {
        let typed = |name: &str| refused.typed.get(name).cloned().unwrap_or_default();
        let error = |name: &str| refused.errors.get(name).cloned();
        let choice = |role: Role| Choice { value: role.as_str().to_owned(), label: role.as_str().to_owned(), chosen: user.role == role };
        ManageForm {
            oneself,
            role: Field::choice("role", "It is", ROLES.map(choice).into()).error(error("role")).required(),
            why: Field::text("why", "Why", typed("why"), WORDS_MAX).error(error("why")).required(),
            amount: Field::amount("amount", "How many", typed("amount")).error(error("amount")).required(),
            note: Field::text("note", "What for", typed("note"), WORDS_MAX).error(error("note")),
            request,
            reset: user.suspended.is_none(),
        }
    }
}

impl UserPage {
    /// Of an account and its servers.
    pub fn of(layout: Layout, user: &User, servers: &[Server], games: &Catalogue, now: Millis) -> UserPage {
        let server = |server: &Server| UserServer {
            id: server.id.to_string(),
            name: server.name.clone(),
            phase: PhaseView::of(server.life.phase, server.life.wanted),
            game: games.game(&server.game).map_or_else(|| server.game.to_string(), |game| game.name.clone()),
        };
        UserPage {
            layout,
            id: user.id.to_string(),
            email: user.email.clone(),
            email_query: serde_urlencoded::to_string([("", &user.email)]).unwrap_or_default().trim_start_matches('=').to_owned(),
            role: user.role.as_str(),
            verified: user.email_verified_at.is_some(),
            since: Moment::full(user.created_at),
            balance: amount(user.balance),
            suspended: user.suspended.as_ref().map(|suspension| (Moment::relative(suspension.at, now), suspension.why.clone())),
            servers: servers.iter().map(server).collect(),
            manage: None,
            link: None,
        }
    }
}
