//! Samples of the pages about accounts, guests, the audit, letters and reports.

use std::collections::BTreeMap;

use super::{HOSTILE, LONG, NOW, RIGHT_TO_LEFT, frame, servers, staff};
use crate::domain::accounts::{Line, PAGE, Question};
use crate::domain::audit;
use crate::domain::games::Catalogue;
use crate::domain::mails::Posted;
use crate::domain::reports::{MONTHS, Month, Report, Totals};
use crate::domain::shares::{Invitation, Share};
use crate::http::pages::audit::AuditPage;
use crate::http::pages::checks::Checks;
use crate::http::pages::create::ByField;
use crate::http::pages::fields::Field;
use crate::http::pages::mails::MailsPage;
use crate::http::pages::reports::ReportsPage;
use crate::http::pages::sharing::{Guest, InvitationPage, Invited, SharingPage};
use crate::http::pages::users::{ManageForm, Refused, UserPage, UsersPage};
use crate::model::accounts::Email;
use crate::model::ids::{InvitationId, ServerId, UserId};
use crate::model::mails::Mail;
use crate::model::money::Credits;
use crate::model::servers::{Phase, Wanted};
use crate::model::shares::{Grant, Grants};
use crate::model::time::{DAY, HOUR, MINUTE};
use crate::model::users::{Role, Suspension, User};

fn user(n: u8, email: &str, role: Role, balance: Credits) -> User {
    User {
        id: UserId::from_random(&[n; 16]),
        email: email.to_owned(),
        role,
        balance,
        created_at: NOW - i64::from(n) * DAY,
        sessions_from: NOW,
        email_verified_at: n.is_multiple_of(2).then_some(NOW),
        suspended: None,
    }
}

fn shut_out(n: u8, email: &str) -> User {
    let suspension = Suspension { at: NOW - HOUR, why: format!("Sold credits twice. {HOSTILE}") };
    User { suspended: Some(suspension), ..user(n, email, Role::Player, Credits(-12_500_000)) }
}

impl UsersPage {
    /// Some, a full page, none.
    pub fn samples() -> Vec<(&'static str, UsersPage)> {
        let line = |user: User, servers| Line { user, servers };
        let some = vec![
            line(user(3, "ada@example.org", Role::Admin, Credits::whole(120)), 4),
            line(user(40, "grace@example.org", Role::Player, Credits(98_259_000)), 1),
            line(shut_out(2, HOSTILE), 0),
            line(user(90, &format!("{LONG}@example.org"), Role::Operator, Credits::ZERO), 250),
        ];
        let full: Vec<Line> =
            (0..PAGE).map(|n| line(user(u8::try_from(n).unwrap_or(0), "someone@example.org", Role::Viewer, Credits::ZERO), 0)).collect();
        let asked = Question { search: HOSTILE.to_owned(), role: Some(Role::Player), suspended: true };
        let page = |question: &Question, lines: &[Line]| UsersPage::of(staff("/admin/users"), question, lines, NOW);
        vec![("some", page(&Question::default(), &some)), ("full", page(&asked, &full)), ("none", page(&asked, &[]))]
    }
}

impl UserPage {
    /// A player with servers, one that is shut out with a refused form, oneself, and as a viewer sees it.
    pub fn samples() -> Vec<(&'static str, UserPage)> {
        let games = Catalogue::default();
        let some: Vec<_> = [(1, "Valley of Echoes", Phase::Running), (2, HOSTILE, Phase::Sleeping), (3, RIGHT_TO_LEFT, Phase::Failed)]
            .into_iter()
            .filter_map(|(n, name, phase)| servers::server(n, name, phase, Wanted::Asleep))
            .collect();
        let page = |user: &User| UserPage::of(staff("/admin/users/x"), user, &some, &games, NOW);
        let player = user(40, "grace@example.org", Role::Player, Credits(98_259_000));
        let (out, me) = (shut_out(2, HOSTILE), user(3, "ada@example.org", Role::Admin, Credits::ZERO));
        let form = |user: &User, oneself| Some(ManageForm::of(user, oneself, "0".repeat(32), &Refused::default()));
        let wrong = |text: &str| ByField::from(["role", "why", "amount", "note"].map(|name| (name.to_owned(), text.to_owned())));
        let refused = Refused { typed: wrong(HOSTILE), errors: wrong("Say it in other words.") };
        let link = Some("https://panel.example.org/auth/reset?key=k3v9xq2mzt7w8hnp4c6s5d2fjr".to_owned());
        vec![
            ("player", UserPage { manage: form(&player, false), link, ..page(&player) }),
            ("suspended", UserPage { manage: form(&out, false), ..page(&out) }),
            ("refused", UserPage { manage: Some(ManageForm::of(&player, false, String::new(), &refused)), ..page(&player) }),
            ("oneself", UserPage { manage: form(&me, true), servers: vec![], ..page(&me) }),
            ("looking", page(&player)),
        ]
    }
}

fn email(text: &str) -> Option<Email> {
    Email::parse(text).ok()
}

impl SharingPage {
    /// Guests, a fresh invitation, nobody, refused.
    pub fn samples() -> Vec<(&'static str, SharingPage)> {
        let Ok(server) = "aaaaaaaa-mi-bbbbbb".parse::<ServerId>() else { return vec![] };
        let share = |n: u8, email: &str, grants| Share {
            server: server.clone(),
            user: UserId::from_random(&[n; 16]),
            email: email.to_owned(),
            grants,
            since: NOW - DAY,
        };
        let some = Grants::NONE.with(Grant::See).with(Grant::Power);
        let shares = [share(1, "grace@example.org", some), share(2, HOSTILE, Grants::all())];
        let invited = email("edsger@example.org").map(|email| Invitation {
            id: InvitationId::from_random(&[3; 12]),
            server: shares[0].server.clone(),
            email,
            grants: some,
            made_by: "ada@example.org".to_owned(),
            created_at: NOW - 5 * MINUTE,
            expires_at: NOW + 7 * DAY,
        });
        let page = SharingPage {
            layout: frame("/servers/x/sharing"),
            id: "aaaaaaaa-mi-bbbbbb".to_owned(),
            name: "Valley of Echoes".to_owned(),
            guests: shares.iter().map(|share| Guest::of(share, NOW)).collect(),
            invited: invited.iter().map(|invitation| Invited::of(invitation, NOW)).collect(),
            email: Field::email("email", "E-mail address", "").required(),
            checks: Checks::grants("grants", some, None),
            link: None,
            mails: true,
        };
        let link =
            Some(("edsger@example.org".to_owned(), format!("https://panel.example.org/invitation?key={}", "0123456789abcdef".repeat(3))));
        let refused = SharingPage {
            layout: staff("/servers/x/sharing"),
            name: HOSTILE.to_owned(),
            guests: vec![],
            invited: vec![],
            email: Field::email("email", "E-mail address", HOSTILE)
                .error(Some("This does not look like an e-mail address.".to_owned()))
                .required(),
            checks: Checks::grants("grants", Grants::NONE, Some("Choose at least one thing that they may do.".to_owned())),
            ..page.clone()
        };
        let alone = SharingPage { guests: vec![], invited: vec![], ..page.clone() };
        vec![("guests", page.clone()), ("invited", SharingPage { link, mails: false, ..page }), ("alone", alone), ("refused", refused)]
    }
}

impl InvitationPage {
    /// For whoever looks, and for somebody else.
    pub fn samples() -> Vec<(&'static str, InvitationPage)> {
        let page = |fits, server: &str| InvitationPage {
            layout: frame("/invitation"),
            server: server.to_owned(),
            from: "ada@example.org".to_owned(),
            email: "grace@example.org".to_owned(),
            me: if fits { "grace@example.org" } else { HOSTILE }.to_owned(),
            fits,
            may: "see it, power".to_owned(),
            key: "0123456789abcdef".to_owned(),
        };
        vec![("mine", page(true, "Valley of Echoes")), ("of-another", page(false, HOSTILE))]
    }
}

impl AuditPage {
    /// Some lines, none yet, none that match.
    pub fn samples() -> Vec<(&'static str, AuditPage)> {
        let line = |n: i64, who: &str, via: &str, what: &str, object: &str, status, details: &str| audit::Line {
            id: format!("{n:013}-x"),
            at: NOW - n * MINUTE,
            user: None,
            who: who.to_owned(),
            via: via.to_owned(),
            address: "203.0.113.7".to_owned(),
            what: what.to_owned(),
            object: object.to_owned(),
            status,
            details: details.to_owned(),
        };
        let lines = [
            line(
                1,
                "ada@example.org",
                "session",
                "POST /admin/users/{id}/role",
                "admin/users/k3v9xq2mzt7w8hnp",
                303,
                "grace@example.org: from player to operator",
            ),
            line(9, "grace@example.org", "token Discord bot", "POST /api/servers/{id}/wake", "servers/aaaaaaaa-mi-bbbbbb", 202, ""),
            line(70, "", "", "POST /auth/login", "", 422, ""),
            line(3_000, HOSTILE, HOSTILE, "POST /servers/{id}/delete", HOSTILE, 403, HOSTILE),
        ];
        let asked =
            audit::Question { who: HOSTILE.to_owned(), from: Some(NOW - DAY), to: Some(NOW), refused: true, ..audit::Question::default() };
        let page = |question: &audit::Question, lines: &[audit::Line]| AuditPage::of(staff("/admin/audit"), question, lines, NOW);
        vec![
            ("some", page(&audit::Question::default(), &lines)),
            ("fresh", page(&audit::Question::default(), &[])),
            ("none", page(&asked, &[])),
        ]
    }
}

impl MailsPage {
    /// With a mail server, without one, and nothing at all.
    pub fn samples() -> Vec<(&'static str, MailsPage)> {
        let letter = |subject: &str, text: &str, sent: bool, trouble: &str| {
            let mail =
                Mail { key: subject.to_owned(), to: email("grace@example.org")?, subject: subject.to_owned(), text: text.to_owned() };
            let due_at = (!sent && trouble.is_empty()).then_some(NOW);
            Some(Posted {
                mail,
                created_at: NOW - HOUR,
                due_at,
                attempts: 1,
                sent_at: sent.then_some(NOW - MINUTE),
                trouble: trouble.to_owned(),
            })
        };
        let letters: Vec<Posted> = [
            letter("The server Valley of Echoes is shared with you", "", true, ""),
            letter(HOSTILE, &format!("{HOSTILE}\n\n{LONG}"), false, ""),
            letter("Your credits are running low", "At this rate they last 5 h.", false, "permanent error (550): no such mailbox"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let page = |letters: &[Posted], sends| MailsPage::of(staff("/admin/mails"), letters, sends, NOW);
        vec![("sending", page(&letters, true)), ("by-hand", page(&letters, false)), ("none", page(&[], true))]
    }
}

impl ReportsPage {
    /// A year, and a panel that has just started.
    pub fn samples() -> Vec<(&'static str, ReportsPage)> {
        let mut month = Month::of(NOW);
        let mut months = Vec::new();
        for n in 0..i64::try_from(MONTHS).unwrap_or(0) {
            let used = Credits::whole(900 - 61 * n);
            let games = [("minecraft-java", 2), ("valheim", 3)]
                .into_iter()
                .filter_map(|(id, part)| Some((Some(id.parse().ok()?), Credits(used.0 / part))));
            let mut used_by_game: BTreeMap<_, _> = games.collect();
            used_by_game.insert(None, Credits(used.0 / 6));
            let totals = Totals {
                sold: Credits::whole(1_200 - 90 * n),
                taken_back: Credits::whole(n * 3),
                granted: Credits::whole(100),
                used,
                used_by_game,
                ..Totals::default()
            };
            months.push((month, totals));
            month = month.before();
        }
        let empty = months.iter().map(|(month, _)| (*month, Totals::default())).collect();
        let page = |months, held, owed| ReportsPage::of(staff("/admin/reports"), &Report { months, held, owed }, &Catalogue::default());
        vec![("year", page(months, Credits::whole(48_230), Credits(12_500_000))), ("fresh", page(empty, Credits::ZERO, Credits::ZERO))]
    }
}
