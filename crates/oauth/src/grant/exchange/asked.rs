//! What an exchange asks for, as its parameters say.

use tegata_token::{Scope, jws, transaction::Context};

use crate::{
    error::{Code, OAuthError},
    params::Params,
};

/// The names of kinds of token (RFC 8693 §3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub(crate) const TRANSACTION_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";

/// What is presented, and what is wanted for it.
#[derive(Debug, Clone)]
pub struct Asked<'p> {
    /// The token that says for whom.
    pub subject: &'p str,
    /// Whether that is a transaction token, which is to be replaced.
    pub replaces: bool,
    /// The token that says who acts.
    pub actor: Option<&'p str>,
    /// What is wanted.
    pub wanted: Wanted,
    /// No more than this.
    pub scope: Option<Scope>,
}

/// What is wanted for a token.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Access tokens, under the name that they were asked for by.
    AccessTokens(&'static str),
    /// A transaction token, with what is to stand in `tctx` and `rctx`.
    Transaction(Option<Context>, Option<Context>),
}

impl<'p> Asked<'p> {
    /// Reads the parameters. What is present but not understood is an error, never "not given".
    ///
    /// # Errors
    /// `invalid_request`, `invalid_scope`.
    pub fn read(params: &'p Params) -> Result<Self, OAuthError> {
        let kind = params.require("subject_token_type", "subject_token_type is missing")?;
        if ![ACCESS_TOKEN, JWT, TRANSACTION_TOKEN].contains(&kind) {
            return Err(OAuthError::request(
                "subject_token_type is not supported: it is that of an access token, also as a JWT, \
                 or of a transaction token",
            ));
        }
        let replaces = kind == TRANSACTION_TOKEN;
        let wanted = wanted(params, replaces)?;
        let subject = params.require("subject_token", "subject_token is missing")?;
        let actor = actor(params)?;
        for token in std::iter::once(subject).chain(actor) {
            if token.len() > jws::LONGEST {
                let description = "a token is longer than 8192 bytes, as none of ours is";
                return Err(OAuthError::request(description));
            }
        }
        if actor == Some(subject) {
            return Err(OAuthError::request("actor_token is the subject_token"));
        }
        let scope = params.get("scope").map(Scope::new).transpose();
        let scope = scope.map_err(|_| OAuthError::new(Code::InvalidScope, "scope is malformed"))?;
        Ok(Self { subject, replaces, actor, wanted, scope })
    }
}

/// RFC 8693 §2.1: either both parameters of an actor, or none.
fn actor(params: &Params) -> Result<Option<&str>, OAuthError> {
    match (params.get("actor_token"), params.get("actor_token_type")) {
        (None, None) => Ok(None),
        (Some(token), Some(ACCESS_TOKEN | JWT)) => Ok(Some(token)),
        (Some(_), Some(_)) => Err(OAuthError::request(
            "actor_token_type is not supported: it is that of an access token, also as a JWT",
        )),
        (Some(_), None) => Err(OAuthError::request("actor_token_type is missing")),
        (None, Some(_)) => Err(OAuthError::request("actor_token is missing")),
    }
}

fn wanted(params: &Params, replaces: bool) -> Result<Wanted, OAuthError> {
    let (details, context) = (params.get("request_details"), params.get("request_context"));
    match params.get("requested_token_type").unwrap_or(ACCESS_TOKEN) {
        _ if replaces && (details.is_some() || context.is_some()) => Err(OAuthError::request(
            "request_details and request_context are those of the transaction that goes on: they \
             cannot be given again",
        )),
        TRANSACTION_TOKEN => Ok(Wanted::Transaction(read(details)?, read(context)?)),
        _ if replaces => Err(OAuthError::request(
            "for a transaction token there is a transaction token alone: requested_token_type must \
             say so",
        )),
        _ if details.is_some() || context.is_some() => Err(OAuthError::request(
            "request_details and request_context are for transaction tokens alone",
        )),
        ACCESS_TOKEN => Ok(Wanted::AccessTokens(ACCESS_TOKEN)),
        JWT => Ok(Wanted::AccessTokens(JWT)),
        _ => Err(OAuthError::request(
            "requested_token_type is not supported: it is that of an access token, also as a JWT, \
             or of a transaction token",
        )),
    }
}

fn read(context: Option<&str>) -> Result<Option<Context>, OAuthError> {
    let read = context.map(tegata_token::Transaction::context).transpose();
    read.map_err(|_| {
        OAuthError::request(
            "request_details and request_context are JSON objects of at most 2048 bytes, nested at \
             most 8 deep, without a member that stands twice",
        )
    })
}
