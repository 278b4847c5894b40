//! Of whom a stream wants to hear (SSF 1.0 §8.1.3).

use serde_json::{Map, Value};
use tegata_core::{
    Expect, Stored as _, Versioned,
    port::{Change, Page},
    repository,
};

use super::{
    stream::{STREAM_SUBJECTS, Stream, Wanted},
    streams::{StreamRefused, Streams},
    subject::{Format, Named, Person},
};
use crate::client::Client;

/// How many people a stream may name.
const MOST: u32 = 10_000;

impl Streams {
    /// Notes whether a stream wants to hear of a person. Whether there is such a person is not told.
    ///
    /// # Errors
    /// [`StreamRefused`].
    pub async fn want(
        &self,
        client: &Client,
        id: &str,
        subject: &Map<String, Value>,
        wanted: bool,
    ) -> Result<(), StreamRefused> {
        let invalid = StreamRefused::Invalid(
            "`subject` must name a person by `iss_sub` or `email`, as the stream's signals do",
        );
        let named = Named::read(subject).filter(|it| it.session.is_none() && !it.other);
        let [person] = &named.ok_or_else(|| invalid.clone())?.person[..] else {
            return Err(invalid);
        };
        let known_by = match person {
            Person::IssSub { .. } => Format::IssSub,
            Person::Email(_) => Format::Email,
            Person::Account(_) => return Err(invalid),
        };
        let stream = self.of(&client.id, id).await?;
        if stream.format != known_by {
            return Err(invalid);
        }
        let page = Page { after: None, limit: MOST + 1 };
        let (realm, key) = (self.provider.realm(), subject_key(id, person));
        let all = repository::find::<Wanted>(self.records(), realm, "stream", id, page).await?;
        // Who is named already can always be named otherwise, and nobody has to stay.
        let is_full = all.len() > usize::try_from(MOST).unwrap_or(usize::MAX);
        if is_full && wanted && !all.iter().any(|found| found.value.key == key) {
            return Err(StreamRefused::Invalid("the stream names as many people as it may"));
        }
        let wanted = Wanted { key, stream: id.to_owned(), wanted };
        self.commit(self.batch().with(wanted.put(Expect::Any))).await?;
        // Only now is it looked for: a stream that has subjects looks for each person.
        self.edit(client, id, "stream_changed", |stream| {
            stream.has_subjects = true;
            Ok(())
        })
        .await
        .map(|_| ())
    }

    /// Forgets of whom a stream wants to hear.
    pub(super) async fn forget_people(&self, stream: &Stream) -> Result<(), StreamRefused> {
        let (realm, page) = (self.provider.realm(), Page { after: None, limit: 500 });
        loop {
            let page = page.clone();
            let found =
                repository::find::<Wanted>(self.records(), realm, "stream", &stream.id, page);
            let found = found.await?;
            if found.is_empty() {
                return Ok(());
            }
            let remove = |found: Versioned<Wanted>| Change::Remove {
                kind: &STREAM_SUBJECTS,
                key: found.value.key,
                expect: Expect::Any,
            };
            let mut batch = self.batch();
            batch.changes.extend(found.into_iter().map(remove));
            self.commit(batch).await?;
        }
    }
}

/// Under which key it is kept whether a stream wants to hear of a person.
pub(super) fn subject_key(stream: &str, person: &Person) -> String {
    format!("{stream}.{}", person.digest())
}
