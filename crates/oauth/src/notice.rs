//! What is taken back, for verifiers that follow it themselves.

use std::{collections::BTreeMap, time::Duration};

use tegata_core::{SinceBoot, StoreError};
use tegata_token::{Algorithm, Notice};

use crate::{
    client::Client,
    error::{Code, OAuthError, Refused},
    issue::unsigned,
    params::Params,
    provider::Provider,
};

/// The longest that a question waits for news.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How many processes a verifier may name that have told it something.
const MOST_TOLD: usize = 32;

/// What a verifier asks.
#[derive(Debug, Clone)]
pub struct Question {
    /// What it has been told, by which process.
    pub told: BTreeMap<String, u64>,
    /// How long it is content to wait for news.
    pub wait: Duration,
    nonce: String,
}

impl Question {
    /// Reads `told` (`PROCESS.NUMBER`, with spaces in between), `nonce` and `wait_ms`.
    ///
    /// # Errors
    /// `invalid_request`, which says what is wrong.
    pub fn of(params: &Params) -> Result<Self, OAuthError> {
        let nonce = params.require("nonce", "`nonce` is missing: 16 to 64 characters by chance")?;
        if !(16..=64).contains(&nonce.len()) || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OAuthError::request("`nonce` is not 16 to 64 visible characters"));
        }
        let wait = params
            .get("wait_ms")
            .unwrap_or("0")
            .parse()
            .map_err(|_| OAuthError::request("`wait_ms` is not a number of milliseconds"))?;
        let told = |pair: &str| {
            let (instance, news) = pair.split_once('.')?;
            Some((instance.to_owned(), news.parse().ok()?))
        };
        let pairs = params.get("told").unwrap_or_default().split_ascii_whitespace();
        let told: Option<BTreeMap<String, u64>> = pairs.take(MOST_TOLD).map(told).collect();
        let told = told.ok_or(OAuthError::request("`told` is not a list of `PROCESS.NUMBER`"))?;
        let wait = Duration::from_millis(wait).min(LONGEST_WAIT);
        Ok(Self { told, wait, nonce: nonce.to_owned() })
    }
}

impl Provider {
    /// Whether a client may follow what is taken back: who may introspect every token may.
    ///
    /// # Errors
    /// `unauthorized_client`.
    pub fn check_may_follow(&self, client: &Client) -> Result<(), OAuthError> {
        if client.is_pairwise() {
            let description = "a pairwise client may not follow what is taken back, which names people by \
                               their ids";
            return Err(OAuthError::new(Code::UnauthorizedClient, description));
        }
        if client.may_introspect {
            return Ok(());
        }
        let description = "the client may not follow what is taken back: `may_introspect` lets it";
        Err(OAuthError::new(Code::UnauthorizedClient, description))
    }

    /// The answer to a question that was asked at `began`, signed.
    ///
    /// # Errors
    /// This node knows nothing yet; there is no key.
    pub fn notice(&self, question: &Question, began: SinceBoot) -> Result<String, Refused> {
        let view = self.revoker().view();
        let waited = self.node().elapsed(began);
        let misused = |detail: String| StoreError::Misused { detail };
        let known = view.notice(self.realm(), &question.told);
        let known = known.ok_or_else(|| misused("the log has not been read".to_owned()))?;
        let notice = Notice {
            iss: self.issuer().to_owned(),
            nonce: question.nonce.clone(),
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            ..known
        };
        let signer = self.keys().now().signer(Algorithm::Es256);
        let key = signer.ok_or_else(|| misused("there is no ES256 key for notices".to_owned()))?;
        Ok(notice.sign(&key).map_err(|error| unsigned(&error))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Question, OAuthError> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Question::of(&Params::new(owned).unwrap())
    }

    const NONCE: (&str, &str) = ("nonce", "0123456789abcdef");

    #[test]
    fn a_question_says_what_was_told_and_how_long_it_waits() {
        let first = read(&[NONCE]).unwrap();
        assert!(first.told.is_empty() && first.wait.is_zero());
        let next = read(&[NONCE, ("told", "a.7 b.12"), ("wait_ms", "900")]).unwrap();
        let told = BTreeMap::from([("a".to_owned(), 7), ("b".to_owned(), 12)]);
        assert_eq!((next.told, next.wait), (told, Duration::from_millis(900)));
        let long = read(&[NONCE, ("wait_ms", "86400000")]).unwrap();
        assert_eq!(long.wait, LONGEST_WAIT);
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let long = "a".repeat(65);
        for bad in [
            &[][..],
            &[("nonce", "short")],
            &[("nonce", &long)],
            &[("nonce", "0123456789 abcdef")],
            &[NONCE, ("wait_ms", "soon")],
            &[NONCE, ("wait_ms", "-1")],
            &[NONCE, ("told", "a")],
            &[NONCE, ("told", "a.b")],
            &[NONCE, ("told", "a.1 b")],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let many: Vec<_> = (0..1000).map(|n| format!("p{n}.1")).collect();
        assert_eq!(read(&[NONCE, ("told", &many.join(" "))]).unwrap().told.len(), MOST_TOLD);
    }
}
