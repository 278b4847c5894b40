//! The parameter `claims` (OpenID Connect Core §5.5): single claims about the person, beside those
//! that a scope stands for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tegata_identity::User;
use tegata_token::{Scope, strict};

use crate::{client::Client, error::OAuthError, params::Params};

/// The longest `claims`: requests wait in the store for people.
const LONGEST: usize = 4096;
/// How deeply it is nested: a member, a claim, `values`.
const DEEPEST: u8 = 4;

/// The claims that can be asked for alone, each with the scope value that stands for it. Whoever may
/// not ask for the one is not given the other.
const KNOWN: [(&str, &str); 20] = [
    ("preferred_username", "profile"),
    ("name", "profile"),
    ("given_name", "profile"),
    ("family_name", "profile"),
    ("middle_name", "profile"),
    ("nickname", "profile"),
    ("profile", "profile"),
    ("picture", "profile"),
    ("website", "profile"),
    ("gender", "profile"),
    ("birthdate", "profile"),
    ("zoneinfo", "profile"),
    ("locale", "profile"),
    ("updated_at", "profile"),
    ("email", "email"),
    ("email_verified", "email"),
    ("phone_number", "phone"),
    ("phone_number_verified", "phone"),
    ("address", "address"),
    ("roles", "roles"),
];

/// The names of claims about people, as the metadata lists them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter().map(|(name, _)| name)
}

/// What a request asks for in `claims`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimsParameter {
    /// The claims themselves.
    pub asked: AskedClaims,
    /// The levels of which one must have been reached, where one must.
    pub essential_acr: Vec<String>,
    /// The levels of which one is wished for.
    pub acr: Vec<String>,
    /// Whom the answer must be about.
    pub subject: Option<String>,
}

/// The claims that were asked for alone, by where they are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AskedClaims {
    /// From the userinfo endpoint.
    pub userinfo: Vec<String>,
    /// In the ID token.
    pub id_token: Vec<String>,
}

impl AskedClaims {
    /// The scope values that stand for these claims: what a person is asked for.
    pub(super) fn implied(&self) -> impl Iterator<Item = &str> {
        KNOWN.into_iter().filter(|(name, _)| self.names(name)).map(|(_, scope)| scope)
    }

    fn names(&self, claim: &str) -> bool {
        self.userinfo.iter().chain(&self.id_token).any(|name| name == claim)
    }
}

/// What is said of one claim.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wish {
    essential: bool,
    value: Option<Value>,
    values: Option<Vec<Value>>,
}

impl Wish {
    fn texts(self) -> Result<Vec<String>, OAuthError> {
        let all = self.value.into_iter().chain(self.values.unwrap_or_default());
        all.map(|value| match value {
            Value::String(text) => Ok(text),
            _ => Err(OAuthError::request("a value in claims is not a string")),
        })
        .collect()
    }
}

impl ClaimsParameter {
    /// Reads `claims`. What is not known is passed over (§5.5); claims that the client's scope does
    /// not cover are, too.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn read(params: &Params, client: &Client) -> Result<Self, OAuthError> {
        let Some(text) = params.get("claims") else { return Ok(Self::default()) };
        if text.len() > LONGEST {
            return Err(OAuthError::request("claims is longer than 4096 bytes"));
        }
        let malformed = OAuthError::request("claims is not a JSON object as OpenID Connect has it");
        let mut all = strict::object(text, DEEPEST).map_err(|_| malformed.clone())?;
        let mut read = Self::default();
        for (member, names) in
            [("userinfo", &mut read.asked.userinfo), ("id_token", &mut read.asked.id_token)]
        {
            let Some(wanted) = all.remove(member) else { continue };
            let Value::Object(wanted) = wanted else { return Err(malformed) };
            for (name, wish) in wanted {
                let wish: Wish = match wish {
                    Value::Null => Wish::default(),
                    Value::Object(_) => {
                        serde_json::from_value(wish).map_err(|_| malformed.clone())?
                    }
                    _ => return Err(malformed),
                };
                let may = |scope: &str| client.scope.contains(scope);
                if KNOWN.iter().any(|(known, scope)| *known == name && may(scope)) {
                    names.push(name);
                    continue;
                }
                match (name.as_str(), member) {
                    ("sub", _) => {
                        for subject in wish.texts()? {
                            join_subject(&mut read.subject, subject)?;
                        }
                    }
                    // §5.5.1.1: only the ID token tells the client how somebody was authenticated.
                    ("acr", "id_token") if wish.essential => read.essential_acr = wish.texts()?,
                    ("acr", "id_token") => read.acr = wish.texts()?,
                    // `auth_time` always stands in the ID token.
                    _ => {}
                }
            }
        }
        Ok(read)
    }
}

/// Makes a request be about this person, and nobody else.
///
/// # Errors
/// `invalid_request` where it is about somebody else already.
pub(super) fn join_subject(subject: &mut Option<String>, other: String) -> Result<(), OAuthError> {
    match subject {
        Some(known) if *known != other => {
            Err(OAuthError::request("the request is about two different people"))
        }
        _ => {
            *subject = Some(other);
            Ok(())
        }
    }
}

/// The claims of these names about a person. What is not known of them is left out.
pub(crate) fn about(user: &User, names: &[String]) -> Map<String, Value> {
    let known = names.iter().filter_map(|name| Some((name.clone(), claim(user, name)?)));
    known.collect()
}

/// Whether a scope stands for a claim about a person.
pub(crate) fn is_within(name: &str, scope: &Scope) -> bool {
    KNOWN.into_iter().any(|(known, value)| known == name && scope.contains(value))
}

/// Whether a claim is one that `profile` has come to stand for. To whom it stood for less, it is not
/// told by that.
pub(crate) fn is_newer(name: &str) -> bool {
    let older = ["preferred_username", "locale"];
    !older.contains(&name) && KNOWN.contains(&(name, "profile"))
}

/// The claims about a person that a scope stands for.
pub(crate) fn in_scope(user: &User, scope: &Scope) -> Map<String, Value> {
    let known = KNOWN.into_iter().filter(|(_, value)| scope.contains(value));
    known.filter_map(|(name, _)| Some((name.to_owned(), claim(user, name)?))).collect()
}

fn claim(user: &User, name: &str) -> Option<Value> {
    match name {
        "preferred_username" => Some(user.username.as_str().into()),
        "locale" => user.locale.as_ref().map(|locale| locale.as_str().into()),
        "email" => user.email.as_ref().map(|email| email.as_str().into()),
        "email_verified" => user.email.as_ref().map(|_| user.email_verified.into()),
        "roles" => Some(user.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().into()),
        "updated_at" => user.updated.map(|at| at.secs().into()),
        // Each is checked when it is set.
        _ => user.profile.claim(name),
    }
}
