//! A caller's token becomes narrow tokens for the services that are called on the caller's behalf
//! (RFC 8693).
//!
//! Several targets are asked for in one request, by repeating `audience`. The answer to one is the
//! standard one. The answer to several has the standard members for the first audience and beside
//! them `tokens`, an object that holds for each audience its own token; none is for two.

use std::collections::HashMap;

use crate::{
    authenticate::Caller,
    provider::{Issued, Provider, TokenRefused},
};

/// The grant of RFC 8693 §2.1.
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What is asked for.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

impl Provider {
    /// Tokens that speak for the caller, one for each target. All or none are issued.
    ///
    /// # Errors
    /// [`TokenRefused`], also where the answer lacks one of the targets.
    pub async fn exchange(
        &self,
        caller: &Caller,
        targets: &[&str],
    ) -> Result<HashMap<String, Issued>, TokenRefused> {
        let (token, kind) = caller.subject_token();
        let mut form = vec![
            ("grant_type", GRANT),
            ("subject_token", token.expose()),
            ("subject_token_type", kind),
            ("requested_token_type", ACCESS_TOKEN),
        ];
        form.extend(targets.iter().map(|target| ("audience", *target)));
        let answer = self.ask(&form).await?;
        if let [only] = targets {
            return Ok(HashMap::from([((*only).to_owned(), answer.first.accept()?)]));
        }
        // One token for several audiences would let each of them pass for the caller at the others.
        let mut tokens = answer.tokens.ok_or_else(|| {
            TokenRefused::Answer("it has no `tokens`, though several audiences were asked".into())
        })?;
        let narrow = |target: &&str| {
            let missing = || TokenRefused::Answer(format!("it has no token for `{target}`"));
            let issued = tokens.remove(*target).ok_or_else(missing)?;
            Ok(((*target).to_owned(), issued.accept()?))
        };
        targets.iter().map(narrow).collect()
    }
}
