//! The live log: events, as they are published, a line each.

use std::sync::Arc;

use serde_json::Value;
use tegata_core::{
    Event,
    port::{Heard, Topic},
};

use crate::compose::Composed;

/// Shows what happens until the task is ended.
pub(crate) async fn show(composed: Arc<Composed>) {
    let Ok(mut events) = composed.feed.subscribe(Topic::Events).await else { return };
    while let Some(heard) = events.next().await {
        match heard {
            Heard::Message(body) => {
                if let Ok(event) = serde_json::from_slice::<Event>(&body) {
                    say_line!("{}", line(&event));
                }
            }
            Heard::Gap => say_line!("  …"),
        }
    }
}

/// `04:12:07 FAMILY_REVOKED  reason reused  verdict reused  user_id usr_…`
fn line(event: &Event) -> String {
    let time = event.timestamp.get(11..19).unwrap_or(&event.timestamp);
    let members = event.data.iter().filter_map(|(name, value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(format!("{name} {text}"))
    });
    format!("{time} {:<26} {}", event.kind.name(), members.collect::<Vec<_>>().join("  "))
}

#[cfg(test)]
mod tests {
    use tegata_core::{EventType, Node, Realm};

    use super::*;

    #[test]
    fn a_line_says_when_what_and_about_whom() {
        let data = [("family", "1.2.f".into()), ("session_id", Value::Null), ("n", 3.into())];
        let event =
            Event::new(&Node::for_tests(1), &Realm::default(), EventType::FamilyRevoked, data);
        assert_eq!(line(&event), "00:00:00 FAMILY_REVOKED             family 1.2.f  n 3");
    }
}
