//! Style and scripts of the pages, under names that change with their content.

use aws_lc_rs::digest;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::{app::App, problem::Problem, router::Segment};

const STYLE: &str = include_str!("../../assets/page.css");
const SCRIPT: &str = include_str!("../../assets/page.js");
const PASSKEY: &str = include_str!("../../assets/passkey.js");

const CONSOLE_STYLE: &str = include_str!("../../assets/console.css");
const CONSOLE_SCRIPT: &str = include_str!("../../assets/console.js");

const BANNER: &str = include_str!("../../assets/banner.js");
const BANNER_STYLE: &str = include_str!("../../assets/banner.css");

/// Where pages of others find the banner that asks for consent to cookies, too.
pub(crate) const BANNER_PATH: &str = "/api/consent/banner.js";

/// Where they are. Below `/login`, which the gateway forwards, so that a page has one origin.
const PATH: &str = "/login/assets";

/// The names of the files.
#[derive(Debug)]
pub(crate) struct Assets {
    style: String,
    script: String,
    passkey: String,
    console_style: String,
    console_script: String,
    /// The operator's style sheet, and its name.
    theme: Option<(String, Bytes)>,
}

impl Assets {
    pub(crate) fn new(theme: Option<&str>) -> Self {
        Self {
            style: named("page", STYLE, "css"),
            script: named("page", SCRIPT, "js"),
            passkey: named("passkey", PASSKEY, "js"),
            console_style: named("console", CONSOLE_STYLE, "css"),
            console_script: named("console", CONSOLE_SCRIPT, "js"),
            theme: theme
                .map(|it| (named("theme", it, "css"), Bytes::copy_from_slice(it.as_bytes()))),
        }
    }

    /// The address of the style sheet.
    pub(crate) fn style(&self) -> String {
        format!("{PATH}/{}", self.style)
    }

    /// The address of the operator's style sheet, where there is one.
    pub(crate) fn theme(&self) -> Option<String> {
        self.theme.as_ref().map(|(name, _)| format!("{PATH}/{name}"))
    }

    /// The address of the script.
    pub(crate) fn script(&self) -> String {
        format!("{PATH}/{}", self.script)
    }

    /// The address of the script of pages that ask for a passkey.
    pub(crate) fn passkey(&self) -> String {
        format!("{PATH}/{}", self.passkey)
    }

    /// The address of what the console's pages have beside that style sheet.
    pub(crate) fn console_style(&self) -> String {
        format!("{PATH}/{}", self.console_style)
    }

    /// The address of the script of the console.
    pub(crate) fn console_script(&self) -> String {
        format!("{PATH}/{}", self.console_script)
    }
}

/// `/login/assets/{name}`.
pub(crate) async fn asset(State(app): State<App>, Segment(name): Segment) -> Response {
    let assets = app.assets();
    let own = |text: &'static str| Bytes::from_static(text.as_bytes());
    let theme = assets.theme.as_ref().filter(|(theme, _)| name == *theme);
    let (media_type, text) = if name == assets.style {
        ("text/css; charset=utf-8", own(STYLE))
    } else if let Some((_, theme)) = theme {
        ("text/css; charset=utf-8", theme.clone())
    } else if name == assets.script {
        ("text/javascript; charset=utf-8", own(SCRIPT))
    } else if name == assets.passkey {
        ("text/javascript; charset=utf-8", own(PASSKEY))
    } else if name == assets.console_style {
        ("text/css; charset=utf-8", own(CONSOLE_STYLE))
    } else if name == assets.console_script {
        ("text/javascript; charset=utf-8", own(CONSOLE_SCRIPT))
    } else {
        return Problem::new(StatusCode::NOT_FOUND, "there is no such file").into_response();
    };
    // Under one name there is one content, for ever.
    let lasting = HeaderValue::from_static("public, max-age=31536000, immutable");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, lasting),
    ];
    (headers, text).into_response()
}

/// `/api/consent/{name}`: the banner, under names that others can rely on.
pub(crate) async fn banner(Segment(name): Segment) -> Response {
    let (media_type, text) = match name.as_str() {
        "banner.js" => ("text/javascript; charset=utf-8", BANNER),
        "banner.css" => ("text/css; charset=utf-8", BANNER_STYLE),
        _ => return Problem::new(StatusCode::NOT_FOUND, "there is no such file").into_response(),
    };
    // What is behind a name changes with the program.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    (headers, text).into_response()
}

fn named(name: &str, text: &str, extension: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let start: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}.{start}.{extension}")
}
