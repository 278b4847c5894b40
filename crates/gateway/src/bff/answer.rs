//! What the client is told: what there is of each part, and of each that there is nothing of, why.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use tegata_mesh::Bff;

use crate::refusal::Refused;

/// Why there is nothing of a part.
#[derive(Debug)]
pub(crate) struct Failed {
    /// A stable name.
    pub(crate) reason: &'static str,
    /// What would have been answered to the same request alone; of a service that answers otherwise than it
    /// should, what it said.
    pub(crate) status: StatusCode,
    /// What was refused, where somebody of ours refused it.
    pub(crate) refused: Option<Refused>,
}

impl Failed {
    /// What a service says is not what it should.
    pub(crate) const fn service(reason: &'static str, status: StatusCode) -> Self {
        Self { reason, status, refused: None }
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self { reason: refused.id, status: refused.status, refused: Some(refused) }
    }
}

#[derive(Serialize)]
struct Entry<'e> {
    part: &'e str,
    reason: &'e str,
    status: u16,
}

/// What became of a part: what is told of it, as JSON.
pub(crate) type Outcome = Result<Vec<u8>, Failed>;

/// The answer. `parts` stand in the order in which they are declared; of those that are not there nobody knows
/// anything, because a part without which there is no answer failed before.
pub(crate) fn answer(bff: &Bff, parts: &[Option<Outcome>]) -> Response<Bytes> {
    let named = || bff.parts.iter().zip(parts);
    let lacks = named().any(|(part, outcome)| part.required && !matches!(outcome, Some(Ok(_))));
    let failed = named().filter_map(|(part, outcome)| {
        let Some(Err(Failed { reason, status, .. })) = outcome else { return None };
        Some(Entry { part: &part.name, reason, status: status.as_u16() })
    });
    // Names, reasons and numbers always have a JSON form; so has what somebody declared in one.
    let errors = serde_json::to_vec(&failed.collect::<Vec<_>>()).unwrap_or_default();
    let mut body = br#"{"data":"#.to_vec();
    if lacks {
        body.extend(b"null");
    } else {
        body.push(b'{');
        for (number, (part, outcome)) in named().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            // The name is made of letters, digits, `_` and `-`.
            body.push(b'"');
            body.extend(part.name.as_bytes());
            body.extend(b"\":");
            match outcome {
                Some(Ok(told)) => body.extend(told),
                _ => body.extend(serde_json::to_vec(&part.default).unwrap_or_default()),
            }
        }
        body.push(b'}');
    }
    body.extend(br#","errors":"#);
    body.extend(errors);
    body.push(b'}');
    let mut response = Response::new(Bytes::from(body));
    if lacks {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tegata_mesh::{DeclaredBff, ServiceMap};

    use super::*;

    fn bff(required: bool) -> Bff {
        let declared: DeclaredBff = serde_json::from_value(json!({
            "name": "home",
            "part": [
                {"name": "user", "path": "/users/me", "select": ["id"], "required": required},
                {"name": "unread", "path": "/n", "select": ["n"], "default": {"n": 0}},
                {"name": "theme", "path": "/p", "select": ["t"]},
            ],
        }))
        .unwrap();
        ServiceMap::default().with_bffs(&[declared]).unwrap().bff("home").unwrap().clone()
    }

    fn read(response: &Response<Bytes>) -> (u16, Value) {
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
    }

    #[test]
    fn what_is_missing_is_shown_beside_what_there_is() {
        let late = || Some(Err(Failed::service("part_late", StatusCode::GATEWAY_TIMEOUT)));
        let parts = [Some(Ok(br#"{"id":1}"#.to_vec())), late(), late()];
        let response = answer(&bff(true), &parts);
        assert_eq!(response.headers()["cache-control"], "no-store");
        let error = |part: &str| json!({"part": part, "reason": "part_late", "status": 504});
        let told = json!({
            "data": {"user": {"id": 1}, "unread": {"n": 0}, "theme": null},
            "errors": [error("unread"), error("theme")],
        });
        assert_eq!(read(&response), (200, told));
    }

    #[test]
    fn without_what_is_required_nothing_is_told() {
        let gone = Failed::service("part_status", StatusCode::NOT_FOUND);
        let parts = [Some(Err(gone)), Some(Ok(b"{}".to_vec())), None];
        let error = json!({"part": "user", "reason": "part_status", "status": 404});
        let told = json!({"data": null, "errors": [error]});
        assert_eq!(read(&answer(&bff(true), &parts)), (502, told));
        let (status, told) = read(&answer(&bff(false), &parts));
        assert_eq!((status, &told["data"]["user"]), (200, &Value::Null));
    }
}
