//! `Backstop` on DynamoDB.
//!
//! A withdrawal is an item of a table whose partition key `key` is `REALM/KEY`:
//!
//! | attribute | holds |
//! |---|---|
//! | `key` | the realm and the key of the withdrawal |
//! | `mark` | its mark |
//! | `until` | its end, in milliseconds since 1970 |
//! | `expires` | when DynamoDB may delete it, in seconds: its end and a day |
//!
//! DynamoDB deletes late, by days sometimes, so whoever reads looks at `until` himself. Every read is
//! strongly consistent, every write conditional. A call is tried once: whoever calls knows better
//! when to try again, and a driver that does so by itself makes three calls of one where DynamoDB is
//! slow already.
//!
//! Credentials are those of the environment, in the order in which all programs of AWS look for them:
//! `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (with `AWS_SESSION_TOKEN`), a profile, the web
//! identity of a pod, the role of a container, the role of an instance. They are renewed before they
//! end.

use std::{fmt, sync::Arc, time::Duration};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::provider::error::CredentialsError;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_dynamodb::{
    Client,
    config::{
        BehaviorVersion, Credentials, ProvideCredentials as _, Region, SharedCredentialsProvider,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt as _, stream};
use tegata_core::{
    Backstop, Clock, Realm, Secret, StoreError,
    port::{BoxFuture, Withdrawal},
};

use self::{address::FORM, fault::told, item::Items};
use crate::declared;

mod address;
mod fault;
mod item;
mod table;

pub use address::Address as DynamoAddress;

/// What errors name as the backend.
const BACKEND: &str = "DynamoDB";

/// How many withdrawals of one call are written at once.
const AT_ONCE: usize = 16;

/// Limits toward DynamoDB. The defaults suit a table in the same region.
#[derive(Debug, Clone)]
pub struct DynamoConfig {
    /// How long it may take to connect.
    pub connect: Duration,
    /// How long a call may take. Recording may take several.
    pub call: Duration,
    /// Who we are there.
    pub keys: DynamoKeys,
}

/// Where credentials come from.
#[derive(Debug, Clone)]
pub enum DynamoKeys {
    /// The environment, as [the module](self) says.
    Environment,
    /// An access key.
    Given {
        /// Its name.
        id: String,
        /// Its secret.
        secret: Secret<String>,
    },
}

impl Default for DynamoConfig {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            call: Duration::from_secs(2),
            keys: DynamoKeys::Environment,
        }
    }
}

/// Why DynamoDB cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DynamoRefused {
    /// The address cannot be used as it is written.
    #[error(
        "the address of the table cannot be used: {detail}; write `{FORM}`, with \
         `&endpoint=https://HOST` where it is not at Amazon"
    )]
    Address {
        /// What is wrong with it.
        detail: String,
    },
    /// There are no credentials.
    #[error(
        "there are no credentials for DynamoDB in the environment: set `AWS_ACCESS_KEY_ID` and \
         `AWS_SECRET_ACCESS_KEY`, or give the pod, the container or the instance a role"
    )]
    NoCredentials,
    /// The credentials are not taken, or do not suffice.
    #[error(
        "DynamoDB does not let us use the table {table}: {detail}; the credentials of the \
         environment need `dynamodb:DescribeTable`, `dynamodb:GetItem` and `dynamodb:UpdateItem` \
         for it"
    )]
    Login {
        /// Which table.
        table: String,
        /// What it said.
        detail: String,
    },
    /// The table is not there, or is another.
    #[error("the table {table} cannot be used: {detail}; make one with `{made_by}`")]
    Table {
        /// Which table.
        table: String,
        /// What is wrong with it.
        detail: String,
        /// The commands that make it.
        made_by: String,
    },
}

/// `Backstop` on a table of DynamoDB; see [the module](self). Clones are the same table.
#[derive(Clone)]
pub struct DynamoBackstop {
    items: Arc<Items>,
    address: Arc<DynamoAddress>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for DynamoBackstop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamoBackstop({})", self.address)
    }
}

impl DynamoBackstop {
    /// What tells this table from others, in letters, digits, `-` and `_`. It is the same by whichever
    /// endpoint a node reaches it.
    #[must_use]
    pub fn name(&self) -> String {
        let DynamoAddress { table, region, .. } = &*self.address;
        let hash = digest(&SHA256, format!("{region}/{table}").as_bytes());
        format!("dynamodb-{}", URL_SAFE_NO_PAD.encode(hash))
    }

    /// Looks at the table. Where it is on this machine and missing, it is made. That nobody answers is
    /// no refusal: calls fail until somebody does.
    ///
    /// # Errors
    /// [`DynamoRefused`]: what no waiting mends.
    pub async fn open(
        url: &str,
        config: DynamoConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DynamoRefused> {
        let address = DynamoAddress::read(url)?;
        let client = client(&address, config).await?;
        table::fit(&client, &address).await?;
        let items = Items { client, table: address.table.clone() };
        Ok(Self { items: Arc::new(items), address: Arc::new(address), clock })
    }
}

async fn client(address: &DynamoAddress, config: DynamoConfig) -> Result<Client, DynamoRefused> {
    let region = Region::new(address.region.clone());
    let credentials = match config.keys {
        DynamoKeys::Given { id, secret } => {
            let given = Credentials::new(id, secret.expose().as_str(), None, None, "given");
            SharedCredentialsProvider::new(given)
        }
        DynamoKeys::Environment => {
            let chain = DefaultCredentialsChain::builder().region(region.clone());
            let chain = chain.build().await;
            match chain.provide_credentials().await {
                Ok(_) => {}
                Err(CredentialsError::CredentialsNotLoaded(_)) => {
                    return Err(DynamoRefused::NoCredentials);
                }
                Err(error) => {
                    tracing::warn!("credentials for DynamoDB cannot be had yet: {}", told(&error));
                }
            }
            SharedCredentialsProvider::new(chain)
        }
    };
    let limits = TimeoutConfig::builder()
        .connect_timeout(config.connect)
        .operation_timeout(config.call)
        .operation_attempt_timeout(config.call)
        .build();
    let mut told = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .credentials_provider(credentials)
        .timeout_config(limits)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = &address.endpoint {
        told = told.endpoint_url(&endpoint.url);
    }
    Ok(Client::from_conf(told.build()))
}

impl Backstop for DynamoBackstop {
    fn record<'a>(
        &'a self,
        realm: &'a Realm,
        withdrawals: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            declared::withdrawals(withdrawals)?;
            let mut greatest = greatest(withdrawals).into_iter();
            // One goes ahead: while nobody answers, that is all that is sent.
            let Some(first) = greatest.next() else { return Ok(()) };
            self.items.raise(realm, &first).await.map_err(|fault| fault.of_change(false))?;
            let raise = |one: Withdrawal| async move { self.items.raise(realm, &one).await };
            let mut raised = stream::iter(greatest.map(raise)).buffer_unordered(AT_ONCE);
            while let Some(raised) = raised.next().await {
                raised.map_err(|fault| fault.of_change(true))?;
            }
            Ok(())
        })
    }

    fn withdrawn<'a>(
        &'a self,
        realm: &'a Realm,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        Box::pin(async move {
            declared::text("key", key)?;
            let found = self.items.read(&item::id(realm, key)).await;
            let found = found.map_err(fault::Fault::of_question)?;
            let now = self.clock.now();
            Ok(found.filter(|(_, until)| now <= *until).map(|(mark, until)| Withdrawal {
                key: key.to_owned(),
                mark,
                until,
            }))
        })
    }
}

/// Each key once, with the greatest mark and the latest end, so that no two writes of a call meet.
fn greatest(withdrawals: &[Withdrawal]) -> Vec<Withdrawal> {
    let mut sorted = withdrawals.to_vec();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    sorted.dedup_by(|later, kept| {
        let same = later.key == kept.key;
        if same {
            kept.mark = kept.mark.max(later.mark);
            kept.until = kept.until.max(later.until);
        }
        same
    });
    sorted
}
