//! Browser sessions as opaque text, kept for `http`.

use super::{Change, Ctx};
use crate::model::ids::UserId;
use crate::model::time::Millis;
use crate::store::{StoreError, sessions};

/// Makes a session; false when the id is taken.
pub async fn create(ctx: &Ctx, id: &str, data: &str, expires_at: Millis) -> Result<bool, StoreError> {
    match sessions::insert(&ctx.db, id, data, expires_at).await {
        Ok(()) => Ok(true),
        Err(StoreError::Exists(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Keeps a session.
pub async fn save(ctx: &Ctx, id: &str, data: &str, expires_at: Millis) -> Result<(), StoreError> {
    sessions::save(&ctx.db, id, data, expires_at).await
}

/// Moves the end of a session on; what is in it stays.
pub async fn move_on(ctx: &Ctx, id: &str, expires_at: Millis) -> Result<(), StoreError> {
    sessions::move_on(&ctx.db, id, expires_at).await
}

/// A session that has not expired: its data and when it will.
pub async fn load(ctx: &Ctx, id: &str) -> Result<Option<(String, Millis)>, StoreError> {
    sessions::load(&ctx.db, id, ctx.clock.now()).await
}

/// Ends a session.
pub async fn delete(ctx: &Ctx, id: &str) -> Result<(), StoreError> {
    sessions::delete(&ctx.db, id).await
}

/// Says that a session of this account has ended, so that its open sockets look again.
pub fn ended(ctx: &Ctx, user: &UserId) {
    ctx.tell(Change::Rights(user.clone()));
}
