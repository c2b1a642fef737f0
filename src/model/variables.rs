//! Variables in text files of layers: `${NAME}` becomes the server's value, `$${` becomes `${`, and what nobody knows stays as it is.
//!
//! Only names that were given are looked up: nothing of the panel, the node or the environment can be reached from a template. Values are
//! put in as they are and never read again for variables.

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

/// True: UTF-8 without NUL, and not larger than [`TEXT_MAX`].
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.len() as u64 <= TEXT_MAX && !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// True: a text in which something may have to be put in.
pub fn has_variables(bytes: &[u8]) -> bool {
    let fits = bytes.len() as u64 <= TEXT_MAX && !bytes.contains(&0);
    fits && std::str::from_utf8(bytes).is_ok_and(|text| text.contains("${"))
}

/// Puts the values in; gives the names that are not known, each once.
pub fn substitute<'a>(text: &'a str, values: &BTreeMap<String, String>) -> (String, BTreeSet<&'a str>) {
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
                out.push_str(value);
                rest = &begun[name.len() + 3..];
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
            let (out, names) = substitute(text, &values());
            assert_eq!((out.as_str(), names.into_iter().collect::<Vec<_>>()), (expected, unknown), "{text:?}");
        }
    }

    #[test]
    fn only_small_texts_have_variables() {
        assert!(has_variables(b"a ${PORT}") && has_variables("ü ${X}".as_bytes()));
        let large = format!("${{PORT}}{}", " ".repeat(usize::try_from(TEXT_MAX).unwrap()));
        for other in [b"plain $ text".as_slice(), b"\0${PORT}", b"\xff${PORT}", b"", large.as_bytes()] {
            assert!(!has_variables(other));
        }
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
            prop_assert_eq!(substitute(&text, &values()).0, text);
        }

        #[test]
        fn an_escaped_text_comes_back_as_it_was(text in "[a-zA-Z{}_ü ]*(\\$\\{[A-Z_]{1,5}\\}[a-z ]{0,3}){0,4}") {
            let escaped = text.replace("${", "$${");
            let (out, unknown) = substitute(&escaped, &values());
            prop_assert_eq!(out, text);
            prop_assert!(unknown.is_empty());
        }
    }
}
