//! A connection, with or without TLS.

use std::{
    cell::Cell,
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

thread_local! {
    /// How much is read at once on the connections of this thread.
    static AT_ONCE: Cell<usize> = const { Cell::new(64 * 1024) };
}

/// From now on so much is read at once, on all connections of this thread: what is read ahead waits in
/// buffers, and they are made as large as what comes at once.
pub(crate) fn read_at_once(bytes: usize) {
    AT_ONCE.set(bytes);
}

/// Up to so many bytes are copied next to each other and written as one slice: a call with several costs the
/// system more than that. The head of an answer and what is small of its body come in two.
const TOGETHER: usize = 2048;

/// A connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = AT_ONCE.get();
        if buf.remaining() <= most {
            return self.get_mut().poll_read_all(cx, buf);
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        let polled = self.get_mut().poll_read_all(cx, &mut part);
        let read = part.filled().len();
        buf.advance(read);
        polled
    }
}

impl Stream {
    fn poll_read_all(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => poll_write_together(Pin::new(stream), cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Writes several slices, with the cheapest call that does it.
fn poll_write_together(
    stream: Pin<&mut (impl AsyncWrite + ?Sized)>,
    cx: &mut Context<'_>,
    slices: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [one] = slices {
        return stream.poll_write(cx, one);
    }
    let mut together = [0; TOGETHER];
    let mut free = together.as_mut_slice();
    if slices.iter().any(|slice| free.write_all(slice).is_err()) {
        return stream.poll_write_vectored(cx, slices);
    }
    let left = free.len();
    let (all, _) = together.split_at(TOGETHER - left);
    stream.poll_write(cx, all)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::IoSlice};

    use super::*;

    /// Takes so many bytes of a write at most, and keeps each write by itself.
    struct Taken {
        most: usize,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Taken {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = self.get_mut();
            let count = bytes.len().min(taken.most);
            taken.writes.push(bytes[..count].to_vec());
            Poll::Ready(Ok(count))
        }
        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn slices_come_in_order_however_many_they_are_and_however_much_is_taken() {
        for sizes in [&[5][..], &[0, 3, 4], &[1024, 1024], &[2000, 49], &[1, 100_000, 7]] {
            for most in [1, 7, 2048, usize::MAX] {
                let parts: Vec<Vec<u8>> =
                    (0u8..).zip(sizes).map(|(n, &len)| vec![n; len]).collect();
                let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
                let mut taken = Taken { most, writes: Vec::new() };
                let write = poll_fn(|cx| poll_write_together(Pin::new(&mut taken), cx, &slices));
                let count = write.await.unwrap();
                let all = parts.concat();
                assert_eq!(count, all.len().min(most), "{sizes:?}, {most}");
                assert_eq!(taken.writes, [&all[..count]], "{sizes:?}, {most}");
            }
        }
    }
}
