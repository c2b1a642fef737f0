//! Roost: a panel for game servers that sleep while nobody plays.
//!
//! The map. Names point down only: a room may name those below it that stand beside it here.
//!
//! | room | what lives there | may name |
//! | --- | --- | --- |
//! | [`model`] | what things are: ids, money, states, rules | nothing |
//! | [`wire`] | what panel, node and sidecar say to each other | model |
//! | `trust` | the panel's own authority, and TLS between panel and nodes | nothing |
//! | [`proxy`] | the sidecar at a server's public port | model, wire |
//! | `store` | the only room that knows SQL | model |
//! | [`objects`] | the object store: any S3, or a folder | model |
//! | [`archives`] | archives of templates: checked before anything of them is used | model |
//! | [`mail`] | letters by SMTP | model |
//! | [`payments`] | Stripe: what is asked of it, and whether a webhook is its own | model |
//! | `engines` | where servers run | model, wire |
//! | [`identity`] | signing in with an account from elsewhere: OpenID Connect, GitHub, Discord | model |
//! | [`node`] | the agent: Docker, console, doors, layers, backups | model, wire, trust, archives |
//! | `domain` | what can be done: rights, decide, save, call the engine | model, wire, store, engines, objects, archives, mail, identity, payments |
//! | `http` | pages, JSON API, sessions, guards | model, wire, trust, domain |
//! | `workers` | what happens by itself | model, domain |
//! | `settings`, `cli` | settings by section; one file for each subcommand | everything |

#[cfg(feature = "panel")]
pub mod archives;
#[cfg(feature = "panel")]
pub mod cli;
#[cfg(feature = "panel")]
pub mod domain;
#[cfg(feature = "panel")]
pub mod engines;
#[cfg(feature = "panel")]
pub mod http;
#[cfg(feature = "panel")]
pub mod identity;
#[cfg(feature = "panel")]
pub mod mail;
pub mod model;
#[cfg(feature = "panel")]
pub mod node;
#[cfg(feature = "panel")]
pub mod objects;
#[cfg(feature = "panel")]
pub mod payments;
pub mod proxy;
#[cfg(feature = "panel")]
pub mod settings;
#[cfg(feature = "panel")]
pub mod store;
#[cfg(feature = "panel")]
pub mod trust;
pub mod wire;
#[cfg(feature = "panel")]
pub mod workers;
