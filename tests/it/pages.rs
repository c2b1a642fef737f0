//! Every sample of every page: well-formed, labelled, and without a way in for hostile words.
//!
//! The reader below is stricter than a browser on purpose: what it cannot read exactly, it refuses. The rendered samples are
//! left in the test's temporary folder, to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use roost::http::pages::samples::{self, HOSTILE, Sample};

const VOID: [&str; 6] = ["meta", "link", "input", "br", "img", "hr"];
const RAW: [&str; 2] = ["script", "style"];

/// An element in the order of the page.
#[derive(Debug)]
struct Element {
    tag: String,
    attributes: BTreeMap<String, String>,
    /// Index of the one around it.
    parent: Option<usize>,
    /// All text inside, decoded only as far as this test needs it.
    text: String,
}

impl Element {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

/// Reads a page; says where it is not well-formed.
fn read(html: &str) -> Result<Vec<Element>, String> {
    let mut elements: Vec<Element> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut rest = html.strip_prefix("<!doctype html>").ok_or("no doctype")?;
    loop {
        let (text, after) = rest.split_once('<').unwrap_or((rest, ""));
        if text.contains('>') {
            return Err(format!("a bare > in {text:?}"));
        }
        for index in &open {
            elements[*index].text.push_str(text);
        }
        if after.is_empty() {
            break;
        }
        if let Some(closing) = after.strip_prefix('/') {
            let (tag, next) = closing.split_once('>').ok_or("an end tag without end")?;
            let last = open.pop().ok_or(format!("</{tag}> without a start"))?;
            if elements[last].tag != tag {
                return Err(format!("</{tag}> closes <{}>", elements[last].tag));
            }
            rest = next;
            continue;
        }
        let (element, closed, next) = start_tag(after, open.last().copied())?;
        let leaf = closed || VOID.contains(&element.tag.as_str());
        if RAW.contains(&element.tag.as_str()) && !next.starts_with(&format!("</{}>", element.tag)) {
            return Err(format!("<{}> has a body", element.tag));
        }
        elements.push(element);
        if !leaf {
            open.push(elements.len() - 1);
        }
        rest = next;
    }
    match open.last() {
        Some(left) => Err(format!("<{}> is never closed", elements[*left].tag)),
        None => Ok(elements),
    }
}

fn start_tag(text: &str, parent: Option<usize>) -> Result<(Element, bool, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).ok_or("a tag without end")?;
    let (tag, mut rest) = text.split_at(end);
    if tag.is_empty() || tag != tag.to_lowercase() {
        return Err(format!("not a tag: <{}", &text[..text.len().min(40)]));
    }
    let mut attributes = BTreeMap::new();
    loop {
        rest = rest.trim_start();
        if let Some(next) = rest.strip_prefix("/>") {
            return Ok((Element { tag: tag.to_owned(), attributes, parent, text: String::new() }, true, next));
        }
        if let Some(next) = rest.strip_prefix('>') {
            return Ok((Element { tag: tag.to_owned(), attributes, parent, text: String::new() }, false, next));
        }
        let end = rest.find(['=', '>', ' ', '\n', '/']).ok_or("an attribute without end")?;
        let (name, after) = rest.split_at(end);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic() || c == '-') {
            return Err(format!("not an attribute: {name:?} in <{tag}"));
        }
        let value = if let Some(after) = after.strip_prefix("=\"") {
            let (value, next) = after.split_once('"').ok_or("a value without end")?;
            rest = next;
            value
        } else if let Some(after) = after.strip_prefix("='") {
            let (value, next) = after.split_once('\'').ok_or("a value without end")?;
            rest = next;
            value
        } else {
            rest = after;
            ""
        };
        if value.contains('<') {
            return Err(format!("a bare < in {name}={value:?}"));
        }
        if attributes.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{name} stands twice in <{tag}"));
        }
    }
}

/// Everything that is wrong with a page, one line each.
fn faults(html: &str) -> String {
    let elements = match read(html) {
        Ok(elements) => elements,
        Err(fault) => return fault,
    };
    let mut faults = String::new();
    let mut ids = BTreeSet::new();
    for element in &elements {
        if let Some(id) = element.get("id")
            && !ids.insert(id)
        {
            let _ = writeln!(faults, "id {id} stands twice");
        }
    }
    for element in &elements {
        for fault in foreign(element).into_iter().chain(unlabelled(element, &elements)).chain(dangling(element, &ids)) {
            let _ = writeln!(faults, "{fault}: {element:?}");
        }
    }
    // Scripts of others are named only where they have been fetched, and that of passkeys only where there can be any.
    let fetched = |element: &Element| {
        element.get("src").is_some_and(|src| src.starts_with("/static/vendor/") || src.starts_with("/static/passkeys.js"))
    };
    let count = |tag: &str| elements.iter().filter(|element| element.tag == tag && !fetched(element)).count();
    for (tag, times) in [("h1", 1), ("main", 1), ("title", 1), ("script", 1)] {
        if count(tag) != times {
            let _ = writeln!(faults, "{} times <{tag}>", count(tag));
        }
    }
    faults
}

/// Where receipts, invoices and payments are.
const PAYS: [&str; 3] = ["https://checkout.stripe.com/", "https://invoice.stripe.com/", "https://pay.stripe.com/"];

/// What the content security policy would refuse, and what hostile words could have brought in.
fn foreign(element: &Element) -> Option<&'static str> {
    let named = |test: fn(&str) -> bool| element.attributes.keys().any(|name| test(name));
    let leads = |name: &str, ways: &[&str]| element.get(name).is_none_or(|to| ways.iter().any(|way| to.starts_with(way)));
    // The payment service's own pages, where a link says nothing of where it was clicked.
    let pays = element.get("rel") == Some("noreferrer") && leads("href", &PAYS);
    if element.tag == "style" || named(|name| name == "style") {
        Some("a style inside the page")
    } else if named(|name| name.starts_with("on") || name == "srcdoc") {
        Some("a script in an attribute")
    } else if element.tag == "script" && element.get("src").is_none_or(|src| !src.starts_with("/static/")) {
        Some("a script that is not ours")
    } else if !(pays || leads("href", &["/", "#"])) || !leads("action", &["/"]) || !leads("src", &["/static/"]) {
        Some("a way out of this site")
    } else if !leads("hx-post", &["/"]) || !leads("ws-connect", &["/"]) {
        Some("htmx leads out of this site")
    } else {
        None
    }
}

fn labelled_by_itself(element: &Element) -> bool {
    element.get("aria-label").is_some_and(|label| !label.is_empty()) || element.get("aria-labelledby").is_some()
}

fn inside(element: &Element, elements: &[Element], test: impl Fn(&Element) -> bool) -> bool {
    let mut around = element.parent;
    while let Some(index) = around {
        if test(&elements[index]) {
            return true;
        }
        around = elements[index].parent;
    }
    false
}

/// Controls without a label, pictures without words.
fn unlabelled(element: &Element, elements: &[Element]) -> Option<&'static str> {
    let has_label = || {
        let named = element.get("id").is_some_and(|id| elements.iter().any(|label| label.tag == "label" && label.get("for") == Some(id)));
        named || labelled_by_itself(element) || inside(element, elements, |around| around.tag == "label" && !around.text.trim().is_empty())
    };
    let says_something = || !element.text.trim().is_empty() || labelled_by_itself(element);
    match element.tag.as_str() {
        "input" if element.get("type") == Some("hidden") => None,
        "input" | "select" | "textarea" if !has_label() => Some("a control without a label"),
        "meter" | "progress" if !has_label() => Some("a bar without a label"),
        "button" | "a" | "summary" | "th" | "legend" | "h1" | "h2" if !says_something() => Some("says nothing"),
        "img" if element.get("alt").is_none() => Some("a picture without words"),
        "svg" if element.get("aria-hidden") != Some("true") && !(element.get("role") == Some("img") && labelled_by_itself(element)) => {
            Some("a picture without words")
        }
        _fine => None,
    }
}

/// References to what is not there.
fn dangling(element: &Element, ids: &BTreeSet<&str>) -> Option<&'static str> {
    let lost = |name: &str| element.get(name).is_some_and(|list| list.split(' ').any(|id| !ids.contains(id)));
    if lost("for") || lost("aria-describedby") || lost("aria-labelledby") {
        return Some("refers to what is not there");
    }
    let anchor = element.get("href").and_then(|href| href.strip_prefix('#'));
    anchor.filter(|id| element.tag == "a" && !ids.contains(id)).map(|_| "leads to what is not there")
}

fn all() -> Vec<Sample> {
    samples::all().expect("every template renders")
}

#[test]
fn every_sample_of_every_page_is_sound() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).expect("a folder for the pages");
    let samples = all();
    assert!(samples.len() >= 40, "{} samples", samples.len());
    let mut report = String::new();
    for sample in &samples {
        std::fs::write(folder.join(format!("{}.html", sample.name)), &sample.html).expect("a file for the page");
        let faults = faults(&sample.html);
        if !faults.is_empty() {
            let _ = writeln!(report, "{}:\n{faults}", sample.name);
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn hostile_words_are_shown_as_words() {
    let escaped = "&#60;script&#62;alert(&#39;1&#39;)&#60;/script&#62;&#34;&#62;&#60;img src=x onerror=alert(2)&#62;";
    let mut met = 0;
    for sample in all() {
        assert!(!sample.html.contains(HOSTILE) && !sample.html.contains("<img"), "{}", sample.name);
        met += sample.html.matches(escaped).count();
    }
    assert!(met > 40, "hostile words stand only {met} times in the samples");
}

#[test]
fn the_reader_itself_refuses_what_it_should() {
    let page = |body: &str| {
        format!(
            "<!doctype html><html><head><title>t</title>{}</head><body><main><h1>t</h1>{body}</main></body></html>",
            "<script src=\"/static/a.js\"></script>"
        )
    };
    assert_eq!(faults(&page("<p>fine</p>")), "");
    for bad in [
        "<p>open",
        "<p><b>crossed</p></b>",
        "<script>alert(1)</script>",
        "<p style=\"color:red\">x</p>",
        "<p onclick=\"x()\">x</p>",
        "<input name=\"a\">",
        "<label for=\"a\">x</label>",
        "<svg></svg>",
        "<img src=\"/static/a.png\">",
        "<a href=\"javascript:alert(1)\">x</a>",
        "<button></button>",
        "<p id=\"a\">x</p><p id=\"a\">x</p>",
        "<p title=\"<b>\">x</p>",
        "a > b",
    ] {
        assert_ne!(faults(&page(bad)), "", "{bad}");
    }
}
