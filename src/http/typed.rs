//! What somebody sent: a form or a JSON object, read into named texts, so that a wrong value becomes a message at its field.
//!
//! Used by every handler that takes a body. Size and number of fields are bounded; nothing here judges a value's meaning.

use std::collections::BTreeMap;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde_json::Value;

use super::Web;
use super::pages::create::{ByField, ENV_PREFIX};
use super::problem::Problem;
use crate::domain::Fields;

/// Most fields of one body.
const FIELDS_MAX: usize = 200;

/// What was typed, by field.
#[derive(Debug, Clone, Default)]
pub(super) struct Typed {
    values: ByField,
    /// A JSON object: what is absent was left open, not switched off.
    pub json: bool,
    /// Fields that hold something that is not text, number or yes and no.
    odd: Vec<String>,
    /// The body as it came.
    pub bytes: Bytes,
}

impl Typed {
    /// The text of a field; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// The text of a field, if it was sent.
    pub fn maybe(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Everything, as forms are shown again with.
    pub fn values(&self) -> &ByField {
        &self.values
    }

    /// A whole number; none where nothing was typed.
    pub fn number(&self, name: &str, fields: &mut Fields) -> Option<i64> {
        let text = self.maybe(name)?.trim();
        if text.is_empty() {
            return None;
        }
        let number = text.parse().ok();
        if number.is_none() {
            fields.add(name, "Enter a whole number.");
        }
        number
    }

    /// Yes or no. A form sends what is ticked and leaves out what is not.
    pub fn flag(&self, name: &str, fields: &mut Fields) -> Option<bool> {
        match (self.json, self.maybe(name)) {
            (false, Some(text)) => Some(!matches!(text, "" | "false" | "off" | "0")),
            (false, None) => Some(false),
            (true, None) => None,
            (true, Some("true")) => Some(true),
            (true, Some("false")) => Some(false),
            (true, Some(_)) => {
                fields.add(name, "This is either true or false.");
                None
            }
        }
    }

    /// The variables of a game.
    pub fn env(&self) -> BTreeMap<String, String> {
        let vars = self.values.iter().filter_map(|(name, value)| Some((name.strip_prefix(ENV_PREFIX)?.to_owned(), value.clone())));
        vars.collect()
    }

    /// Refuses what is not text and, in JSON, what nobody asked for.
    pub fn only(&self, known: &[&str], fields: &mut Fields) {
        for name in &self.odd {
            fields.add(name, "This has to be text, a number, or true or false.");
        }
        if self.json {
            for name in self.values.keys().filter(|name| !known.contains(&name.as_str())) {
                if !(known.contains(&"env") && name.starts_with(ENV_PREFIX)) {
                    fields.add(name, "There is no such field here.");
                }
            }
        }
    }

    fn insert(&mut self, name: String, value: Value, nested: bool) {
        match value {
            Value::Null => {}
            Value::String(text) => drop(self.values.insert(name, text)),
            Value::Number(number) => drop(self.values.insert(name, number.to_string())),
            Value::Bool(flag) => drop(self.values.insert(name, flag.to_string())),
            Value::Object(inner) if !nested && name == "env" => {
                for (key, value) in inner {
                    self.insert(format!("{ENV_PREFIX}{key}"), value, true);
                }
            }
            Value::Object(_) | Value::Array(_) => self.odd.push(name),
        }
    }

    fn from_json(bytes: &Bytes) -> Result<Typed, Problem> {
        let malformed = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| malformed(format!("The body is not JSON (line {}, column {}).", error.line(), error.column())))?;
        let Value::Object(object) = value else { return Err(malformed("The body has to be a JSON object.".to_owned())) };
        let mut typed = Typed { json: true, ..Typed::default() };
        for (name, value) in object {
            typed.insert(name, value, false);
        }
        Ok(typed)
    }

    fn from_form(bytes: &Bytes) -> Result<Typed, Problem> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_bytes(bytes).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "The form could not be read."))?;
        let mut typed = Typed::default();
        for (name, value) in pairs {
            typed.values.entry(name).or_insert(value);
        }
        Ok(typed)
    }
}

/// What stands behind the question mark; what cannot be read is not there.
#[derive(Debug, Default)]
pub(super) struct Asked(ByField);

impl Asked {
    /// A value, if it was sent and is text without control characters.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.contains(char::is_control))
    }

    /// A number; none where there is none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name).and_then(|text| text.parse().ok())
    }
}

impl FromRequestParts<Web> for Asked {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Web) -> Result<Self, Self::Rejection> {
        let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(parts.uri.query().unwrap_or("")).unwrap_or_default();
        Ok(Asked(pairs.into_iter().take(FIELDS_MAX).collect()))
    }
}

/// Reads a body up to the panel's limit.
async fn body(request: Request, most: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "");
    to_bytes(request.into_body(), most).await.map_err(|error| {
        let limit = std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if limit { too_large() } else { Problem::new(StatusCode::BAD_REQUEST, "") }
    })
}

impl FromRequest<Web> for Typed {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let bytes = body(request, web.settings.max_body_bytes).await?;
        let typed = match kind.as_str() {
            _ if bytes.is_empty() => Typed { json: kind == "application/json", ..Typed::default() },
            "application/json" => Typed::from_json(&bytes)?,
            "application/x-www-form-urlencoded" => Typed::from_form(&bytes)?,
            _other => return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send a form or JSON.")),
        };
        if typed.values.len() > FIELDS_MAX {
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "There are more fields than any form here has."));
        }
        Ok(Typed { bytes, ..typed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_forms_read_alike() {
        let json =
            Typed::from_json(&Bytes::from_static(br#"{"name":"a","idle_minutes":5,"auto_sleep":false,"env":{"MOTD":"hi"}}"#)).unwrap();
        let form = Typed::from_form(&Bytes::from_static(b"name=a&idle_minutes=5&env.MOTD=hi")).unwrap();
        let mut fields = Fields::default();
        for typed in [&json, &form] {
            assert_eq!(typed.text("name"), "a");
            assert_eq!(typed.number("idle_minutes", &mut fields), Some(5));
            assert_eq!(typed.flag("auto_sleep", &mut fields), Some(false));
            assert_eq!(typed.env(), [("MOTD".to_owned(), "hi".to_owned())].into());
        }
        assert_eq!(fields, Fields::default());
    }

    #[test]
    fn what_is_no_text_is_refused_at_its_field() {
        let typed = Typed::from_json(&Bytes::from_static(br#"{"name":["a"],"idle_minutes":1e99,"other":1,"auto_sleep":"yes"}"#)).unwrap();
        let mut fields = Fields::default();
        typed.only(&["name", "idle_minutes", "auto_sleep"], &mut fields);
        typed.number("idle_minutes", &mut fields);
        typed.flag("auto_sleep", &mut fields);
        let names: Vec<&str> = fields.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["name", "other", "idle_minutes", "auto_sleep"]);
    }
}
