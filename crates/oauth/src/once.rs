//! Forms that count once: a browser that sends one again, because a page was loaded anew or an answer was
//! lost, does nothing twice.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{
    StoreError,
    port::{Put, Space},
};

use crate::Provider;

/// The forms that were sent.
pub static SENT: Space = Space { name: "form_sent", indexed: false };

/// For how long is known that one was: longer than anybody may change something without showing anew that
/// they are there, and longer than browsers keep a page to send it once more.
const KEPT: Duration = Duration::from_secs(86_400);

impl Provider {
    /// Whether the form with this token, which no two forms share, is sent for the first time. Of many at
    /// once, exactly one is.
    ///
    /// # Errors
    /// What the store says.
    pub async fn is_first_of_form(&self, token: &str) -> Result<bool, StoreError> {
        let put = Put { key: name(token), value: Vec::new(), lifetime: KEPT, index: None };
        self.ephemeral().add(self.realm(), &SENT, put).await
    }

    /// Lets the form with this token be sent once more: nothing came of it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn forget_form(&self, token: &str) -> Result<(), StoreError> {
        self.ephemeral().take(self.realm(), &SENT, &name(token)).await.map(|_| ())
    }
}

fn name(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()))
}
