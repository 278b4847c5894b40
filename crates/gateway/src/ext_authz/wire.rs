//! gRPC over HTTP/2, as far as one method needs it that takes one message and gives one: a message is preceded by
//! a byte that says whether it is compressed and four that say how long it is.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
    request::Parts,
};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tegata_core::Secret;

/// What is asked for.
const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The largest question, in bytes. It carries a head twice at most, and a certificate.
pub(crate) const LARGEST: usize = 256 * 1024;

/// What precedes a message.
const PREFIX: usize = 5;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why a question is not answered. Envoy lets nothing pass on it, unless it was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It is not one message of gRPC.
    Framing,
    /// The message is none of those that are asked with, or lacks what a question needs.
    Message(&'static str),
    /// It is larger than it may be, or there is no room for it.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// Something else is asked for, or in another way.
    Method,
    /// Its compression is not known here.
    Compressed,
    /// Whoever asks has not shown the secret.
    Stranger,
}

impl Unanswered {
    /// The status of gRPC, and what a person should know.
    const fn said(self) -> (&'static str, &'static str) {
        match self {
            Self::Framing => ("13", "it is not one message of gRPC"),
            Self::Message(why) => ("3", why),
            Self::TooLarge => ("8", "the question is too large"),
            Self::TooSlow => ("4", "the question did not come in time"),
            Self::Method => ("12", "only envoy.service.auth.v3.Authorization/Check is answered"),
            Self::Compressed => ("12", "compressed messages are not read"),
            Self::Stranger => ("16", "the secret of [ext_authz] is missing"),
        }
    }

    /// What whoever asks is told.
    pub(crate) fn response(self) -> Response<Told> {
        let (status, why) = self.said();
        let mut response = Response::new(Told { message: None, trailers: None });
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(&GRPC_STATUS, HeaderValue::from_static(status));
        headers.insert(&GRPC_MESSAGE, HeaderValue::from_static(why));
        response
    }
}

/// Whether this is a request of gRPC at all; otherwise the status that says so.
pub(crate) fn check_speaks(head: &Parts) -> Result<(), StatusCode> {
    if head.method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.strip_prefix(b"application/grpc");
    let is_ours =
        |rest: &&[u8]| rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";");
    rest.filter(is_ours).map(|_| ()).ok_or(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// An answer to what is no gRPC.
pub(crate) fn plain(status: StatusCode) -> Response<Told> {
    let mut response = Response::new(Told { message: None, trailers: None });
    *response.status_mut() = status;
    response
}

/// Whether whoever asks may, and asks for what is answered.
pub(crate) fn check_asks(head: &Parts, secret: Option<&Secret<String>>) -> Result<(), Unanswered> {
    if let Some(secret) = secret {
        let mut shown = head.headers.get_all(header::AUTHORIZATION).iter();
        let said = shown.next().and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if !said.is_some_and(|said| secret.matches(said)) || shown.next().is_some() {
            return Err(Unanswered::Stranger);
        }
    }
    if head.uri.path() == METHOD { Ok(()) } else { Err(Unanswered::Method) }
}

/// Reads the one message of a request.
pub(crate) async fn read<B>(request: Request<B>) -> Result<CheckRequest, Unanswered>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut body, mut all) = (request.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        // How the stream of somebody ends who asks is their own affair.
        let Ok(data) = frame.map_err(|_| Unanswered::Framing)?.into_data() else { continue };
        if all.len() + data.len() > PREFIX + LARGEST {
            return Err(Unanswered::TooLarge);
        }
        all.extend_from_slice(&data);
        if all.len() >= PREFIX {
            // What announces more than it may is not waited for.
            length(&all)?;
        }
    }
    if all.len() < PREFIX || length(&all)? != all.len() - PREFIX {
        return Err(Unanswered::Framing);
    }
    let message = all.split_off(PREFIX);
    CheckRequest::decode(message).map_err(|_| Unanswered::Message("it is no `CheckRequest`"))
}

/// How long the message is that begins here.
fn length(all: &[u8]) -> Result<usize, Unanswered> {
    let Some(([flag, length @ ..], _)) = all.split_first_chunk::<PREFIX>() else {
        return Err(Unanswered::Framing);
    };
    match flag {
        0 => {}
        1 => return Err(Unanswered::Compressed),
        _ => return Err(Unanswered::Framing),
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > LARGEST { Err(Unanswered::TooLarge) } else { Ok(length) }
}

/// An answer as it is sent.
pub(crate) fn response(answer: &CheckResponse) -> Response<Told> {
    let length = answer.encoded_len();
    let mut message = BytesMut::with_capacity(PREFIX + length);
    message.put_u8(0);
    // An answer carries a head and a page of words.
    message.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // It grows as it needs to.
    let encoded = answer.encode(&mut message);
    if encoded.is_err() {
        return Unanswered::TooLarge.response();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert(&GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response =
        Response::new(Told { message: Some(message.freeze()), trailers: Some(trailers) });
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// One message, and the status behind it; or neither, where the head says all.
#[derive(Debug)]
pub(crate) struct Told {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn asked(bytes: &[u8]) -> Result<CheckRequest, Unanswered> {
        let request = Request::new(Full::new(Bytes::copy_from_slice(bytes)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(read(request))
    }

    #[test]
    fn a_frame_is_read_as_it_says_or_not_at_all() {
        assert_eq!(asked(&[0, 0, 0, 0, 0]), Ok(CheckRequest::default()));
        for (bytes, why) in [
            (&b""[..], Unanswered::Framing),
            (&[0, 0, 0, 0], Unanswered::Framing),
            (&[0, 0, 0, 0, 1], Unanswered::Framing),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Unanswered::Framing),
            (&[1, 0, 0, 0, 0], Unanswered::Compressed),
            (&[2, 0, 0, 0, 0], Unanswered::Framing),
            (&[0, 0xff, 0xff, 0xff, 0xff], Unanswered::TooLarge),
            (&[0, 0, 4, 0, 1], Unanswered::TooLarge),
            (&[0, 0, 0, 0, 2, 0x0a, 0x7f], Unanswered::Message("it is no `CheckRequest`")),
            (&[0, 0, 0, 0, 1, 0xff], Unanswered::Message("it is no `CheckRequest`")),
        ] {
            assert_eq!(asked(bytes), Err(why), "{bytes:x?}");
        }
    }

    #[test]
    fn what_was_cut_off_anywhere_is_no_question() {
        let whole = CheckRequest { attributes: Some(Default::default()) }.encode_to_vec();
        let mut framed = vec![0, 0, 0, 0, u8::try_from(whole.len()).unwrap()];
        framed.extend(whole);
        assert!(asked(&framed).is_ok());
        for end in 0..framed.len() {
            assert_eq!(asked(&framed[..end]), Err(Unanswered::Framing), "{end}");
        }
    }

    #[test]
    fn only_who_shows_the_secret_once_may_ask() {
        let secret = Secret::new("geheim".to_owned());
        let may = |lines: &[&str]| {
            let mut request = Request::post(METHOD);
            for line in lines {
                request = request.header("authorization", *line);
            }
            check_asks(&request.body(()).unwrap().into_parts().0, Some(&secret))
        };
        assert_eq!(may(&["Bearer geheim"]), Ok(()));
        for lines in [
            &[][..],
            &["geheim"],
            &["Bearer geheim2"],
            &["Bearer "],
            &["Bearer geheim", "Bearer geheim"],
        ] {
            assert_eq!(may(lines), Err(Unanswered::Stranger), "{lines:?}");
        }
    }
}
