//! The streams of a client (SSF 1.0 §8.1).

use axum::{
    Json,
    extract::{RawQuery, Request, State},
};
use http::StatusCode;
use serde_json::{Map, Value, json};
use tegata_oauth::signals::{Status, Stream, StreamRefused, access::Need};

use super::asked::{self, Rejected};
use crate::{app::App, bearer::Presented, headers::NoStore};

type Shown = NoStore<Json<Value>>;

/// One stream, or all of them where none is named.
pub(crate) async fn read(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Shown, Rejected> {
    let client = asked::client(&app, Presented::of(&app, &request), Need::Read).await?;
    let shown = match asked::named(query)? {
        Some(id) => app.streams().shown(&app.streams().of(&client.id, &id).await?),
        None => {
            let all = app.streams().of_client(&client.id).await.map_err(StreamRefused::from)?;
            all.iter().map(|stream| app.streams().shown(stream)).collect()
        }
    };
    Ok(NoStore(Json(shown)))
}

pub(crate) async fn create(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Shown), Rejected> {
    let (client, said) = asked::change(&app, request).await?;
    let stream = app.streams().create(&client, &said).await?;
    Ok((StatusCode::CREATED, NoStore(Json(app.streams().shown(&stream)))))
}

pub(crate) async fn update(State(app): State<App>, request: Request) -> Result<Shown, Rejected> {
    let (client, said) = asked::change(&app, request).await?;
    let stream = app.streams().update(&client, &said).await?;
    Ok(NoStore(Json(app.streams().shown(&stream))))
}

pub(crate) async fn replace(State(app): State<App>, request: Request) -> Result<Shown, Rejected> {
    let (client, said) = asked::change(&app, request).await?;
    let stream = app.streams().replace(&client, &said).await?;
    Ok(NoStore(Json(app.streams().shown(&stream))))
}

pub(crate) async fn delete(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<NoStore<StatusCode>, Rejected> {
    let client = asked::client(&app, Presented::of(&app, &request), Need::Manage).await?;
    let id = asked::named(query)?.ok_or(Rejected::Invalid("`stream_id` is missing"))?;
    app.streams().delete(&client.id, &id).await?;
    Ok(NoStore(StatusCode::NO_CONTENT))
}

pub(crate) async fn status(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Shown, Rejected> {
    let client = asked::client(&app, Presented::of(&app, &request), Need::Read).await?;
    let id = asked::named(query)?.ok_or(Rejected::Invalid("`stream_id` is missing"))?;
    Ok(NoStore(Json(told(&app.streams().of(&client.id, &id).await?))))
}

pub(crate) async fn set_status(
    State(app): State<App>,
    request: Request,
) -> Result<Shown, Rejected> {
    let (client, said) = asked::change(&app, request).await?;
    let rule = "`status` must be `enabled`, `paused` or `disabled`";
    let status = asked::text(&said, "status", rule)?;
    let known = [Status::Enabled, Status::Paused, Status::Disabled];
    let status = known.into_iter().find(|known| Some(known.name()) == status);
    let status = status.ok_or(Rejected::Invalid(rule))?;
    let reason = asked::text(&said, "reason", "`reason` must be a string")?;
    let id = asked::stream_id(&said)?;
    let stream = app.streams().set_status(&client, id, status, reason).await?;
    Ok(NoStore(Json(told(&stream))))
}

pub(crate) async fn add(
    State(app): State<App>,
    request: Request,
) -> Result<NoStore<StatusCode>, Rejected> {
    want(&app, request, true).await?;
    Ok(NoStore(StatusCode::OK))
}

pub(crate) async fn remove(
    State(app): State<App>,
    request: Request,
) -> Result<NoStore<StatusCode>, Rejected> {
    want(&app, request, false).await?;
    Ok(NoStore(StatusCode::NO_CONTENT))
}

pub(crate) async fn verify(
    State(app): State<App>,
    request: Request,
) -> Result<NoStore<StatusCode>, Rejected> {
    let (client, said) = asked::change(&app, request).await?;
    let state = asked::text(&said, "state", "`state` must be a string")?;
    app.streams().verify(&client, asked::stream_id(&said)?, state).await?;
    Ok(NoStore(StatusCode::NO_CONTENT))
}

async fn want(app: &App, request: Request, wanted: bool) -> Result<(), Rejected> {
    let (client, said) = asked::change(app, request).await?;
    let subject = said.get("subject").and_then(Value::as_object);
    let subject = subject.ok_or(Rejected::Invalid("`subject` is missing or no object"))?;
    let id = asked::stream_id(&said)?;
    Ok(app.streams().want(&client, id, subject, wanted).await?)
}

fn told(stream: &Stream) -> Value {
    let mut told = Map::new();
    told.insert("stream_id".to_owned(), json!(stream.id));
    told.insert("status".to_owned(), json!(stream.status));
    if let Some(reason) = &stream.reason {
        told.insert("reason".to_owned(), json!(reason));
    }
    told.into()
}
