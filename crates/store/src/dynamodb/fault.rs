//! What DynamoDB or the network says, in the words of the ports.

use std::{error::Error, io};

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use tegata_core::StoreError;

use super::BACKEND;

/// The longest text of others that is passed on.
const LONGEST: usize = 300;

/// Why a call was not answered as was hoped.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// It was never sent.
    Unsent(String),
    /// It was refused, and nothing happened. With what DynamoDB calls the reason.
    Refused { code: String, detail: String },
    /// It was sent, and nobody knows what became of it.
    Lost(String),
    /// What was read is not what is written here.
    Damaged { key: String, detail: String },
}

impl Fault {
    /// What became of a call.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ConstructionFailure(_) => Self::Unsent(told(error)),
            SdkError::DispatchFailure(_) if never_left(error) => Self::Unsent(told(error)),
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let (code, message) = (answer.err().code(), answer.err().message());
                let code = code.unwrap_or("no reason").to_owned();
                let detail = format!("{status} {code}: {}", line(message.unwrap_or_default()));
                // 503 is that of a service that takes nothing at the moment.
                if status < 500 || status == 503 {
                    Self::Refused { code, detail }
                } else {
                    Self::Lost(detail)
                }
            }
            _ => Self::Lost(told(error)),
        }
    }

    /// The reason, where DynamoDB gave one.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// What is said of it.
    pub(super) fn detail(&self) -> &str {
        match self {
            Self::Unsent(detail)
            | Self::Refused { detail, .. }
            | Self::Lost(detail)
            | Self::Damaged { detail, .. } => detail,
        }
    }

    /// The error of a question: nothing can have happened, whatever was lost.
    pub(super) fn of_question(self) -> StoreError {
        match self {
            Self::Unsent(detail) | Self::Refused { detail, .. } | Self::Lost(detail) => {
                StoreError::Unavailable { backend: BACKEND, detail }
            }
            Self::Damaged { key, detail } => {
                StoreError::Corrupt { backend: BACKEND, kind: "withdrawal", key, detail }
            }
        }
    }

    /// The error of a change, before which others of the same call had happened or not.
    pub(super) fn of_change(self, after_others: bool) -> StoreError {
        match self {
            Self::Lost(detail) => StoreError::Indeterminate { backend: BACKEND, detail },
            Self::Unsent(detail) | Self::Refused { detail, .. } if after_others => {
                let detail = format!("some of several were recorded, then: {detail}");
                StoreError::Indeterminate { backend: BACKEND, detail }
            }
            other => other.of_question(),
        }
    }
}

/// Whether no connection came about, so that nothing was sent.
fn never_left(error: &(dyn Error + 'static)) -> bool {
    let kinds = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::NetworkUnreachable,
    ];
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| kinds.contains(&cause.kind()))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
}

/// An error with what caused it, on one line.
pub(super) fn told(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    for text in causes(error).map(|cause| line(&cause.to_string())) {
        if said.last().is_none_or(|before| !before.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

/// The first line alone. Where a signature is wrong, those that follow repeat the whole request, with
/// the token of a session in it.
fn line(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    first.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_first_line_is_not_repeated() {
        let said = line("The signature does not match.\n\nx-amz-security-token:secret");
        assert_eq!(said, "The signature does not match.");
        assert_eq!(line(&"x".repeat(9000)).len(), LONGEST);
    }

    #[test]
    fn a_refusal_after_others_were_recorded_is_not_nothing() {
        let refused = || Fault::Refused { code: "x".to_owned(), detail: "400 x: y".to_owned() };
        assert!(matches!(refused().of_change(false), StoreError::Unavailable { .. }));
        assert!(matches!(refused().of_change(true), StoreError::Indeterminate { .. }));
        assert!(matches!(refused().of_question(), StoreError::Unavailable { .. }));
        let lost = Fault::Lost("gone".to_owned());
        assert!(matches!(lost.of_change(false), StoreError::Indeterminate { .. }));
    }
}
