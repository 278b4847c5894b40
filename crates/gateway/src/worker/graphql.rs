//! A body that is looked at before anything of it is sent: collected, judged, and written anew.

use std::{pin::Pin, rc::Rc, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use http_body_util::BodyExt as _;

use super::{Worker, exchange::Way, forward::refused_cut};
use crate::{
    body::{Cut, Progress, Upload},
    gate::Gate,
    graphql::{Endpoint, Request, Rights, Wrong},
    memory::Charge,
    passport::Caller,
    phase::{admit::is_counted, identify::is_taken_back},
    reasons::Phase,
    refusal::{Refusal, Refused},
    wire::Connection,
};

/// In such steps it is counted what a collected body holds.
const STEP: usize = 64 * 1024;

/// A body as it was made here, and where it shows that it is whole.
type Whole = (Upload, Rc<Progress>);

impl Worker {
    /// Judges a body, and makes of it what is sent. Of what is refused it is also said whether all of it had
    /// been read.
    pub(super) async fn look(
        &self,
        graphql: &Arc<Endpoint>,
        (upload, progress): Whole,
        parts: &mut Parts,
        way: &mut Way<'_>,
        connection: &Rc<Connection>,
    ) -> Result<(Whole, Vec<Charge>), (Refused, bool)> {
        way.trail.go_on(Phase::Graphql);
        let collected = collected(upload, connection).await;
        let (body, held) = collected.map_err(|cut| (refused_cut(cut), false))?;
        // A body may take its time; what was taken back meanwhile asks for nothing any more.
        if way.trail.passport.as_deref().is_some_and(|it| is_over(&it.caller, way.gate)) {
            let detail = "the token has been taken back";
            return Err((Refusal::invalid_token("token_revoked", detail), true));
        }
        let wants = wants_graphql(&parts.headers);
        let judged = self.judged(graphql, &body, parts, way);
        let judged = judged.map_err(|wrong| {
            way.trail.operation = wrong.names.clone().into();
            let trace = way.trail.trace().unwrap_or(way.trail.name.as_str());
            (wrong.refusal(trace, wants), true)
        })?;
        way.trail.commit().await.map_err(|refused| (refused, true))?;
        parts.method = Method::POST;
        let headers = &mut parts.headers;
        // What is said of another body, and what is asked of a `GET`.
        let gone = [
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_LOCATION,
            header::RANGE,
            header::IF_RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
        ];
        for name in gone {
            headers.remove(name);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(judged.len()));
        Ok(((Upload::Whole(judged), progress), held))
    }

    /// Judges it, counts that, and takes what it may cost off what the caller has.
    fn judged(
        &self,
        graphql: &Endpoint,
        body: &Bytes,
        parts: &Parts,
        way: &mut Way<'_>,
    ) -> Result<Bytes, Wrong> {
        let gate = way.gate;
        let passport = way.trail.passport.clone();
        let (roles, scopes) = passport.as_deref().map(|it| it.rights()).unwrap_or_default();
        let known = passport.is_some();
        let (headers, query) = (&parts.headers, parts.uri.query());
        let request = Request { method: &parts.method, headers, query, body };
        let judged = graphql.judge(&request, Rights { known, roles: &roles, scopes: &scopes });
        let judged = judged.and_then(|judged| {
            if !is_counted(gate, way.trail.client) {
                return Ok(judged);
            }
            let caller = passport.as_deref().map(|it| it.caller.claims().sub.as_str());
            let now = gate.node.since_boot();
            match graphql.spend(caller, way.trail.client, judged.cost, now) {
                Some(answer) if !answer.passes => {
                    Err(Wrong::spent(answer.seconds()).naming(judged.names))
                }
                _ => Ok(judged),
            }
        });
        let route = way.trail.route.as_deref().unwrap_or_default();
        let (names, counted) = match &judged {
            Ok(judged) => (&judged.names, Ok(judged.cost)),
            Err(wrong) => (&wrong.names, Err(wrong.id)),
        };
        gate.metrics.graphql.count(route, graphql.counted_as(names), counted);
        let judged = judged?;
        way.trail.operation = judged.names.into();
        Ok(judged.body)
    }
}

/// Whether a credential has been taken back, as far as this node knows.
fn is_over(caller: &Caller, gate: &Gate) -> bool {
    let Caller::Foreign(token) = caller else { return is_taken_back(caller, gate) };
    let known = gate.foreign.as_ref().and_then(|(foreign, _)| foreign.known(token.names()?));
    known == Some(true)
}

/// Whether a client knows the media type of answers in GraphQL.
fn wants_graphql(headers: &HeaderMap) -> bool {
    let said = headers.get_all(header::ACCEPT).iter();
    let wanted = b"application/graphql-response+json";
    said.into_iter().any(|said| {
        said.as_bytes().windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
    })
}

/// All of a body, which is bounded and has its deadlines already.
async fn collected(
    mut upload: Upload,
    connection: &Rc<Connection>,
) -> Result<(Bytes, Vec<Charge>), Cut> {
    let (mut all, mut held) = (BytesMut::new(), Vec::new());
    while let Some(frame) = Pin::new(&mut upload).frame().await {
        // What stands behind a body says nothing here.
        let Ok(data) = frame?.into_data() else { continue };
        if all.len() + data.len() > held.len() * STEP {
            held.push(connection.memory().charge(data.len().max(STEP)));
        }
        // Copied, so that what came is let go: whoever holds it holds the client back.
        all.extend_from_slice(&data);
    }
    Ok((all.freeze(), held))
}
