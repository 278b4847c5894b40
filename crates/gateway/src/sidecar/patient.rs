//! A stream whose reader may take only so long.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// A stream whose writes end with an error when what waits for the other side is not taken within
/// `patience`: all of it, so that whoever takes a byte now and then holds no connection by it.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs from the first write that waits until everything has been taken.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) const fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waits: None }
    }
}

impl<S: Unpin> Patient<S> {
    /// Does something with the stream that may have to wait for the other side.
    fn wait<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let done = act(Pin::new(&mut self.stream), cx);
        if done.is_ready() {
            return done;
        }
        let until = || Box::pin(sleep_until(Instant::now() + self.patience));
        let waits = self.waits.get_or_insert_with(until);
        waits.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().wait(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().wait(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// INVARIANT: hyper flushes when nothing of an answer is left in its own buffer, and at no other time.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        ready!(own.wait(cx, AsyncWrite::poll_flush))?;
        own.waits = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().wait(cx, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::timeout,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn whoever_takes_a_byte_now_and_then_holds_nothing_by_it() {
        let (near, mut far) = duplex(16);
        let mut patient = Patient::new(near, PATIENCE);
        let writing = tokio::spawn(async move { patient.write_all(&[0; 1 << 20]).await });
        let mut byte = [0];
        while far.read(&mut byte).await.unwrap() > 0 {
            let _ = timeout(PATIENCE / 20, pending::<()>()).await;
        }
        let ended = writing.await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn each_answer_that_was_taken_begins_a_new_time() {
        let (near, mut far) = duplex(16);
        let mut patient = Patient::new(near, PATIENCE);
        for _ in 0..4 {
            let write = async {
                patient.write_all(&[0; 32]).await?;
                patient.flush().await
            };
            let read = async {
                let _ = timeout(PATIENCE / 2, pending::<()>()).await;
                far.read_exact(&mut [0; 32]).await
            };
            let (written, read) = tokio::join!(write, read);
            written.unwrap();
            read.unwrap();
        }
    }
}
