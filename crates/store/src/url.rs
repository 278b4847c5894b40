//! What the addresses of all backends have in common.

use std::net::IpAddr;

/// A part of an address, as it is meant: `%40` is an `@`.
pub(crate) fn decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let decoded = digit(rest.next()).zip(digit(rest.next()));
        match decoded.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => bytes.push(byte),
            None => return Err("a `%` in it is not followed by two hexadecimal digits"),
        }
    }
    String::from_utf8(bytes).or(Err("a part of it is not UTF-8"))
}

/// Whether a host is this machine.
pub(crate) fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
}
