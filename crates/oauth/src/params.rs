//! The parameters of a request, from a form or a query.

use crate::error::OAuthError;

/// Parameters that may stand several times (RFC 8707 §2, RFC 8693 §2.1). All others may not
/// (RFC 6749 §3.1, §3.2).
const SEVERAL: [&str; 2] = ["resource", "audience"];

/// The parameters of a request. Those without a value count as not sent (RFC 6749 §3.1).
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Takes decoded parameters.
    ///
    /// # Errors
    /// `invalid_request` where one stands twice, or has control characters.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, OAuthError> {
        let mut kept: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            if value.is_empty() {
                continue;
            }
            if value.chars().any(|c| c.is_control()) {
                return Err(OAuthError::request("a parameter has control characters"));
            }
            let known = kept.iter().any(|(other, _)| *other == name);
            if known && !SEVERAL.contains(&name.as_str()) {
                return Err(OAuthError::request("a parameter stands more than once"));
            }
            kept.push((name, value));
        }
        Ok(Self(kept))
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// `invalid_request` with this description.
    pub fn require(&self, name: &str, missing: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or(OAuthError::request(missing))
    }
}

impl std::fmt::Debug for Params {
    /// Names only: values are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Result<Params, OAuthError> {
        Params::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn refuses_a_parameter_that_stands_twice_unless_it_may() {
        assert!(params(&[("code", "a"), ("code", "a")]).is_err());
        let several = params(&[("audience", "a"), ("audience", "b")]).unwrap();
        assert_eq!(several.all("audience").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn an_empty_value_counts_as_not_sent() {
        let params = params(&[("code", ""), ("code", "a")]).unwrap();
        assert_eq!(params.get("code"), Some("a"));
    }

    #[test]
    fn refuses_control_characters_and_prints_no_value() {
        assert!(params(&[("state", "a\r\nb")]).is_err());
        assert!(params(&[("state", "a\0")]).is_err());
        let shown = format!("{:?}", params(&[("client_secret", "hunter2")]).unwrap());
        assert!(!shown.contains("hunter2"));
    }
}
