//! The catalogue: read from data files at start, kept in the database, held in memory for whoever asks.

use std::collections::HashMap;
use std::sync::Arc;

use super::Ctx;
use crate::model::games::{Game, Plan};
use crate::model::ids::{GameId, PlanId};
use crate::store::{Db, StoreError, games};

/// All games, in order.
#[derive(Debug, Default)]
pub struct Catalogue {
    order: Vec<Arc<Game>>,
    by_id: HashMap<GameId, Arc<Game>>,
}

/// A data file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// It does not read as a game.
    #[error("{file} does not describe a game")]
    Unreadable {
        /// Its name.
        file: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The database refused it.
    #[error("the catalogue could not be kept")]
    Store(#[from] StoreError),
}

impl Catalogue {
    /// Reads what the database holds.
    pub async fn load(db: &Db) -> Result<Catalogue, StoreError> {
        let order: Vec<Arc<Game>> = games::all(db).await?.into_iter().map(Arc::new).collect();
        let by_id = order.iter().map(|game| (game.id.clone(), game.clone())).collect();
        Ok(Catalogue { order, by_id })
    }

    /// All games, in the order of the create form.
    pub fn all(&self) -> &[Arc<Game>] {
        &self.order
    }

    /// One game.
    pub fn game(&self, id: &GameId) -> Option<&Arc<Game>> {
        self.by_id.get(id)
    }

    /// A game and one of its plans.
    pub fn plan(&self, game: &GameId, plan: &PlanId) -> Option<(&Arc<Game>, &Plan)> {
        let game = self.game(game)?;
        Some((game, game.plan(plan)?))
    }
}

/// Writes data files into the database: `demo` first, then by name. Of two with the same id the later one counts.
pub async fn seed(db: &Db, files: impl IntoIterator<Item = (String, String)>) -> Result<usize, SeedError> {
    let mut all: Vec<Game> = Vec::new();
    for (file, text) in files {
        let game: Game = toml::from_str(&text).map_err(|error| SeedError::Unreadable { file, source: Box::new(error) })?;
        all.retain(|earlier| earlier.id != game.id);
        all.push(game);
    }
    all.sort_by_key(|game| (game.id.as_str() != "demo", game.name.clone()));
    let tx = db.begin().await?;
    for (position, game) in (0i64..).zip(&all) {
        games::save(&tx, position, game).await?;
    }
    tx.commit().await?;
    Ok(all.len())
}

impl Ctx {
    /// Reads the catalogue anew.
    pub async fn reload_games(&self) -> Result<(), StoreError> {
        let fresh = Arc::new(Catalogue::load(&self.db).await?);
        if let Ok(mut catalogue) = self.catalogue.write() {
            *catalogue = fresh;
        }
        Ok(())
    }
}
