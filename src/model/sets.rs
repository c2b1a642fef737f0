//! Small sets of named things that people choose among: what a token may do, what a guest of a server may do.
//!
//! Stored and sent as the names with commas between them, in the order in which they are declared.

/// Declares the things and the set of them. Each thing has its name as stored and one sentence for the form.
macro_rules! named_set {
    (
        $(#[$doc:meta])* $name:ident, $(#[$set_doc:meta])* $set:ident {
            $($(#[$thing_doc:meta])* $thing:ident: $word:literal, $label:literal, $help:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$thing_doc])* $thing,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$thing,)*];

            /// As stored and sent.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$thing => $word,)*
                }
            }

            /// For a form: a word or two.
            pub fn label(self) -> &'static str {
                match self {
                    $($name::$thing => $label,)*
                }
            }

            /// For a form: what it covers.
            pub fn help(self) -> &'static str {
                match self {
                    $($name::$thing => $help,)*
                }
            }

            /// The one of this name.
            pub fn parse(text: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|thing| thing.as_str() == text)
            }
        }

        $(#[$set_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $set(u32);

        impl $set {
            /// None of them.
            pub const NONE: $set = $set(0);

            /// Every one of them.
            pub fn all() -> $set {
                $name::ALL.iter().copied().collect()
            }

            /// Is it in there?
            pub fn has(self, thing: $name) -> bool {
                self.0 & (1 << thing as u32) != 0
            }

            /// With one more.
            #[must_use]
            pub fn with(self, thing: $name) -> $set {
                $set(self.0 | (1 << thing as u32))
            }

            /// Nothing in there?
            pub fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// What is in there, in the order of their declaration.
            pub fn iter(self) -> impl Iterator<Item = $name> {
                $name::ALL.iter().copied().filter(move |thing| self.has(*thing))
            }

            /// Names with commas between them, as [`std::fmt::Display`] writes them; none where one of them is unknown.
            pub fn parse(text: &str) -> Option<$set> {
                text.split(',').map(str::trim).filter(|word| !word.is_empty()).map($name::parse).collect()
            }
        }

        impl FromIterator<$name> for $set {
            fn from_iter<I: IntoIterator<Item = $name>>(things: I) -> $set {
                things.into_iter().fold($set::NONE, $set::with)
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                for (n, thing) in self.iter().enumerate() {
                    let comma = if n == 0 { "" } else { "," };
                    write!(f, "{comma}{}", thing.as_str())?;
                }
                Ok(())
            }
        }
    };
}

pub(super) use named_set;
