//! `?wait=confirmed`: answers that wait until every node refuses what a request took back.

use std::panic::resume_unwind;

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tegata_core::{SinceBoot, StoreError};
use tegata_token::revocation::Taken;
use tracing::Instrument as _;

use crate::{
    app::App,
    form::{self, Fields},
    headers::NoStore,
    messages::Messages,
    unfinished::UnderWay,
};

/// What is wrong with a query.
pub(crate) const WRONG: &str = "`wait` can only be `confirmed`";

/// Whether the answer is to wait, as a query says.
pub(crate) fn waits(query: Option<&str>) -> Result<bool, &'static str> {
    let fields = form::decode(query.unwrap_or_default().as_bytes()).map_err(|_| WRONG)?;
    asks(&fields)
}

/// The same of fields that were read.
pub(crate) fn asks(fields: &Fields) -> Result<bool, &'static str> {
    match fields.one("wait") {
        None => Ok(false),
        Some("confirmed") => Ok(true),
        Some(_) => Err(WRONG),
    }
}

/// The answer to a program that has proven which client it is, once every node refuses what was taken back since `began`, or is known to serve
/// nothing that it would have to know it for. Whoever goes away meanwhile undoes nothing.
pub(crate) async fn told(app: &App, began: SinceBoot, taken: Taken) -> Response {
    let confirmed = app.confirm().confirmed(began, taken).await;
    NoStore(Json(json!({"confirmed": confirmed}))).into_response()
}

/// The same for browsers and clients that anybody can be, who are not told how nodes are called: how many.
pub(crate) async fn counted(app: &App, began: SinceBoot, taken: Taken) -> Response {
    let confirmed = app.confirm().confirmed(began, taken).await;
    NoStore(Json(json!({"confirmed": without_names(&confirmed)}))).into_response()
}

/// INVARIANT: what is passed on is listed here, so that nothing that names a node is by oversight.
fn without_names(confirmed: &Value) -> Value {
    let many = |(name, it): (&String, &Value)| match (name.as_str(), it) {
        ("by" | "fenced" | "pending", Value::Array(all)) => Some((name.clone(), json!(all.len()))),
        ("after_ms" | "until" | "unchecked" | "external", it) => Some((name.clone(), it.clone())),
        _ => None,
    };
    Value::Object(confirmed.as_object().into_iter().flatten().filter_map(many).collect())
}

/// Whether some may accept yet what was taken back.
pub(crate) fn is_pending(confirmed: &Value) -> bool {
    confirmed.get("pending").is_some()
}

/// The same for people, in their words.
pub(crate) fn in_words(confirmed: &Value, m: &Messages) -> Vec<String> {
    let names = |name: &str| confirmed.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    let (by, fenced, pending) = (names("by"), names("fenced"), names("pending"));
    let millis = confirmed.get("after_ms").and_then(Value::as_u64).unwrap_or_default();
    let all = u64::try_from(by + fenced + pending).unwrap_or(u64::MAX);
    let refused =
        m.refused_by.of(all).replace("{by}", &by.to_string()).replace("{ms}", &millis.to_string());
    let others = match confirmed.get("until").and_then(Value::as_str) {
        Some(until) => Some(m.others_pending.replace("{until}", until)),
        None => (fenced > 0).then(|| m.others_fenced.to_owned()),
    };
    let unchecked = confirmed.get("unchecked").and_then(Value::as_bool).unwrap_or_default();
    let unchecked = unchecked.then(|| m.others_unchecked.to_owned());
    let external = confirmed.pointer("/external/until").and_then(Value::as_str);
    let external = external.map(|until| m.others_external.replace("{until}", until));
    [Some(refused), others, unchecked, external].into_iter().flatten().collect()
}

/// Does what is not to be left half done because whoever asked for it goes away. Whoever stops this process
/// waits for it.
///
/// # Errors
/// What the work says.
pub(crate) async fn whole<T: Send + 'static>(
    under_way: UnderWay,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let work = async move {
        let done = work.await;
        drop(under_way);
        done
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
        Err(_) => Err(StoreError::Indeterminate {
            backend: "this process",
            detail: "it ends, and what was asked for may be done in part".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::{messages::Lang, unfinished::Unfinished};

    #[test]
    fn people_are_told_how_many_refuse_it_and_until_when_others_may_not() {
        let words = |told: Value| in_words(&told, Lang::En.messages()).join(" ");
        let all = json!({"by": ["a", "b", "c"], "after_ms": 41});
        assert_eq!(words(all), "Refused by 3 of 3 points after 41 ms.");
        let fenced = words(json!({"by": ["a"], "after_ms": 5001, "fenced": ["b"]}));
        assert!(
            fenced.starts_with("Refused by 1 of 2 points after 5001 ms. The others"),
            "{fenced}"
        );
        let pending = json!({"by": ["a"], "after_ms": 2, "pending": ["b", "c"], "until": "2026-01-01T00:00:00Z"});
        let said = words(pending.clone());
        assert!(
            said.starts_with("Refused by 1 of 3 points") && said.contains("2026-01-01"),
            "{said}"
        );
        assert!(!said.contains("without asking"), "{said}");
        let available = json!({"by": ["a"], "after_ms": 5001, "fenced": ["b"], "unchecked": true});
        let said = words(available.clone());
        assert!(said.contains("serve without asking"), "{said}");
        let japanese = in_words(&available, Lang::Ja.messages()).concat();
        assert!(japanese.contains("確認せずに"), "{japanese}");
        let external =
            json!({"by": ["a"], "after_ms": 4, "external": {"until": "2026-01-01T00:00:00Z"}});
        let said = words(external.clone());
        assert!(said.contains("what they knew until 2026-01-01T00:00:00Z."), "{said}");
        let japanese = in_words(&external, Lang::Ja.messages()).concat();
        assert!(japanese.contains("2026-01-01") && !japanese.contains('{'), "{japanese}");
        // No language leaves a gap, and none tells people how nodes are called.
        for lang in [Lang::En, Lang::Ja] {
            let said = in_words(&pending, lang.messages()).concat();
            assert!(!said.contains(['{', '}']) && said.contains("2026-01-01"), "{said}");
        }
    }

    #[test]
    fn whoever_is_not_told_how_nodes_are_called_is_told_until_when_others_may_accept_it() {
        let external = json!({"followers": "a", "status_lists": "b", "until": "b"});
        let told = json!({"by": ["one", "two"], "says": "one and two", "external": external});
        assert_eq!(without_names(&told), json!({"by": 2, "external": external}));
    }

    #[tokio::test]
    async fn what_is_begun_is_done_though_nobody_waits_for_it() {
        let (begin, may_begin) = tokio::sync::oneshot::channel::<()>();
        let (end, ended) = tokio::sync::oneshot::channel();
        let unfinished = Unfinished::default();
        let mut work = Box::pin(whole(unfinished.begin("a thing"), async move {
            may_begin.await.unwrap();
            end.send(()).unwrap();
            Ok(())
        }));
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(work.as_mut().poll(&mut nobody).is_pending());
        drop(work);
        let cut = unfinished.ended(std::time::Duration::from_millis(1)).await;
        assert_eq!(cut.get("a thing"), Some(&1), "nobody waits for it, but whoever stops does");
        begin.send(()).unwrap();
        ended.await.unwrap();
        assert!(unfinished.ended(std::time::Duration::from_secs(30)).await.is_empty());
    }
}
