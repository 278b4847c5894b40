//! What answers ask of people (RFC 9470): none makes the program stop, what a quoted text says is said by
//! nobody, and what is asked is found behind whatever stands before it.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use libfuzzer_sys::fuzz_target;
use tegata_core::{Acr, StepUp};
use tegata_sdk::client::challenge::step_up;

const ASKED: &str =
    r#"Bearer error="insufficient_user_authentication", acr_values="aal2", max_age="300""#;

static STEP: LazyLock<StepUp> =
    LazyLock::new(|| StepUp::to(Acr::Aal2).within(Duration::from_secs(300)));

fn read(lines: &[&str]) -> Option<StepUp> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).ok()?);
    }
    step_up(&headers)
}

fuzz_target!(|text: &str| {
    if HeaderValue::from_str(text).is_err() {
        return;
    }
    let alone = read(&[text]);
    if let Some(asked) = &alone {
        assert!(
            text.to_ascii_lowercase().contains("bearer")
                || text.to_ascii_lowercase().contains("dpop")
        );
        assert!(text.contains("insufficient_user_authentication") || text.contains('\\'));
        assert!(asked.acr.len() <= text.len() / 4);
    }
    // Of several lines, the first that asks for something counts.
    assert_eq!(read(&[text, ASKED]), Some(alone.unwrap_or_else(|| STEP.clone())));
    let negotiated = format!("Negotiate {}, {ASKED}", STANDARD.encode(format!("{text}.")));
    assert_eq!(read(&[&negotiated]).as_ref(), Some(&*STEP), "{negotiated}");
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    for before in [
        format!("Basic realm=\"{quoted}\""),
        format!("Bearer realm=\"{quoted}\", error=\"invalid_token\""),
        format!("DPoP algs=\"ES256\" ,error_description = \"{quoted}\""),
    ] {
        // Beyond ASCII it is no text of a header (RFC 9110 §5.5).
        if before.is_ascii() {
            assert_eq!(read(&[&before]), None, "{before}");
            assert_eq!(read(&[&format!("{before}, {ASKED}")]).as_ref(), Some(&*STEP), "{before}");
        }
    }
});
