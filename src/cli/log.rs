//! The log on standard error: JSON lines, or text for people.
//!
//! An error is logged as one, `error = &error as &dyn Error`, and never by its own words alone: the text names its causes, and so do the
//! lines here, which the library's own JSON does not.

use std::error::Error;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Scope, SpanRef};
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings;

/// Causes of one error that are told.
const CAUSES_MAX: usize = 10;

/// Opens it.
pub fn open(settings: &settings::Log) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if settings.json {
        registry.with(layer.fmt_fields(JsonFields::new()).event_format(JsonLines)).init();
    } else {
        registry.with(layer.compact()).init();
    }
}

/// An error and what it comes from, the outermost first. A cause whose words stand there already is left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(inner) = cause else { break };
        let words = inner.to_string();
        if !text.contains(&words) {
            let _ = write!(text, ": {words}");
        }
        cause = inner.source();
    }
    text
}

/// One object a line.
struct JsonLines;

/// The fields of an event, in their order.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), Value::String(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.0.push((field.name(), chain(value).into()));
    }
}

/// A span: its fields, which were written down when it began, and its name.
fn span<S, N>(span: &SpanRef<'_, S>) -> Value
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let extensions = span.extensions();
    let fields = extensions.get::<FormattedFields<N>>().and_then(|fields| serde_json::from_str::<Map<String, Value>>(&fields.fields).ok());
    let mut object = fields.unwrap_or_default();
    object.insert("name".to_owned(), span.name().into());
    Value::Object(object)
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = Fields(vec![("timestamp", timestamp.into()), ("level", event.metadata().level().as_str().into())]);
        event.record(&mut line);
        line.0.push(("target", event.metadata().target().into()));
        let spans: Vec<Value> = ctx.event_scope().into_iter().flat_map(Scope::from_root).map(|each| span::<S, N>(&each)).collect();
        if let Some(innermost) = spans.last() {
            line.0.push(("span", innermost.clone()));
            line.0.push(("spans", spans.into()));
        }
        let mut before = '{';
        for (name, value) in line.0 {
            write!(writer, "{before}{}:{value}", Value::from(name))?;
            before = ',';
        }
        writeln!(writer, "}}")
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the letter did not go")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("the mail server did not answer")]
    struct Middle(#[source] io::Error);

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_json_and_names_every_cause_of_an_error() {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.fmt_fields(JsonFields::new()).event_format(JsonLines));
        tracing::subscriber::with_default(subscriber, || {
            let error = Outer(Middle(io::Error::other("connection refused")));
            let _span = tracing::info_span!("request", id = "a\"b", number = 7).entered();
            tracing::warn!(error = &error as &dyn Error, tries = 3_u64, late = true, "a \"tick\"\nfailed");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["error"], "the letter did not go: the mail server did not answer: connection refused");
        assert_eq!((&line["level"], &line["message"], &line["tries"]), (&"WARN".into(), &"a \"tick\"\nfailed".into(), &3.into()));
        assert_eq!(
            (&line["span"]["name"], &line["span"]["id"], &line["spans"][0]["number"]),
            (&"request".into(), &"a\"b".into(), &7.into())
        );
    }
}
