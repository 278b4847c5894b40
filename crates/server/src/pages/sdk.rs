//! The browser SDK (`web/sdk`), under names that stay, so that a page needs one line to use it.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{problem::Problem, router::Segment};

/// A module, and the tag of what it says.
struct Module {
    name: &'static str,
    text: &'static str,
    tag: LazyLock<String>,
}

macro_rules! modules {
    ($($name:literal),* $(,)?) => {
        [$(Module {
            name: $name,
            text: include_str!(concat!("../../../../web/sdk/", $name)),
            tag: LazyLock::new(|| tag(include_str!(concat!("../../../../web/sdk/", $name)))),
        }),*]
    };
}

static MODULES: [Module; 6] =
    modules!["session.js", "calls.js", "hints.js", "tabs.js", "notice.js", "native.js"];

/// `/assets/tegata/{name}`. Under one name there is another content after an upgrade, so browsers ask
/// each time whether it has changed.
pub(crate) async fn module(Segment(name): Segment, headers: HeaderMap) -> Response {
    let Some(module) = MODULES.iter().find(|module| module.name == name) else {
        return Problem::new(StatusCode::NOT_FOUND, "there is no such file").into_response();
    };
    let Ok(tag) = HeaderValue::from_str(&module.tag) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|line| knows(line, &module.tag));
    let kept = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, no-cache")),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    let media_type = HeaderValue::from_static("text/javascript; charset=utf-8");
    (kept, [(header::CONTENT_TYPE, media_type)], module.text).into_response()
}

/// Whether a line of `If-None-Match` names this tag (RFC 9110 §13.1.2). What stands between may have
/// made a weak one of it.
fn knows(line: &HeaderValue, tag: &str) -> bool {
    let line = line.to_str().unwrap_or_default();
    line.split(',').map(str::trim).any(|it| it == "*" || it.trim_start_matches("W/") == tag)
}

fn tag(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_list_of_tags() {
        let tag = &*MODULES[0].tag;
        for line in [tag.to_owned(), format!("W/{tag}"), format!("\"a\", {tag}"), "*".to_owned()] {
            assert!(knows(&HeaderValue::from_str(&line).unwrap(), tag), "{line}");
        }
        for line in ["", "\"a\"", tag.trim_matches('"')] {
            assert!(!knows(&HeaderValue::from_str(line).unwrap(), tag), "{line}");
        }
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        for module in &MODULES {
            let imports = module.text.split("from './").skip(1);
            for name in imports.filter_map(|rest| rest.split('\'').next()) {
                assert!(MODULES.iter().any(|it| it.name == name), "{} of {}", name, module.name);
            }
        }
    }
}
