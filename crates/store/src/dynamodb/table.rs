//! The table: whether it is there, and made as it must be.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
        TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
    },
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    DynamoRefused,
    address::Address,
    fault::{Fault, told},
    item::{EXPIRES, KEY},
};

/// How long a table may take to be made.
const MAKING: Duration = Duration::from_secs(30);

/// How often is looked whether it is.
const LOOK: Duration = Duration::from_millis(100);

/// Looks at the table, and makes it where it is on this machine. Refuses what no waiting mends; that
/// nobody answers is no refusal.
pub(super) async fn fit(client: &Client, address: &Address) -> Result<(), DynamoRefused> {
    match describe(client, address).await {
        Ok(table) => judge(&table, address)?,
        Err(fault) if is_missing(&fault) && address.is_here() => {
            return match make(client, address).await {
                Ok(()) => Ok(()),
                Err(fault) => Err(refused(address, fault.detail())),
            };
        }
        Err(fault) if is_missing(&fault) => {
            return Err(refused(address, "there is no such table"));
        }
        Err(fault) => return barred(address, &fault),
    }
    forgets(client, address).await;
    Ok(())
}

async fn describe(client: &Client, address: &Address) -> Result<TableDescription, Fault> {
    let answer = client.describe_table().table_name(&address.table).send().await;
    let answer = answer.map_err(|error| Fault::of(&error))?;
    answer.table.ok_or_else(|| Fault::Lost("the answer describes no table".to_owned()))
}

fn is_missing(fault: &Fault) -> bool {
    fault.code() == Some("ResourceNotFoundException")
}

/// Refuses where somebody is there who does not let us in.
fn barred(address: &Address, fault: &Fault) -> Result<(), DynamoRefused> {
    let barred = [
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    ];
    if fault.code().is_some_and(|code| barred.contains(&code)) {
        let (table, detail) = (address.to_string(), fault.detail().to_owned());
        return Err(DynamoRefused::Login { table, detail });
    }
    tracing::warn!(
        "DynamoDB does not answer; going on without it until it does: {}",
        fault.detail()
    );
    Ok(())
}

fn refused(address: &Address, detail: &str) -> DynamoRefused {
    DynamoRefused::Table {
        table: address.to_string(),
        detail: detail.to_owned(),
        made_by: address.made_by(),
    }
}

/// Refuses a table that finds items otherwise than by `key` alone.
fn judge(table: &TableDescription, address: &Address) -> Result<(), DynamoRefused> {
    let keys: Vec<_> =
        table.key_schema().iter().map(|it| (it.attribute_name(), it.key_type())).collect();
    let kind = table
        .attribute_definitions()
        .iter()
        .find(|it| it.attribute_name() == KEY)
        .map(|it| it.attribute_type());
    if keys != [(KEY, &KeyType::Hash)] {
        let names: Vec<_> = keys.iter().map(|(name, _)| format!("`{name}`")).collect();
        let detail = format!(
            "it finds its items by {}, and must do so by the partition key `{KEY}` alone",
            names.join(" and ")
        );
        return Err(refused(address, &detail));
    }
    if kind != Some(&ScalarAttributeType::S) {
        return Err(refused(address, &format!("its partition key `{KEY}` is no string")));
    }
    if matches!(table.table_status(), Some(TableStatus::Deleting)) {
        return Err(refused(address, "it is being deleted"));
    }
    Ok(())
}

async fn make(client: &Client, address: &Address) -> Result<(), Fault> {
    let unsaid = |error: aws_sdk_dynamodb::error::BuildError| Fault::Unsent(told(&error));
    let attribute = AttributeDefinition::builder()
        .attribute_name(KEY)
        .attribute_type(ScalarAttributeType::S)
        .build()
        .map_err(unsaid)?;
    let key = KeySchemaElement::builder().attribute_name(KEY).key_type(KeyType::Hash);
    let made = client
        .create_table()
        .table_name(&address.table)
        .attribute_definitions(attribute)
        .key_schema(key.build().map_err(unsaid)?)
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await;
    match made.map_err(|error| Fault::of(&error)) {
        Ok(_) => tracing::info!("the table {address} was made"),
        // Another node was faster.
        Err(fault) if fault.code() == Some("ResourceInUseException") => {}
        Err(fault) => return Err(fault),
    }
    let late = || Fault::Lost(format!("it was not made in {} s", MAKING.as_secs()));
    timeout(MAKING, active(client, address)).await.map_err(|_| late())??;
    let forgets = TimeToLiveSpecification::builder().attribute_name(EXPIRES).enabled(true);
    let forgets = forgets.build().map_err(unsaid)?;
    let told = client.update_time_to_live().table_name(&address.table);
    // What stands in for DynamoDB on this machine need not be able to forget.
    if let Err(error) = told.time_to_live_specification(forgets).send().await {
        tracing::debug!("{address} deletes nothing by itself: {}", Fault::of(&error).detail());
    }
    Ok(())
}

async fn active(client: &Client, address: &Address) -> Result<(), Fault> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let table = describe(client, address).await?;
        if matches!(table.table_status(), Some(TableStatus::Active)) {
            return Ok(());
        }
    }
}

/// Says where a table would grow for ever. It is no reason to do without it, and the permission to
/// look may be missing.
async fn forgets(client: &Client, address: &Address) {
    let asked = client.describe_time_to_live().table_name(&address.table).send().await;
    let Ok(Some(told)) = asked.map(|answer| answer.time_to_live_description) else { return };
    let on = matches!(
        told.time_to_live_status(),
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    );
    if !on || told.attribute_name() != Some(EXPIRES) {
        tracing::warn!(
            "{address} does not delete what has passed (its time to live is not that of `{EXPIRES}`), \
             so it grows for ever; run `aws dynamodb update-time-to-live`, as docs/revocation.md shows"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tegata_core::Secret;
    use tegata_engines::{DynamoKind, DynamoServer};

    use super::{
        super::{DynamoConfig, DynamoKeys, client},
        *,
    };

    #[tokio::test]
    async fn a_table_is_made_on_this_machine_alone() {
        let server = DynamoServer::start(DynamoKind::Dynalite);
        let mut address = Address::read(&server.url("made")).unwrap();
        let keys = DynamoKeys::Given { id: "tester".into(), secret: Secret::new("none".into()) };
        let config = DynamoConfig { keys, ..DynamoConfig::default() };
        let client = Arc::new(client(&address, config).await.unwrap());
        // As if it were elsewhere.
        let here = address.endpoint.replace(super::super::address::Endpoint {
            url: "https://db.example".to_owned(),
            here: false,
        });
        let said = fit(&client, &address).await.unwrap_err().to_string();
        assert!(said.contains("there is no such table"), "{said}");
        let command = "aws dynamodb create-table --region eu-west-1 --endpoint-url \
                       https://db.example --table-name made --billing-mode PAY_PER_REQUEST";
        assert!(said.contains(command), "{said}");
        address.endpoint = here;
        // Both nodes that find none may make it.
        let (one, other) = tokio::join!(fit(&client, &address), fit(&client, &address));
        assert_eq!((one, other), (Ok(()), Ok(())));
        assert_eq!(fit(&client, &address).await, Ok(()));
    }
}
