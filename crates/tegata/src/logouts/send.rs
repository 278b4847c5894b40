//! Sending one logout token (OpenID Connect Back-Channel Logout 1.0 §2.5, §2.8).

use bytes::Bytes;
use http::{Request, StatusCode, header};
use tegata_oauth::backchannel::{Attempt, LogoutMessage};
use tegata_sdk::Transport;

/// Sends logout tokens. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sender(Transport);

impl Sender {
    pub(super) const fn new(transport: Transport) -> Self {
        Self(transport)
    }

    pub(super) async fn send(&self, message: &LogoutMessage) -> Attempt {
        // The letters of a token need no escapes in a form.
        let body = Bytes::from(format!("logout_token={}", message.token));
        let request = Request::post(&message.address)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let Ok(request) = request else {
            return Attempt::Refused("its address is none that can be called".to_owned());
        };
        match self.0.send(request).await {
            Ok(answer) => judged(answer.status()),
            Err(error) => Attempt::Failed(error.to_string()),
        }
    }
}

/// What an answer means. Who will not take the message later either is not sent it again; a redirect
/// leads nobody elsewhere.
fn judged(status: StatusCode) -> Attempt {
    let why = || format!("it answers {status}");
    match status {
        status if status.is_success() => Attempt::Accepted,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Attempt::Failed(why())
        }
        status if status.is_server_error() => Attempt::Failed(why()),
        _ => Attempt::Refused(why()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_will_never_take_it_from_who_cannot_now() {
        let of = |status: u16| judged(StatusCode::from_u16(status).unwrap());
        for good in [200, 202, 204] {
            assert_eq!(of(good), Attempt::Accepted);
        }
        for passing in [408, 425, 429, 500, 501, 503] {
            assert!(matches!(of(passing), Attempt::Failed(_)), "{passing}");
        }
        for refused in [301, 307, 400, 401, 404] {
            assert!(matches!(of(refused), Attempt::Refused(_)), "{refused}");
        }
    }
}
