//! What was decided, in Envoy's words.

use std::collections::HashMap;

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::core::v3::{
            HeaderValue as Said, HeaderValueOption, header_value_option::HeaderAppendAction,
        },
        service::auth::v3::{
            CheckResponse, DeniedHttpResponse, OkHttpResponse, check_response::HttpResponse,
        },
        r#type::v3::HttpStatus,
    },
    google::{
        protobuf::{Struct, Value, value::Kind},
        rpc::Status,
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, uri::PathAndQuery};

/// What no client may say, whatever Envoy shows of it: a list of fields that are to be shown may leave out those
/// (`allowed_headers`). Of families it names the members that services know.
const NEVER: [&str; 29] = [
    "client-cert",
    "client-cert-chain",
    "forwarded",
    "remote-user",
    "true-client-ip",
    "txn-token",
    "x-auth-request-email",
    "x-auth-request-user",
    "x-client-cert",
    "x-forwarded-client-cert",
    "x-forwarded-user",
    "x-http-method-override",
    "x-internal-gateway",
    "x-internal-token",
    "x-original-url",
    "x-real-ip",
    "x-remote-user",
    "x-rewrite-url",
    "x-service-name",
    "x-trace-id",
    "x-user-context",
    "x-user-id",
    "x-user-roles",
    // For servers that take the one for the other.
    "txn_token",
    "x_internal_token",
    "x_service_name",
    "x_user_context",
    "x_user_id",
    "x_user_roles",
];

/// What frames a message or belongs to one connection. Envoy says it itself.
const OF_ENVOY: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::EXPECT,
];

/// A request that passes.
#[derive(Debug)]
pub(crate) struct Passed<'p> {
    /// What is asked of the service.
    pub(crate) target: &'p PathAndQuery,
    /// The fields as Envoy has them, and as the service is to get them.
    pub(crate) before: &'p HeaderMap,
    pub(crate) after: &'p HeaderMap,
    /// Whether those are as they came.
    pub(crate) exact: bool,
    /// What is added to the service's answer.
    pub(crate) answer: &'p HeaderMap,
    /// What is told of it to others in Envoy.
    pub(crate) known: Vec<(&'static str, String)>,
}

/// Has Envoy pass a request on, changed as the gateway would change it.
pub(crate) fn pass(passed: Passed<'_>) -> CheckResponse {
    let Passed { target, before, after, exact, answer, known } = passed;
    // Always said: what Envoy has may not be what it has shown.
    let mut headers = vec![option(":path", target.as_str().as_bytes(), Overwrite)];
    let mut removed = Vec::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        // Envoy frames the body anew.
        if *name != header::TRANSFER_ENCODING {
            removed.push(name.as_str().to_owned());
        }
    }
    let is_there = |name: &&str| before.contains_key(*name) || after.contains_key(*name);
    removed.extend(NEVER.into_iter().filter(|name| !is_there(name)).map(str::to_owned));
    for name in after.keys() {
        let (was, is) = (before.get_all(name), after.get_all(name));
        let of_envoy = OF_ENVOY.contains(name);
        if was == is && (exact || of_envoy) {
            continue;
        }
        for (number, value) in is.iter().enumerate() {
            let action = if number == 0 { Overwrite } else { Append };
            headers.push(option(name.as_str(), value.as_bytes(), action));
        }
    }
    let response_headers_to_add = options(answer).collect();
    let passes = OkHttpResponse {
        headers,
        headers_to_remove: removed,
        response_headers_to_add,
        ..OkHttpResponse::default()
    };
    CheckResponse {
        status: Some(Status::default()),
        dynamic_metadata: Some(told(known)),
        http_response: Some(HttpResponse::OkResponse(passes)),
    }
}

/// Has Envoy give this answer, and ask no service.
pub(crate) fn answer(
    response: Response<Bytes>,
    known: Vec<(&'static str, String)>,
) -> CheckResponse {
    const UNAUTHENTICATED: i32 = 16;
    const PERMISSION_DENIED: i32 = 7;
    let (mut head, body) = response.into_parts();
    // The connection is Envoy's.
    head.headers.remove(header::CONNECTION);
    let is_401 = head.status == StatusCode::UNAUTHORIZED;
    let code = if is_401 { UNAUTHENTICATED } else { PERMISSION_DENIED };
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(head.status.as_u16()) }),
        headers: every(&head.headers).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    CheckResponse {
        status: Some(Status { code, ..Status::default() }),
        dynamic_metadata: Some(told(known)),
        http_response: Some(HttpResponse::DeniedResponse(denied)),
    }
}

use HeaderAppendAction::{
    AddIfAbsent, AppendIfExistsOrAdd as Append, OverwriteIfExistsOrAdd as Overwrite,
};

/// All lines of an answer that is given whole. Envoy takes away its own of these names first.
fn every(headers: &HeaderMap) -> impl Iterator<Item = HeaderValueOption> {
    headers.iter().map(|(name, value)| option(name.as_str(), value.as_bytes(), Append))
}

/// What is added to an answer: cookies to those that there are, and what a service says itself stays where it
/// could only be stricter.
fn options(headers: &HeaderMap) -> impl Iterator<Item = HeaderValueOption> {
    headers.iter().map(|(name, value): (&HeaderName, &HeaderValue)| {
        let action = match *name {
            header::SET_COOKIE | header::VARY => Append,
            header::X_CONTENT_TYPE_OPTIONS => AddIfAbsent,
            _ => Overwrite,
        };
        option(name.as_str(), value.as_bytes(), action)
    })
}

fn option(name: &str, value: &[u8], action: HeaderAppendAction) -> HeaderValueOption {
    let (key, mut said) = (name.to_owned(), Said::default());
    // Not every Envoy reads bytes where text would do.
    match std::str::from_utf8(value) {
        Ok(text) => text.clone_into(&mut said.value),
        Err(_) => value.clone_into(&mut said.raw_value),
    }
    said.key = key;
    HeaderValueOption {
        header: Some(said),
        append_action: action.into(),
        keep_empty_value: true,
        ..HeaderValueOption::default()
    }
}

fn told(known: Vec<(&'static str, String)>) -> Struct {
    let text = |text| Value { kind: Some(Kind::StringValue(text)) };
    let fields: HashMap<_, _> =
        known.into_iter().map(|(name, said)| (name.to_owned(), text(said))).collect();
    Struct { fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(pair).collect()
    }

    fn passed(before: &HeaderMap, after: &HeaderMap, exact: bool) -> OkHttpResponse {
        let target = PathAndQuery::from_static("/a");
        let (answer, known) = (HeaderMap::new(), Vec::new());
        let (target, answer) = (&target, &answer);
        let said = pass(Passed { target, before, after, exact, answer, known });
        match said.http_response {
            Some(HttpResponse::OkResponse(passes)) => passes,
            other => panic!("{other:?}"),
        }
    }

    fn names(headers: &[HeaderValueOption]) -> Vec<&str> {
        headers.iter().map(|it| it.header.as_ref().unwrap().key.as_str()).collect()
    }

    #[test]
    fn only_what_changes_is_said_and_nothing_is_both_set_and_removed() {
        let before = map(&[("a", "1"), ("x-user-id", "mallory"), ("b", "2"), ("x_user_id", "m")]);
        let after = map(&[("a", "1"), ("x-user-id", "alice")]);
        let said = passed(&before, &after, true);
        assert_eq!(names(&said.headers), [":path", "x-user-id"]);
        assert!(said.headers.iter().all(|it| it.append_action == i32::from(Overwrite)));
        for gone in ["b", "x_user_id", "x-user-roles", "x-internal-token", "txn-token"] {
            assert!(said.headers_to_remove.iter().any(|name| name == gone), "{gone}");
        }
        // Envoy removes after it has set.
        for set in names(&said.headers) {
            assert!(!said.headers_to_remove.iter().any(|name| name == set), "{set}");
        }
    }

    #[test]
    fn what_was_shown_otherwise_than_it_came_is_said_again() {
        let before =
            map(&[("a", "1"), ("cookie", "x!y=1"), ("content-length", "3"), ("host", "h")]);
        let said = passed(&before, &before, false);
        assert_eq!(names(&said.headers), [":path", "a", "cookie"]);
        assert_eq!(names(&passed(&before, &before, true).headers), [":path"]);
    }

    #[test]
    fn all_lines_of_a_refusal_are_given() {
        let mut response = Response::new(Bytes::from_static(b"{}"));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        for challenge in ["Bearer", "DPoP algs=\"ES256\""] {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
        }
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let said = answer(response, vec![("reason", "not_authenticated".to_owned())]);
        assert_eq!(said.status.unwrap().code, 16);
        let Some(HttpResponse::DeniedResponse(denied)) = said.http_response else {
            panic!("it is no refusal");
        };
        assert_eq!(denied.status.unwrap().code, 401);
        assert_eq!(names(&denied.headers), ["www-authenticate", "www-authenticate"]);
        assert_eq!(denied.body, "{}");
    }
}
