//! Variables in text files of layers: `${NAME}` becomes the server's value, `$${` becomes `${`, and what nobody knows stays as it is.
//!
//! Only names that were given are looked up: nothing of the panel, the node or the environment can be reached from a template. Values are
//! never read again for variables, and are written as the file's kind needs: a quote in a server's name ends no string of a JSON file.
//! Texts may be UTF-8, UTF-16 with its mark, or Latin-1.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Names that every server has a value for.
pub const BUILT_IN: [&str; 8] = ["INSTANCE_ID", "PORT", "SERVER_NAME", "SEED", "LOCALE", "NODE_NAME", "REGION", "ENVIRONMENT"];
/// Largest file, in bytes, in which variables are looked for.
pub const TEXT_MAX: u64 = 1 << 20;
/// Most characters of a name.
pub const NAME_MAX: usize = 64;
/// Most characters of a value.
pub const VALUE_MAX: usize = 4_096;

/// A name that was found and is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unknown {
    /// Without the braces.
    pub name: String,
    /// In which file.
    pub path: String,
}

/// True: upper-case letters, digits and `_`, begun by a letter or `_`, at most [`NAME_MAX`].
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_uppercase() || b == b'_');
    first && text.len() <= NAME_MAX && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// How the letters of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    Utf8,
    /// Two bytes each, the low one first or last, with a mark at the beginning.
    Utf16 {
        low_first: bool,
    },
    /// One byte each.
    Latin1,
}

impl Letters {
    /// None: no text.
    fn of(bytes: &[u8]) -> Option<Letters> {
        match bytes {
            _ if bytes.len() as u64 > TEXT_MAX => None,
            [0xff, 0xfe, ..] => Some(Letters::Utf16 { low_first: true }),
            [0xfe, 0xff, ..] => Some(Letters::Utf16 { low_first: false }),
            _ if bytes.contains(&0) => None,
            _ if std::str::from_utf8(bytes).is_ok() => Some(Letters::Utf8),
            _ => Some(Letters::Latin1),
        }
    }

    fn read(self, bytes: &[u8]) -> Option<String> {
        match self {
            Letters::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Letters::Latin1 => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
            Letters::Utf16 { low_first } => {
                let (pairs, []) = bytes.as_chunks::<2>() else { return None };
                let unit = |pair: &[u8; 2]| if low_first { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
                char::decode_utf16(pairs.iter().map(unit)).collect::<Result<_, _>>().ok()
            }
        }
    }

    /// What Latin-1 has no letter for becomes a question mark, as it does everywhere.
    fn write(self, text: &str) -> Vec<u8> {
        match self {
            Letters::Utf8 => text.as_bytes().to_vec(),
            Letters::Latin1 => text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
            Letters::Utf16 { low_first } => {
                text.encode_utf16().flat_map(|unit| if low_first { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
            }
        }
    }
}

/// True: a text in which something may have to be put in.
pub fn has_variables(bytes: &[u8]) -> bool {
    Letters::of(bytes).and_then(|letters| letters.read(bytes)).is_some_and(|text| text.contains("${"))
}

/// Puts the values into a file of this name; gives it, and the names that are not known, each once. None: it is no text, or nothing is
/// put in.
pub fn fill_in(bytes: &[u8], path: &str, values: &BTreeMap<String, String>) -> (Option<Vec<u8>>, BTreeSet<String>) {
    let Some(letters) = Letters::of(bytes) else { return (None, BTreeSet::new()) };
    let Some(text) = letters.read(bytes) else { return (None, BTreeSet::new()) };
    let (out, unknown) = substitute(&text, Syntax::of(path), values);
    let unknown = unknown.into_iter().map(str::to_owned).collect();
    ((out != text).then(|| letters.write(&out)), unknown)
}

/// What a value must not break, by the end of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    /// Nothing is known of it: values stand as they are.
    Plain,
    /// Strings in double quotes: JSON, and TOML's usual ones.
    Json,
    Yaml,
    Xml,
    /// Java's.
    Properties,
}

impl Syntax {
    fn of(path: &str) -> Syntax {
        let name = path.rsplit('/').next().unwrap_or_default();
        match name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
            Some("json" | "json5" | "jsonc" | "mcmeta" | "toml") => Syntax::Json,
            Some("yml" | "yaml") => Syntax::Yaml,
            Some("xml" | "config" | "plist") => Syntax::Xml,
            Some("properties") => Syntax::Properties,
            Some(_) | None => Syntax::Plain,
        }
    }

    /// A value for a place in a text, by what stands around it on its line.
    fn write(self, value: &str, before: &str, after: &str) -> String {
        match self {
            Syntax::Plain => value.to_owned(),
            Syntax::Json => in_double_quotes(value),
            Syntax::Xml => value.chars().map(in_xml).collect(),
            Syntax::Properties => in_properties(value),
            Syntax::Yaml => {
                let line = before.rsplit('\n').next().unwrap_or_default();
                match open_quote(line) {
                    Some('"') => in_double_quotes(value),
                    Some(_) => value.replace('\'', "''"),
                    None => {
                        let rest = after.split('\n').next().unwrap_or_default().trim();
                        let begins = line.trim_end().is_empty() || line.trim_end().ends_with([':', '-', '[', ',', '{']);
                        let ends = rest.is_empty() || rest.starts_with([',', ']', '}', '#']);
                        let stands_alone = begins && ends;
                        if stands_alone && !is_bare(value) { format!("\"{}\"", in_double_quotes(value)) } else { value.to_owned() }
                    }
                }
            }
        }
    }
}

/// In YAML such a value means itself, without quotes.
fn is_bare(value: &str) -> bool {
    let bare = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '+' | ' ');
    let begins = value.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '/');
    begins && value.chars().all(bare) && !value.ends_with(' ')
}

/// The quote that is open at the end of a line's beginning.
fn open_quote(line: &str) -> Option<char> {
    let (mut open, mut escaped) = (None, false);
    for c in line.chars() {
        match (open, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(quote), c) if c == quote && !escaped => open = None,
            (None, '"' | '\'') => open = Some(c),
            (Some(_) | None, _) => {}
        }
        escaped = false;
    }
    open
}

fn in_double_quotes(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => by_number(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

/// As `\u00fc`, with two of them where one does not reach.
fn by_number(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend(["\\u".to_owned(), format!("{unit:04x}")]);
    }
}

fn in_xml(c: char) -> String {
    match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&apos;".to_owned(),
        c => c.to_string(),
    }
}

/// Readers of before Java 9 take these files for Latin-1, so that everything else is written by its number.
fn in_properties(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        match c {
            '\\' => out.push_str("\\\\"),
            ' ' if at == 0 => out.push_str("\\ "),
            ' '..='~' => out.push(c),
            c => by_number(&mut out, c),
        }
    }
    out
}

/// Puts the values in; gives the names that are not known, each once.
fn substitute<'a>(text: &'a str, syntax: Syntax, values: &BTreeMap<String, String>) -> (String, BTreeSet<&'a str>) {
    let (mut out, mut unknown) = (String::with_capacity(text.len()), BTreeSet::new());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, begun) = rest.split_at(at);
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = &begun[2..];
            continue;
        }
        out.push_str(before);
        let name = begun[2..].split('}').next().filter(|name| is_name(name) && begun.len() > name.len() + 2);
        match name.map(|name| (name, values.get(name))) {
            Some((name, Some(value))) => {
                rest = &begun[name.len() + 3..];
                let value = syntax.write(value, &out, rest);
                out.push_str(&value);
            }
            Some((name, None)) => {
                unknown.insert(name);
                out.push_str(&begun[..name.len() + 3]);
                rest = &begun[name.len() + 3..];
            }
            // Not a name in braces, but something of the file's own.
            None => {
                out.push_str("${");
                rest = &begun[2..];
            }
        }
    }
    out.push_str(rest);
    (out, unknown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> BTreeMap<String, String> {
        [("PORT", "25001"), ("SERVER_NAME", "Valley ${PORT}"), ("EMPTY", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn known_names_are_put_in_and_everything_else_is_left() {
        for (text, expected, unknown) in [
            ("", "", vec![]),
            ("port=${PORT}", "port=25001", vec![]),
            ("${PORT}${PORT}-${EMPTY}-", "2500125001--", vec![]),
            ("${SERVER_NAME}", "Valley ${PORT}", vec![]),
            ("$${PORT} $$${PORT}", "${PORT} $${PORT}", vec![]),
            ("${HOME} ${PORT} ${HOME} ${A_1}", "${HOME} 25001 ${HOME} ${A_1}", vec!["A_1", "HOME"]),
            ("${port} ${} ${PORT ${ $ {PORT}", "${port} ${} ${PORT ${ $ {PORT}", vec![]),
            ("${${PORT}}", "${25001}", vec![]),
            ("ends with ${PORT", "ends with ${PORT", vec![]),
            ("ends with ${", "ends with ${", vec![]),
            ("ends with $", "ends with $", vec![]),
            ("ü${PORT}ü", "ü25001ü", vec![]),
        ] {
            let (out, names) = substitute(text, Syntax::Plain, &values());
            assert_eq!((out.as_str(), names.into_iter().collect::<Vec<_>>()), (expected, unknown), "{text:?}");
        }
    }

    #[test]
    fn only_small_texts_have_variables() {
        assert!(has_variables(b"a ${PORT}") && has_variables("ü ${X}".as_bytes()));
        let large = format!("${{PORT}}{}", " ".repeat(usize::try_from(TEXT_MAX).unwrap()));
        assert!(has_variables(b"\xfc ${PORT}") && has_variables(b"\xff\xfe$\0{\0A\0}\0") && has_variables(b"\xfe\xff\0$\0{\0A\0}"));
        for other in [b"plain $ text".as_slice(), b"\0${PORT}", b"\xff\xfe$\0{\0A", b"", large.as_bytes()] {
            assert!(!has_variables(other));
        }
    }

    /// A file with `${NAME}` in it, once the server has this name.
    fn filled(path: &str, file: &str, name: &str) -> String {
        let values = [("NAME".to_owned(), name.to_owned()), ("PORT".to_owned(), "25001".to_owned())].into();
        let (out, unknown) = fill_in(file.as_bytes(), path, &values);
        assert!(unknown.is_empty());
        String::from_utf8(out.unwrap()).unwrap()
    }

    #[test]
    fn a_value_breaks_no_file_whatever_it_is() {
        for name in ["plain", "Bob's \"Valley\" \\ <&> # : ${PORT}", "\u{fc}\u{1f600}", " spaces ", "true", "-", "a\tb"] {
            let json: serde_json::Value =
                serde_json::from_str(&filled("a/b.json", "{\"name\": \"${NAME}\", \"port\": ${PORT}}", name)).unwrap();
            assert_eq!((json["name"].as_str(), json["port"].as_i64()), (Some(name), Some(25_001)));
            if !name.contains('\t') {
                let toml: toml::Table = filled("b.toml", "name = \"${NAME}\"\nport = ${PORT}\n", name).parse().unwrap();
                assert_eq!(toml["name"].as_str(), Some(name));
            }
            assert_eq!(filled("motd.txt", "${NAME}", name), name, "of other files nothing is known");
        }
        let name = "Bob's \"A\" \\ <&>";
        assert_eq!(filled("c.xml", "<n a=\"${NAME}\"/>", name), "<n a=\"Bob&apos;s &quot;A&quot; \\ &lt;&amp;&gt;\"/>");
        assert_eq!(filled("s.properties", "motd=${NAME}\n", " \u{fc}\\\u{1f600}="), "motd=\\ \\u00fc\\\\\\ud83d\\ude00=\n");
        for (file, expected) in [
            ("n: ${NAME}\n", "n: \"Bob's \\\"A\\\" \\\\ <&>\"\n"),
            ("n: \"${NAME}\"\n", "n: \"Bob's \\\"A\\\" \\\\ <&>\"\n"),
            ("n: 'x ${NAME}'\n", "n: 'x Bob''s \"A\" \\ <&>'\n"),
            ("- ${NAME} # said\n", "- \"Bob's \\\"A\\\" \\\\ <&>\" # said\n"),
            ("p: ${PORT}\nq: '${PORT}'\n", "p: 25001\nq: '25001'\n"),
        ] {
            assert_eq!(filled("d.yml", file, name), expected, "{file}");
        }
        assert_eq!(filled("d.yaml", "n: ${NAME}", "a: b"), "n: \"a: b\"");
        assert_eq!(filled("d.yaml", "n: ${NAME}", "Valley 2"), "n: Valley 2");
    }

    #[test]
    fn other_letters_are_kept() {
        let values = [("NAME".to_owned(), "\u{e9}\u{1f600}".to_owned())].into();
        let (out, _) = fill_in(b"caf\xe9 ${NAME}", "motd.txt", &values);
        assert_eq!(out.unwrap(), b"caf\xe9 \xe9?");
        for low_first in [true, false] {
            let letters = Letters::Utf16 { low_first };
            let (out, unknown) = fill_in(&letters.write("\u{feff}${NAME} ${OTHER}"), "motd.txt", &values);
            assert_eq!(letters.read(&out.unwrap()).unwrap(), "\u{feff}\u{e9}\u{1f600} ${OTHER}");
            assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["OTHER"]);
        }
        assert_eq!(fill_in(b"\0${NAME}", "a", &values).0, None);
    }

    #[test]
    fn names_are_plain() {
        assert!(BUILT_IN.iter().all(|name| is_name(name)));
        for bad in ["", "1A", "a", "A-B", "A B", "Ü", &"A".repeat(NAME_MAX + 1)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_text_without_variables_stays_as_it_is(text in "[^$]*") {
            prop_assert_eq!(substitute(&text, Syntax::Plain, &values()).0, text);
        }

        #[test]
        fn an_escaped_text_comes_back_as_it_was(text in "[a-zA-Z{}_ü ]*(\\$\\{[A-Z_]{1,5}\\}[a-z ]{0,3}){0,4}") {
            let escaped = text.replace("${", "$${");
            let (out, unknown) = substitute(&escaped, Syntax::Plain, &values());
            prop_assert_eq!(out, text);
            prop_assert!(unknown.is_empty());
        }
    }
}
