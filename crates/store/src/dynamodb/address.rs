//! The address of a table of DynamoDB, as operators write it.

use super::DynamoRefused;
use crate::url::{decoded, is_here};

/// What an address looks like.
pub(super) const FORM: &str = "dynamodb://TABLE?region=REGION";

/// A table, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) table: String,
    pub(super) region: String,
    /// Another place than Amazon's own for the region.
    pub(super) endpoint: Option<Endpoint>,
}

/// Where a table is, if not at Amazon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: String,
    /// Whether it is this machine, so that nobody pays for a table that is made there.
    pub(super) here: bool,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`DynamoRefused::Address`]. What it says holds nothing of what may be a secret.
    pub fn read(url: &str) -> Result<Self, DynamoRefused> {
        let rest = url
            .strip_prefix("dynamodb://")
            .ok_or_else(|| refused("it does not begin with `dynamodb://`"))?;
        let (table, query) = rest.split_once('?').unwrap_or((rest, ""));
        // Before anything of it is repeated.
        if rest.contains('@') {
            return Err(refused(
                "it holds an `@`: credentials are not written into it, but taken from the \
                 environment of AWS (`AWS_ACCESS_KEY_ID` and the like, or a role)",
            ));
        }
        let table = table.strip_suffix('/').unwrap_or(table);
        if !is_table(table) {
            return Err(refused(
                "what follows `dynamodb://` is no name of a table: 3 to 255 of `a-z`, `A-Z`, \
                 `0-9`, `.`, `-` and `_`",
            ));
        }
        let (mut region, mut endpoint, mut plain) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "region" => &mut region,
                "endpoint" => &mut endpoint,
                "danger_plaintext" => &mut plain,
                _ => {
                    return Err(refused(
                        "after `?` it may say `region=`, `endpoint=` and `danger_plaintext=`, \
                         and nothing else",
                    ));
                }
            };
            if place.replace(decoded(value).map_err(refused)?).is_some() {
                return Err(refused(&format!("it says `{name}` twice")));
            }
        }
        let plain = match plain.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(refused("`danger_plaintext` is neither `true` nor `false`")),
        };
        let region = region.ok_or_else(|| refused("it does not say `region=`"))?;
        if !is_region(&region) {
            return Err(refused(
                "`region` is no name of a region: letters, digits and `-`, as in `eu-central-1`",
            ));
        }
        let endpoint = endpoint.map(|url| self::endpoint(url, plain)).transpose()?;
        Ok(Self { table: table.to_owned(), region, endpoint })
    }

    /// Whether the table is on this machine.
    pub(super) fn is_here(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.here)
    }

    /// The commands that make the table.
    pub(super) fn made_by(&self) -> String {
        let endpoint = self.endpoint.as_ref().map(|it| format!(" --endpoint-url {}", it.url));
        let place = format!(
            "--region {}{} --table-name {}",
            self.region,
            endpoint.unwrap_or_default(),
            self.table
        );
        format!(
            "aws dynamodb create-table {place} --billing-mode PAY_PER_REQUEST \
             --attribute-definitions AttributeName=key,AttributeType=S \
             --key-schema AttributeName=key,KeyType=HASH` and `aws dynamodb \
             update-time-to-live {place} --time-to-live-specification \
             Enabled=true,AttributeName=expires"
        )
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` in `{}`", self.table, self.region)?;
        match &self.endpoint {
            Some(endpoint) => write!(f, " at `{}`", endpoint.url),
            None => Ok(()),
        }
    }
}

fn is_table(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (3..=255).contains(&name.len()) && name.bytes().all(allowed)
}

/// It becomes a part of the name of a host.
fn is_region(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn endpoint(url: String, plain: bool) -> Result<Endpoint, DynamoRefused> {
    let (scheme, rest) = url
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .ok_or_else(|| refused("`endpoint` begins with neither `https://` nor `http://`"))?;
    let sound = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'/')
    };
    if !rest.bytes().all(sound) {
        return Err(refused("`endpoint` is more than `https://HOST:PORT`"));
    }
    let place = rest.split('/').next().unwrap_or_default();
    let bracketed = place.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(refused("`endpoint` names no host"));
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(refused("the port of `endpoint` is not a number up to 65535"));
    }
    let here = is_here(host);
    if scheme == "http" && !here && !plain {
        return Err(refused(
            "`endpoint` is another machine, and `http://` would show what is said to whoever \
             listens; write `https://`, or add `danger_plaintext=true`",
        ));
    }
    Ok(Endpoint { here, url })
}

fn refused(detail: &str) -> DynamoRefused {
    DynamoRefused::Address { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        let plain = Address::read("dynamodb://tegata-revocations?region=eu-central-1").unwrap();
        assert_eq!(
            (plain.table.as_str(), plain.region.as_str()),
            ("tegata-revocations", "eu-central-1")
        );
        assert!(plain.endpoint.is_none() && !plain.is_here());
        let url = "dynamodb://t.1/?endpoint=http%3A%2F%2F127.0.0.1%3A8000&region=local";
        let here = Address::read(url).unwrap();
        assert!(here.is_here());
        assert_eq!(here.to_string(), "`t.1` in `local` at `http://127.0.0.1:8000`");
        assert!(here.made_by().contains("--endpoint-url http://127.0.0.1:8000 --table-name t.1"));
        let six = Address::read("dynamodb://abc?region=r&endpoint=http://[::1]:8000/x").unwrap();
        assert!(six.is_here());
        let far = "dynamodb://abc?region=r&endpoint=http://db.internal:8000&danger_plaintext=true";
        assert!(!Address::read(far).unwrap().is_here());
        let sound = "dynamodb://abc?region=r&endpoint=https://db.internal";
        assert!(!Address::read(sound).unwrap().is_here());
    }

    #[test]
    fn says_what_is_wrong_and_repeats_no_secret() {
        for (url, part) in [
            ("secret", "does not begin"),
            ("redis://secret", "does not begin"),
            ("dynamodb://AKIA:secret@abc?region=r", "holds an `@`"),
            ("dynamodb://?region=r", "no name of a table"),
            ("dynamodb://a?region=r", "no name of a table"),
            ("dynamodb://a/secret/b?region=r", "no name of a table"),
            ("dynamodb://abc", "does not say `region=`"),
            ("dynamodb://abc?region=", "no name of a region"),
            ("dynamodb://abc?region=evil.example/", "no name of a region"),
            ("dynamodb://abc?region=r&region=s", "`region` twice"),
            ("dynamodb://abc?region=r&secret=secret", "nothing else"),
            ("dynamodb://abc?region=%zz", "hexadecimal"),
            ("dynamodb://abc?region=r&endpoint=secret", "neither `https://`"),
            ("dynamodb://abc?region=r&endpoint=ftp://secret", "neither `https://`"),
            ("dynamodb://abc?region=r&endpoint=https://", "names no host"),
            ("dynamodb://abc?region=r&endpoint=https://a:x", "port of `endpoint`"),
            ("dynamodb://abc?region=r&endpoint=https://a%3Fsecret", "more than"),
            ("dynamodb://abc?region=r&endpoint=http://10.0.0.1", "`danger_plaintext=true`"),
            ("dynamodb://abc?region=r&endpoint=http://127.0.0.1.evil.example", "danger_plaintext"),
            ("dynamodb://abc?region=r&danger_plaintext=yes", "neither `true`"),
        ] {
            let said = Address::read(url).unwrap_err().to_string();
            assert!(said.contains(part) && !said.contains("secret"), "{url}: {said}");
        }
    }
}
