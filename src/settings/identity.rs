//! Settings of signing in with an account from elsewhere: providers by name, and any number of OpenID Connect issuers.
//!
//! A provider is there when its client id is set; then its secret has to be as well. Every address can be pointed elsewhere.

use super::{Reader, SettingsError, bad};
use crate::identity::{Fresh, Kind, Setup};
use crate::model::secrets::Secret;

/// Most issuers of one's own.
const ISSUERS_MAX: usize = 20;
/// Longest key of one.
const KEY_MAX: usize = 30;
/// Words that addresses below `/auth` begin with.
const RESERVED: [&str; 16] = [
    "callback",
    "confirm",
    "discord",
    "forgot",
    "github",
    "google",
    "login",
    "logout",
    "microsoft",
    "newcomer",
    "passkey",
    "passkeys",
    "register",
    "reset",
    "second",
    "verify",
];

pub(super) fn read(reader: &mut Reader) -> Result<Vec<Setup>, SettingsError> {
    let mut setups = Vec::new();
    let issuer = url(reader, "GOOGLE_ISSUER", "https://accounts.google.com")?;
    setups.extend(setup(reader, "google", "Google", "GOOGLE", Kind::OpenId { issuer, fresh: Fresh::Choose })?);
    let issuer = url(reader, "MICROSOFT_ISSUER", "https://login.microsoftonline.com/common/v2.0")?;
    setups.extend(setup(reader, "microsoft", "Microsoft", "MICROSOFT", Kind::Microsoft { issuer })?);
    let site = url(reader, "DISCORD_URL", "https://discord.com")?;
    let api = url(reader, "DISCORD_API_BASE", "https://discord.com/api")?;
    setups.extend(setup(reader, "discord", "Discord", "DISCORD", Kind::Discord { site, api })?);
    let site = url(reader, "GITHUB_URL", "https://github.com")?;
    let api = url(reader, "GITHUB_API_BASE", "https://api.github.com")?;
    setups.extend(setup(reader, "github", "GitHub", "GITHUB", Kind::GitHub { site, api })?);
    setups.extend(issuers(reader)?);
    Ok(setups)
}

fn issuers(reader: &mut Reader) -> Result<Vec<Setup>, SettingsError> {
    let list = reader.text("OIDC_PROVIDERS", "");
    let keys: Vec<&str> = list.split(',').map(str::trim).filter(|key| !key.is_empty()).collect();
    let once = keys.iter().all(|key| keys.iter().filter(|other| *other == key).count() == 1);
    if keys.len() > ISSUERS_MAX || !once || !keys.iter().all(|key| is_key(key)) {
        let expected = "words of small letters, digits and hyphens with commas between them, each once, such as club,school";
        return Err(bad("OIDC_PROVIDERS", &list, expected));
    }
    let read = |key: &&str| {
        let prefix = format!("OIDC_{}", key.to_uppercase().replace('-', "_"));
        let name = reader.text(&format!("{prefix}_NAME"), key);
        let issuer = url(reader, &format!("{prefix}_ISSUER"), "")?;
        let kind = Kind::OpenId { issuer, fresh: Fresh::Login };
        let missing = format!("{prefix}_CLIENT_ID");
        setup(reader, key, &name, &prefix, kind)?.ok_or_else(|| bad(&missing, "", "set, because OIDC_PROVIDERS names it"))
    };
    keys.iter().map(read).collect()
}

fn is_key(key: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    key.len() <= KEY_MAX && key.starts_with(|c: char| c.is_ascii_lowercase()) && key.bytes().all(fits) && !RESERVED.contains(&key)
}

fn setup(reader: &mut Reader, key: &str, name: &str, prefix: &str, kind: Kind) -> Result<Option<Setup>, SettingsError> {
    let client_id = reader.text(&format!("{prefix}_CLIENT_ID"), "");
    let secret_name = format!("{prefix}_CLIENT_SECRET");
    let client_secret = reader.text(&secret_name, "");
    match (client_id.is_empty(), client_secret.is_empty()) {
        (true, true) => Ok(None),
        (false, true) => Err(bad(&secret_name, "", &format!("set, because {prefix}_CLIENT_ID is"))),
        (true, false) => Err(bad(&format!("{prefix}_CLIENT_ID"), "", &format!("set, because {secret_name} is"))),
        (false, false) => {
            Ok(Some(Setup { key: key.to_owned(), name: name.to_owned(), client_id, client_secret: Secret::new(client_secret), kind }))
        }
    }
}

fn url(reader: &mut Reader, name: &str, default: &str) -> Result<String, SettingsError> {
    let value = reader.text(name, default).trim_end_matches('/').to_owned();
    let fits = url::Url::parse(&value).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if fits { Ok(value) } else { Err(bad(name, &value, "an address such as https://login.example.org")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Settings;
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(Path::new("/nonexistent/roost.toml"), pairs)
    }

    const CLUB: [(&str, &str); 5] = [
        ("OIDC_PROVIDERS", "club"),
        ("OIDC_CLUB_NAME", "The club"),
        ("OIDC_CLUB_ISSUER", "https://login.example.org/"),
        ("OIDC_CLUB_CLIENT_ID", "roost"),
        ("OIDC_CLUB_CLIENT_SECRET", "sesame"),
    ];

    #[test]
    fn providers_are_there_when_they_are_set_up_and_no_secret_is_shown() {
        assert!(read(&[]).unwrap().providers.is_empty());
        let all: Vec<_> = CLUB.into_iter().chain([("GITHUB_CLIENT_ID", "a"), ("GITHUB_CLIENT_SECRET", "opensesame")]).collect();
        let settings = read(&all).unwrap();
        let keys: Vec<_> = settings.providers.iter().map(|setup| (setup.key.as_str(), setup.name.as_str())).collect();
        assert_eq!(keys, [("github", "GitHub"), ("club", "The club")]);
        let issuer = "https://login.example.org".to_owned();
        assert_eq!(settings.providers[1].kind, Kind::OpenId { issuer, fresh: Fresh::Login });
        assert!(!format!("{settings:?}").contains("sesame"));
    }

    #[test]
    fn half_a_provider_is_refused_and_named() {
        for (left_out, named) in [
            ("OIDC_CLUB_ISSUER", "OIDC_CLUB_ISSUER"),
            ("OIDC_CLUB_CLIENT_ID", "OIDC_CLUB_CLIENT_ID"),
            ("OIDC_CLUB_CLIENT_SECRET", "OIDC_CLUB_CLIENT_SECRET"),
        ] {
            let pairs: Vec<_> = CLUB.into_iter().filter(|(name, _)| *name != left_out).collect();
            let error = read(&pairs).unwrap_err().to_string();
            assert!(error.starts_with(named) && !error.contains("sesame"), "{error}");
        }
        for keys in ["Club", "login", "a,a", "../x", "google"] {
            let error = read(&[("OIDC_PROVIDERS", keys)]).unwrap_err().to_string();
            assert!(error.starts_with("OIDC_PROVIDERS"), "{error}");
        }
        let error = read(&[("DISCORD_CLIENT_ID", "1")]).unwrap_err().to_string();
        assert!(error.starts_with("DISCORD_CLIENT_SECRET"), "{error}");
    }
}
