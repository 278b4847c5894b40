//! `POST /oauth2/revocations`: what is taken back, for verifiers that follow it. The answer waits until
//! there is something to tell, for as long as the verifier likes.

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, header};
use tegata_core::{SinceBoot, StoreError};
use tegata_oauth::{Question, Refused};
use tegata_token::revocation::notice::NOTICE_TYP;
use tokio::{task::spawn_blocking, time::timeout};

use super::asked::{Asked, Rejected};
use crate::{app::App, headers::NoStore};

/// How long what comes after the first news is waited for.
const TOGETHER: Duration = Duration::from_millis(10);

pub(crate) async fn revocations(
    State(app): State<App>,
    asked: Asked,
) -> Result<NoStore<Response>, Rejected> {
    let began = app.node().since_boot();
    let client = asked.client(&app, "/oauth2/revocations").await?;
    let reject = |refused: Refused| asked.reject(refused);
    app.provider().check_may_follow(&client).map_err(|error| reject(error.into()))?;
    let question = Question::of(&asked.params).map_err(|error| reject(error.into()))?;
    wait_for_news(&app, &question, began).await;
    let notice = notice(&app, question, began).await.map_err(reject)?;
    let media_type = HeaderValue::try_from(format!("application/{NOTICE_TYP}"));
    let media_type = media_type.unwrap_or(HeaderValue::from_static("application/jwt"));
    Ok(NoStore(([(header::CONTENT_TYPE, media_type)], notice).into_response()))
}

/// The answer. One is made at a time, and where requests do not wait for it: a whole one may be
/// megabytes.
async fn notice(app: &App, question: Question, began: SinceBoot) -> Result<String, Refused> {
    let view = app.provider().revoker().view();
    if view.staleness().is_none() {
        app.provider().revoker().know_enough().await?;
    }
    let _only = app.making_notices().lock().await;
    let own = app.clone();
    let made = spawn_blocking(move || own.provider().notice(&question, began));
    made.await.unwrap_or_else(|_| {
        let detail = "the notice was not made".to_owned();
        Err(StoreError::Unavailable { backend: "the view of revocations", detail }.into())
    })
}

/// Waits until there is something to tell, or as long as the question says. What comes soon after is told
/// with it.
async fn wait_for_news(app: &App, question: &Question, began: SinceBoot) {
    let view = app.provider().revoker().view();
    let mut news = app.news();
    let some = async {
        while !view.has_news(&question.told) {
            if news.changed().await.is_err() {
                return;
            }
        }
    };
    let left = question.wait.saturating_sub(app.node().elapsed(began));
    if timeout(left, some).await.is_ok() && !question.told.is_empty() {
        let _ = timeout(TOGETHER, std::future::pending::<()>()).await;
    }
}
