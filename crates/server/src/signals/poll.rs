//! `POST /ssf/poll/{stream}`: a receiver asks for what is due, and says what arrived (RFC 8936).

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tegata_oauth::signals::{
    Delivery, Exchanged, Handled, RefusedSet, StreamRefused, access::Need,
};
use tokio::time::{MissedTickBehavior, interval};

use super::asked::{self, Rejected};
use crate::{app::App, bearer::Presented, body, headers::NoStore, router::Segment};

/// The most that is given at once.
const MOST: usize = 50;
/// The most that may be acknowledged at once.
const MOST_ACKS: usize = 1000;
/// How long is waited for something to be due.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked meanwhile.
const LOOKS: Duration = Duration::from_millis(250);

/// What a receiver says (RFC 8936 §2.2).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Said {
    max_events: Option<u64>,
    return_immediately: bool,
    ack: Vec<String>,
    set_errs: BTreeMap<String, SetError>,
}

#[derive(Debug, Deserialize)]
struct SetError {
    #[serde(default)]
    err: String,
}

pub(crate) async fn poll(
    State(app): State<App>,
    Segment(id): Segment,
    request: Request,
) -> Result<NoStore<Json<Value>>, Rejected> {
    let client = asked::client(&app, Presented::of(&app, &request), Need::Read).await?;
    let said: Said = body::json(&app, request).await.map_err(Rejected::Body)?;
    if said.ack.len() + said.set_errs.len() > MOST_ACKS {
        return Err(Rejected::Invalid("`ack` and `setErrs` name more than 1000 signals"));
    }
    let stream = app.streams().of(&client.id, &id).await?;
    if !matches!(stream.delivery, Delivery::Poll) {
        return Err(StreamRefused::Unknown.into());
    }
    let most = said.max_events.and_then(|most| usize::try_from(most).ok());
    let most = most.unwrap_or(MOST).min(MOST);
    // Whoever wants nothing waits for nothing.
    let waits = !said.return_immediately && most > 0;
    let given = exchange(&app, &id, said, most).await?;
    let given = if given.due.is_empty() && !given.more && waits {
        wait(&app, &id, most).await?.unwrap_or(given)
    } else {
        given
    };
    let sets: Map<_, _> =
        given.due.into_iter().map(|due| (due.jti, Value::String(due.set))).collect();
    Ok(NoStore(Json(json!({"sets": sets, "moreAvailable": given.more}))))
}

/// Notes what arrived, and what did not.
async fn exchange(
    app: &App,
    id: &str,
    said: Said,
    most: usize,
) -> Result<Exchanged, StreamRefused> {
    let refused: Vec<_> =
        said.set_errs.into_iter().map(|(jti, error)| RefusedSet { jti, err: error.err }).collect();
    let failed = refused.len();
    if let Some(one) = refused.first() {
        let (jti, err): (String, String) =
            (one.jti.chars().take(64).collect(), one.err.chars().take(64).collect());
        tracing::warn!(stream = id, ?jti, ?err, failed, "a receiver refused signals");
    }
    let handled = Handled { acked: said.ack, refused };
    let exchanged = app.streams().exchange(id, &handled, most).await?;
    let signals = app.metrics().signals();
    signals.delivered("poll", "refused", failed);
    signals.delivered("poll", "delivered", exchanged.handled.saturating_sub(failed));
    Ok(exchanged)
}

/// Waits until something is due. One waits at a stream; others are answered at once.
async fn wait(app: &App, id: &str, most: usize) -> Result<Option<Exchanged>, StreamRefused> {
    let Some(_place) = app.waiting().at(id) else { return Ok(None) };
    let began = app.node().since_boot();
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut given = None;
    while app.node().elapsed(began) < PATIENCE {
        looks.tick().await;
        let found = app.streams().exchange(id, &Handled::default(), most).await?;
        let is_something = !found.due.is_empty() || found.more;
        given = Some(found);
        if is_something {
            break;
        }
    }
    Ok(given)
}
