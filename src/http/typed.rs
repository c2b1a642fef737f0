//! What somebody sent: a form or a JSON object, read into named texts, so that a wrong value becomes a message at its field.
//!
//! Used by every handler that takes a body. Size and number of fields are bounded; nothing here judges a value's meaning.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde_json::Value;

use super::Web;
use super::pages::create::{ByField, ENV_PREFIX, LAYER_PREFIX, VARIABLE_PREFIX, VARIABLE_ROW_PREFIX};
use super::problem::Problem;
use crate::domain::Fields;
use crate::domain::templates::Choice;

/// Characters of a wrong name that are shown.
const NAME_SHOWN: usize = 60;
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
    /// A JSON object named variables, if only to say that there are none.
    names_variables: bool,
    /// The same of a list of layers.
    names_layers: bool,
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
        self.below(ENV_PREFIX)
    }

    /// Fields whose names begin so, by the rest of their names.
    pub fn below(&self, prefix: &str) -> BTreeMap<String, String> {
        let vars = self.values.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())));
        vars.collect()
    }

    /// Layers in their order: fields `layer.0`, `layer.1`, each `template@version` or `template`; empty ones are left out.
    pub fn layers(&self) -> Vec<Choice> {
        let choice = |text: String| {
            let (template, version) = text.split_once('@').unwrap_or((&text, ""));
            Choice { template: template.trim().to_owned(), version: version.trim().to_owned() }
        };
        layers_in(&self.values).into_iter().map(choice).collect()
    }

    /// Was anything said about layers? A form says it by its rows, also by empty ones.
    pub fn says_layers(&self) -> bool {
        self.names_layers || self.values.keys().any(|name| name.starts_with(LAYER_PREFIX))
    }

    /// Was anything said about variables?
    pub fn says_variables(&self) -> bool {
        let said = |name: &String| name.starts_with(VARIABLE_PREFIX) || name.starts_with(VARIABLE_ROW_PREFIX);
        self.names_variables || self.values.keys().any(said)
    }

    /// A server's own variables; none where nothing was said about them. A form has `variables.NAME` for names that stand on the page,
    /// where empty means not set, and `variable.0.name` with `variable.0.value` for names that people type.
    pub fn variables(&self, fields: &mut Fields) -> Option<BTreeMap<String, String>> {
        if !self.says_variables() {
            return None;
        }
        let mut all = BTreeMap::new();
        for (name, value) in variables_in(&self.values, self.json) {
            if name.is_empty() {
                fields.add("variables", "A value without a name: say which variable it is for.");
            } else {
                match all.entry(name) {
                    Entry::Vacant(free) => drop(free.insert(value)),
                    Entry::Occupied(taken) => {
                        let short: String = taken.key().chars().take(NAME_SHOWN).collect();
                        fields.add("variables", format!("{short} stands in the list twice."));
                    }
                }
            }
        }
        Some(all)
    }

    /// Refuses what is not text and, in JSON, what nobody asked for.
    pub fn only(&self, known: &[&str], fields: &mut Fields) {
        for name in &self.odd {
            fields.add(name, "This has to be text, a number, or true or false.");
        }
        if self.json {
            for name in self.values.keys().filter(|name| !known.contains(&name.as_str())) {
                let nested = |group: &str, prefix: &str| known.contains(&group) && name.starts_with(prefix);
                if !nested("env", ENV_PREFIX) && !nested("variables", VARIABLE_PREFIX) && !nested("layers", LAYER_PREFIX) {
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
            Value::Object(inner) if !nested && name == "variables" => {
                self.names_variables = true;
                for (key, value) in inner {
                    self.insert(format!("{VARIABLE_PREFIX}{key}"), value, true);
                }
            }
            Value::Array(items) if !nested && name == "layers" => {
                self.names_layers = true;
                for (n, item) in items.iter().enumerate() {
                    match layer_text(item) {
                        Some(text) => drop(self.values.insert(format!("{LAYER_PREFIX}{n}"), text)),
                        None => self.odd.push(name.clone()),
                    }
                }
            }
            Value::Array(items) if !nested && matches!(name.as_str(), "tags" | "grants" | "scopes") => {
                let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                match words.filter(|words| words.iter().all(|word| !word.contains(','))) {
                    Some(words) => drop(self.values.insert(name, words.join(","))),
                    None => self.odd.push(name),
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

/// What the fields of layers say, in their order and without the empty ones.
pub(super) fn layers_in(values: &ByField) -> Vec<String> {
    let mut all: Vec<(usize, &str)> = values.iter().filter_map(|(name, value)| layer(name, value)).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// Names and values of variables: those with names of the page's first, then the typed ones in their order. Rows without anything are
/// left out; `keep_empty`: a name of the page's with an empty value is a value.
pub(super) fn variables_in(values: &ByField, keep_empty: bool) -> Vec<(String, String)> {
    let named = values.iter().filter_map(|(name, value)| Some((name.strip_prefix(VARIABLE_PREFIX)?.to_owned(), value.clone())));
    let mut all: Vec<_> = named.filter(|(_, value)| keep_empty || !value.is_empty()).collect();
    let mut rows: BTreeMap<usize, (String, String)> = BTreeMap::new();
    for (field, value) in values {
        let place = field.strip_prefix(VARIABLE_ROW_PREFIX).and_then(|rest| rest.split_once('.'));
        let Some((Ok(place), part)) = place.map(|(place, part)| (place.parse::<usize>(), part)) else { continue };
        match part {
            "name" => value.trim().clone_into(&mut rows.entry(place).or_default().0),
            "value" => rows.entry(place).or_default().1.clone_from(value),
            _other => {}
        }
    }
    all.extend(rows.into_values().filter(|(name, value)| !name.is_empty() || !value.is_empty()));
    all
}

/// A field that holds a layer: its place and what it says.
fn layer<'a>(name: &str, value: &'a str) -> Option<(usize, &'a str)> {
    let place = name.strip_prefix(LAYER_PREFIX)?.parse().ok()?;
    Some((place, value.trim())).filter(|(_, text)| !text.is_empty())
}

/// `{template, version?}` as a field says it; none where it is something else.
fn layer_text(item: &Value) -> Option<String> {
    let object = item.as_object()?;
    let text = |name: &str| object.get(name).filter(|value| !value.is_null()).map(Value::as_str);
    let plain = |text: &str| !text.contains('@');
    let known = object.keys().all(|key| key == "template" || key == "version");
    match (known, text("template"), text("version")) {
        (true, Some(Some(template)), None) if plain(template) => Some(template.to_owned()),
        (true, Some(Some(template)), Some(Some(version))) if plain(template) && plain(version) => Some(format!("{template}@{version}")),
        _ => None,
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

/// A body as it came, within the panel's limit.
pub(super) struct Raw(pub Bytes);

impl FromRequest<Web> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Problem> {
        body(request, web.settings.max_body_bytes).await.map(Raw)
    }
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
    fn variables_come_by_name_or_in_rows() {
        let read = |form: &'static str| {
            let mut fields = Fields::default();
            let variables = Typed::from_form(&Bytes::from_static(form.as_bytes())).unwrap().variables(&mut fields);
            let text =
                |all: BTreeMap<String, String>| all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
            (variables.map(text), fields.at("variables").map(str::to_owned))
        };
        assert_eq!(read("name=a"), (None, None));
        assert_eq!(read("variables.SEED="), (Some(String::new()), None));
        assert_eq!(
            read(
                "variables.SEED=7&variable.1.name=B&variable.1.value=b&variable.0.name=+A+&variable.0.value=&variable.2.name=&variable.2.value="
            ),
            (Some("A= B=b SEED=7".to_owned()), None)
        );
        assert_eq!(read("variable.0.value=x").1.as_deref(), Some("A value without a name: say which variable it is for."));
        assert_eq!(read("variables.SEED=7&variable.0.name=SEED").1.as_deref(), Some("SEED stands in the list twice."));
        let json = |text: &'static str| Typed::from_json(&Bytes::from_static(text.as_bytes())).unwrap().variables(&mut Fields::default());
        assert_eq!(json(r#"{"name":"a"}"#), None);
        assert_eq!(json(r#"{"variables":{}}"#), Some(BTreeMap::new()));
        assert_eq!(json(r#"{"variables":{"A":""}}"#), Some([("A".to_owned(), String::new())].into()));
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
