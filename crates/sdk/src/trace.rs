//! What ties the requests together that one request caused: W3C Trace Context and `X-Request-ID`.

use http::{HeaderMap, HeaderName, HeaderValue};
use tegata_core::Entropy;

/// Names one request among all, and the trace it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    trace_id: [u8; 16],
    flags: u8,
    state: Option<HeaderValue>,
    request_id: String,
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer request ids are not carried on.
const LONGEST_ID: usize = 128;

impl Trace {
    /// A trace that begins here.
    #[must_use]
    pub fn begin(entropy: &dyn Entropy) -> Self {
        let mut trace_id = [0; 16];
        entropy.fill(&mut trace_id);
        let trace_id = never_zero(trace_id);
        let request_id = hex(&trace_id);
        Self { trace_id, flags: 0, state: None, request_id }
    }

    /// The trace that a request belongs to, as its headers tell. What is not well formed counts for
    /// nothing: then a trace begins here.
    #[must_use]
    pub fn of(headers: &HeaderMap, entropy: &dyn Entropy) -> Self {
        let mut trace = Self::begin(entropy);
        if let Some((trace_id, flags)) = only(headers, &TRACEPARENT).and_then(parse) {
            (trace.trace_id, trace.flags) = (trace_id, flags);
            let state = headers.get(&TRACESTATE).filter(|state| state.len() <= 512);
            trace.state = state.cloned();
            trace.request_id = hex(&trace_id);
        }
        let named = only(headers, &REQUEST_ID).filter(|id| {
            (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
        });
        if let Some(id) = named {
            id.clone_into(&mut trace.request_id);
        }
        trace
    }

    /// The trace's name: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex(&self.trace_id)
    }

    /// The request's name, as its sender gave it, or the trace's where it gave none.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Writes the headers by which a request that we send belongs to this trace, as a span of its
    /// own.
    pub fn carry(&self, headers: &mut HeaderMap, entropy: &dyn Entropy) {
        let mut span = [0; 8];
        entropy.fill(&mut span);
        let (trace, span) = (hex(&self.trace_id), hex(&never_zero(span)));
        let parent = format!("00-{trace}-{span}-{:02x}", self.flags);
        if let Ok(parent) = HeaderValue::try_from(parent) {
            headers.insert(TRACEPARENT, parent);
        }
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
        if let Ok(id) = HeaderValue::try_from(&self.request_id) {
            headers.insert(REQUEST_ID, id);
        }
    }
}

/// The value of a header that stands once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Trace id and flags of a `traceparent` (W3C Trace Context §3.2). A later version may have more
/// parts, of which nothing is known; version `ff` does not exist.
fn parse(text: &str) -> Option<([u8; 16], u8)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version: [u8; 1] = unhex(version)?;
    let (trace, span): ([u8; 16], [u8; 8]) = (unhex(trace)?, unhex(span)?);
    let [flags] = unhex(flags)?;
    let later = parts.next().is_some();
    let sound = version != [0xff] && (version != [0] || !later);
    (sound && trace != [0; 16] && span != [0; 8]).then_some((trace, flags & 1))
}

/// All zeros is not an id (W3C Trace Context §3.2.2.3).
fn never_zero<const N: usize>(mut id: [u8; N]) -> [u8; N] {
    if let Some(last) = id.last_mut() {
        *last |= 1;
    }
    id
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower case only, as the standard has it.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use tegata_core::SeededEntropy;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn carries_a_trace_on_as_a_new_span() {
        let entropy = SeededEntropy::new(1);
        let received =
            headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("x-request-id", "r-7")]);
        let trace = Trace::of(&received, &entropy);
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let mut sent = HeaderMap::new();
        trace.carry(&mut sent, &entropy);
        let parent = sent["traceparent"].to_str().unwrap();
        assert!(
            parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && parent.ends_with("-01")
        );
        assert_ne!(parent, PARENT);
        assert_eq!(
            (&sent["tracestate"], &sent["x-request-id"]),
            (&"a=1".parse().unwrap(), &"r-7".parse().unwrap())
        );
        assert_eq!(Trace::of(&sent, &entropy).trace_id(), trace.trace_id());
    }

    #[test]
    fn begins_anew_where_the_header_is_not_well_formed() {
        let entropy = SeededEntropy::new(1);
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            let trace = Trace::of(&headers(&[("traceparent", bad)]), &entropy);
            assert_ne!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736", "{bad}");
            assert_eq!(trace.request_id(), trace.trace_id());
        }
        let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_ne!(Trace::of(&twice, &entropy).trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn does_not_carry_a_request_id_that_could_break_a_log() {
        let entropy = SeededEntropy::new(1);
        for bad in ["a b".to_owned(), "x".repeat(129), "\t".to_owned()] {
            let trace = Trace::of(&headers(&[("x-request-id", &bad)]), &entropy);
            assert_eq!(trace.request_id(), trace.trace_id(), "{bad:?}");
        }
    }
}
