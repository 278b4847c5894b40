//! Sending one signal.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use tegata_oauth::signals::{Endpoint, stream::Authorization};
use tegata_sdk::Transport;

/// Sends signals. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sender(Transport);

/// What became of a signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It arrived.
    Accepted,
    /// Its receiver cannot use it, and says so with this word.
    Refused(String),
    /// It did not arrive, or nobody knows. Without the path of the address, which may hold a secret.
    Failed(String),
}

impl Sender {
    pub(crate) const fn new(transport: Transport) -> Self {
        Self(transport)
    }

    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        authorization: Option<&Authorization>,
        set: &str,
    ) -> Sent {
        let mut request = Request::post(endpoint.as_str())
            .header(header::CONTENT_TYPE, "application/secevent+jwt")
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = authorization {
            let Ok(mut value) = HeaderValue::from_str(authorization.expose()) else {
                return Sent::Failed(
                    "what is to be shown there is no value of a header".to_owned(),
                );
            };
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let Ok(request) = request.body(Bytes::from(set.to_owned())) else {
            return Sent::Failed("its address is none that can be called".to_owned());
        };
        match self.0.send(request).await {
            // RFC 8935 §2.2 says 202; that it arrived is what counts.
            Ok(answer) if answer.status().is_success() => Sent::Accepted,
            Ok(answer) if answer.status() == StatusCode::BAD_REQUEST => {
                read(answer.body()).map_or_else(
                    || Sent::Failed("it answers 400, without a code".to_owned()),
                    |refusal| match refusal.err.as_str() {
                        // Not the signal is wrong, but who we are to it, or what it knows of our keys
                        // (RFC 8935 §2.4).
                        "authentication_failed"
                        | "access_denied"
                        | "invalid_key"
                        | "invalid_issuer"
                        | "invalid_audience" => {
                            Sent::Failed(format!("it answers `{}`", refusal.err))
                        }
                        _ => Sent::Refused(refusal.err),
                    },
                )
            }
            // A redirect is an answer like any other: nobody is led elsewhere.
            Ok(answer) => Sent::Failed(format!("it answers {}", answer.status())),
            Err(error) => Sent::Failed(error.to_string()),
        }
    }
}

/// RFC 8935 §2.3.
#[derive(Deserialize)]
struct Refusal {
    err: String,
}

fn read(body: &[u8]) -> Option<Refusal> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    Some(Refusal { err: refusal.err.chars().take(100).collect() })
}
