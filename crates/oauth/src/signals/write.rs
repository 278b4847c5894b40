//! Writing what is due as signed tokens.

use serde_json::{Map, Value, json};
use tegata_token::{
    Audience, SecurityEvent, SecurityEventToken, secevent::OneEvent, verifier::TokenKind as _,
};

use super::{
    exchange::Outgoing,
    kind::SignalKind,
    stream::{Notice, Status, Stream},
    streams::{StreamRefused, Streams, contended},
    walk::Due,
};
use crate::{client::Client, error::Refused};

impl Streams {
    /// Writes what is due, the stream's own notices first.
    pub(super) async fn write(
        &self,
        stream: &Stream,
        client: &Client,
        due: Vec<Due>,
        most: usize,
    ) -> Result<Vec<Outgoing>, StreamRefused> {
        let notices = stream.notices.iter().filter(|notice| match stream.status {
            Status::Enabled => true,
            // That it stops is told although it stops.
            Status::Paused => notice.what.kind() == SignalKind::StreamUpdated,
            Status::Disabled => false,
        });
        let notices = notices.map(|notice| (notice.what.kind(), self.noticed(stream, notice)));
        let told = due.into_iter().map(|due| (due.told.kind, self.told(stream, client, due)));
        let tokens: Vec<_> = notices.chain(told).take(most).collect();
        let mut signed = Vec::with_capacity(tokens.len());
        for (kind, token) in tokens {
            signed.push(self.signed(client, kind, &token).await?);
        }
        Ok(signed)
    }

    /// A notice is about the stream itself (SSF 1.0 §8.1.4.1).
    fn noticed(&self, stream: &Stream, notice: &Notice) -> SecurityEventToken {
        let sub_id = json!({"format": "opaque", "id": stream.id});
        let uri = notice.what.kind().uri().to_owned();
        SecurityEventToken {
            iss: self.provider.issuer().to_owned(),
            aud: Audience::from(stream.client.as_str()),
            iat: notice.at,
            jti: notice.jti.clone(),
            txn: None,
            sub_id: object(sub_id),
            events: OneEvent { uri, payload: notice.what.payload() },
        }
    }

    fn told(&self, stream: &Stream, client: &Client, due: Due) -> SecurityEventToken {
        let person = due.person.to_json();
        // What is one client's alone, it knows by its name.
        let is_shared = due.told.only.is_none();
        let session = due.told.session.as_deref().map(|session| {
            if is_shared { self.provider.session_for(client, session) } else { session.to_owned() }
        });
        let sub_id = match session {
            None => person,
            Some(session) => json!({
                "format": "complex",
                "user": person,
                "session": {"format": "opaque", "id": session},
            }),
        };
        SecurityEventToken {
            iss: self.provider.issuer().to_owned(),
            aud: Audience::from(stream.client.as_str()),
            // When it happened, also where it is delivered late or again.
            iat: due.event.clock.wall().secs(),
            jti: due.jti,
            txn: Some(self.provider.event_for(client, &due.event.id.to_string())),
            sub_id: object(sub_id),
            events: OneEvent { uri: due.told.kind.uri().to_owned(), payload: due.told.payload },
        }
    }

    async fn signed(
        &self,
        client: &Client,
        kind: SignalKind,
        token: &SecurityEventToken,
    ) -> Result<Outgoing, StreamRefused> {
        let typ = SecurityEvent::TYP;
        match self.provider.sign(client.id_token_alg, typ, &token.to_json()).await {
            Ok(set) => Ok(Outgoing { jti: token.jti.clone(), kind, set }),
            Err(Refused::Store(error)) => Err(error.into()),
            Err(Refused::OAuth(_)) => Err(contended().into()),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
