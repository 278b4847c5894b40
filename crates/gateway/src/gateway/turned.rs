//! Those for whom there is no room.

use std::{future::pending, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    guard::frames::{ENHANCE_YOUR_CALM, goaway},
    metrics::OfService,
    refusal::Refusal,
    trace::Names,
    upstream::scatter,
};

/// For how long a client is listened to before it is told: what it asks for is on its way, and some take an
/// answer to nothing for an error.
const LISTENED: Duration = Duration::from_millis(15);
/// For how long, and how many times, it is listened to afterwards, so that it reads the answer instead of
/// learning that the connection was reset.
const LINGER: Duration = Duration::from_millis(500);
const READS: usize = 16;

/// How whoever speaks HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// An empty frame `SETTINGS`, which must come first.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Tells a client, who speaks in the clear, that there is no room, and counts that as an answer.
pub(crate) async fn excuse(
    stream: TcpStream,
    turn: usize,
    (names, here): (&Names, &OfService),
    hsts: Option<&http::HeaderValue>,
) {
    here.count(503);
    let refused = Refusal::overloaded(scatter(turn));
    tell(stream, &refused.written(names.next().as_str(), hsts)).await;
}

/// Tells a client, who speaks in the clear, and hangs up. `answer` is for those who speak HTTP/1; whoever speaks
/// HTTP/2 is told that nothing was done and everything may be asked again.
async fn tell(mut stream: TcpStream, answer: &[u8]) {
    let mut heard = [0; 4096];
    let read = timeout(LISTENED, stream.read(&mut heard)).await;
    let read = read.ok().and_then(Result::ok).unwrap_or(0);
    let framed = heard.get(..read).is_some_and(|heard| heard.starts_with(PREFACE));
    let calm =
        if framed { [&SETTINGS[..], &goaway(ENHANCE_YOUR_CALM, 0)].concat() } else { Vec::new() };
    let answer = if framed { &calm } else { answer };
    // It fits into the empty buffer of the system, so nobody is waited for.
    let told = timeout(LINGER, async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        for _ in 0..READS {
            if stream.read(&mut heard).await? == 0 {
                return Ok(());
            }
        }
        std::io::Result::Ok(())
    });
    // Whoever does not listen any more is not waited for.
    let _ = told.await;
}

/// Does so once in a while, and says whether it is time.
#[derive(Debug, Default)]
pub(super) struct Once {
    last: std::cell::Cell<Option<Duration>>,
}

impl Once {
    pub(super) fn in_a(&self, span: Duration, now: Duration) -> bool {
        let is_due = self.last.get().is_none_or(|last| now.saturating_sub(last) >= span);
        if is_due {
            self.last.set(Some(now));
        }
        is_due
    }
}

/// Lets time pass.
pub(super) async fn rest(span: Duration) {
    let _ = timeout(span, pending::<()>()).await;
}
