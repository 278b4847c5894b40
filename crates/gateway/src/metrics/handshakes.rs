//! Handshakes of TLS that failed: counted by their reason, and said now and then.

use std::{fmt, io, net::IpAddr, sync::Arc};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use rustls::{AlertDescription, Error};
use tegata_core::{SinceBoot, rate::Sparing};

/// The listeners that end TLS.
const LISTENERS: [&str; 2] = ["gateway", "public"];

/// Counts handshakes that failed. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Handshakes {
    counts: Family<Failed, Counter>,
    sparing: Arc<Sparing<Failed>>,
}

/// What failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    listener: &'static str,
    reason: &'static str,
}

impl Handshakes {
    /// Counts that are shown with `registry`, those that there can be with 0.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counts = Family::<Failed, Counter>::default();
        for listener in LISTENERS {
            for reason in REASONS {
                drop(counts.get_or_create(&Failed { listener, reason }));
            }
        }
        let help = "TLS handshakes that came to nothing, and why";
        registry.register("tls_handshake_failures", help, counts.clone());
        // One line a minute for each reason at each listener, whoever knocks how often.
        Self { counts, sparing: Arc::new(Sparing::new("1/m", "20/m")) }
    }

    /// A handshake has failed at a listener: `gateway` or `public`.
    pub fn failed(&self, listener: &'static str, peer: IpAddr, now: SinceBoot, error: &io::Error) {
        let reason = reason(error);
        let what = Failed { listener, reason };
        self.counts.get_or_create(&what).inc();
        if let Some(left_out) = self.sparing.say(what, now) {
            tracing::info!(listener, reason, %peer, %error, left_out, "a TLS handshake failed");
        }
    }

    /// How many failed so.
    #[cfg(test)]
    fn count(&self, listener: &'static str, reason: &'static str) -> u64 {
        self.counts.get_or_create(&Failed { listener, reason }).get()
    }
}

impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshakes")
    }
}

/// All reasons.
const REASONS: [&str; 9] = [
    "timeout",
    "closed",
    "not_tls",
    "incompatible",
    "certificate_refused",
    "client_certificate",
    "alert",
    "misbehaved",
    "other",
];

/// Why a handshake failed: one of a few words, whatever the client sent.
fn reason(error: &io::Error) -> &'static str {
    use AlertDescription as Alert;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        None => match error.kind() {
            io::ErrorKind::TimedOut => "timeout",
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => "closed",
            _ => "other",
        },
        // Plain HTTP, a scanner, another protocol.
        Some(Error::InvalidMessage(_)) => "not_tls",
        // No version, cipher, group or protocol that both know.
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "incompatible",
        // The client does not believe our certificate: it has expired, or is of nobody it trusts.
        Some(Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::NoCertificate
            | Alert::AccessDenied,
        )) => "certificate_refused",
        Some(Error::AlertReceived(_)) => "alert",
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => "client_certificate",
        Some(
            Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerSentOversizedRecord,
        ) => "misbehaved",
        Some(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_failure_is_counted_under_its_reason_and_those_are_few() {
        let of = |error: Error| reason(&io::Error::other(error));
        let alert = |alert| of(Error::AlertReceived(alert));
        let found = [
            (reason(&io::ErrorKind::TimedOut.into()), "timeout"),
            (reason(&io::ErrorKind::UnexpectedEof.into()), "closed"),
            (reason(&io::ErrorKind::OutOfMemory.into()), "other"),
            (of(Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)), "not_tls"),
            (
                of(Error::PeerIncompatible(rustls::PeerIncompatible::NoCipherSuitesInCommon)),
                "incompatible",
            ),
            (alert(AlertDescription::UnknownCA), "certificate_refused"),
            (alert(AlertDescription::InternalError), "alert"),
            (
                of(Error::InvalidCertificate(rustls::CertificateError::Expired)),
                "client_certificate",
            ),
            (of(Error::DecryptError), "misbehaved"),
            (of(Error::EncryptError), "other"),
        ];
        for (found, expected) in found {
            assert_eq!(found, expected);
            assert!(REASONS.contains(&found));
        }
    }

    #[test]
    fn many_failures_are_many_counts_and_few_lines() {
        let handshakes = Handshakes::register(&mut Registry::default());
        let now = SinceBoot(Duration::from_secs(1000));
        let error = io::ErrorKind::UnexpectedEof.into();
        let peer = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..100 {
            handshakes.failed("public", peer, now, &error);
        }
        assert_eq!(handshakes.count("public", "closed"), 100);
        assert_eq!(handshakes.count("gateway", "closed"), 0);
        let what = || Failed { listener: "public", reason: "closed" };
        let later = SinceBoot(now.0 + Duration::from_secs(60));
        assert_eq!(handshakes.sparing.say(what(), now), None);
        // 99 of them, and the one that was just asked about.
        assert_eq!(handshakes.sparing.say(what(), later), Some(100));
    }
}
