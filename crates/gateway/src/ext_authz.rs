//! Answers Envoy, which asks before it lets a request pass: `envoy.service.auth.v3.Authorization/Check`.
//!
//! A question becomes the head of a request, and that head is judged by the phases by which the gateway judges
//! its own, on a worker's thread. What the gateway would have changed on the way to a service is said as changes
//! that Envoy makes, the path and all fields that tell who calls among them; what it would have answered itself
//! is what Envoy answers.
//!
//! Whoever may ask is believed about the client: its address, its certificate, the scheme. So it is this machine
//! alone, and better somebody who knows a secret. What a question costs is bounded, and one that makes no sense
//! ends with an error of gRPC, on which Envoy lets nothing pass unless it was told to.
//!
//! | module | subject |
//! |---|---|
//! | `wire` | gRPC over HTTP/2: one method, one message each way |
//! | `question` | a question, read as the head of a request |
//! | `answer` | what was decided, in Envoy's words |
//! | `door` | where Envoy connects |

use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use prost::Message as _;

pub(crate) mod answer;
pub(crate) mod door;
pub(crate) mod question;
pub(crate) mod wire;

/// The head that a message of Envoy asks about, as HTTP/1 writes it: for whoever looks whether it could be read in
/// another way. `None`: it is no question, or one that is refused at once.
#[must_use]
pub fn head_of(message: &[u8]) -> Option<Vec<u8>> {
    let asked = CheckRequest::decode(message).ok()?;
    let question::Read::Request(question) = question::read(asked).ok()? else { return None };
    let parts = &question.parts;
    let target = parts.uri.path_and_query()?.as_str();
    let mut head = format!("{} {target} HTTP/1.1\r\n", parts.method).into_bytes();
    for (name, value) in &parts.headers {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    Some(head)
}
