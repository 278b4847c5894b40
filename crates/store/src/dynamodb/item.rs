//! An item: how one withdrawal lies in the table, and how it is raised.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use tegata_core::{Realm, Timestamp, port::Withdrawal};

use super::fault::Fault;

/// The attribute by which items are found.
pub(super) const KEY: &str = "key";
const MARK: &str = "mark";
const UNTIL: &str = "until";
/// When DynamoDB may delete the item, in seconds: a day after nobody needs it, as in all adapters.
pub(super) const EXPIRES: &str = "expires";

/// How long an item is left in the table after its end.
const LEFT: u64 = 86_400;

/// How often is begun anew with one item. Each time, another writer was in between; twice is enough
/// unless DynamoDB deletes the item meanwhile.
const ROUNDS: u32 = 4;

type Item = HashMap<String, AttributeValue>;

/// The items of a table.
pub(super) struct Items {
    pub(super) client: Client,
    pub(super) table: String,
}

impl Items {
    /// Reads the latest item of a key.
    pub(super) async fn read(&self, id: &str) -> Result<Option<(u64, Timestamp)>, Fault> {
        let ask = self.client.get_item().table_name(&self.table);
        let answer = ask.key(KEY, text(id)).consistent_read(true).send().await;
        let answer = answer.map_err(|error| Fault::of(&error))?;
        answer.item.map(|item| parse(id, &item)).transpose()
    }

    /// Raises the mark and the end of a key, each to what is given if it is below.
    ///
    /// DynamoDB knows no greater of two, so each write carries its condition. Mostly both are raised,
    /// or the item is new, and that is one write. Otherwise the other writer's item says which of the
    /// two is still below, and that one is raised alone. No write lowers anything, so nothing depends
    /// on which of several writers comes last, and nothing is lost by doing it again.
    pub(super) async fn raise(&self, realm: &Realm, one: &Withdrawal) -> Result<(), Fault> {
        let id = id(realm, &one.key);
        for _ in 0..ROUNDS {
            let found = match self.raise_both(&id, one).await? {
                Raised::Done => return Ok(()),
                Raised::Not(Some(item)) => Some(parse(&id, &item)?),
                // Not every endpoint shows what was in the way.
                Raised::Not(None) => self.read(&id).await?,
            };
            let Some((mark, until)) = found else { continue };
            // What another writer, or DynamoDB, does meanwhile is seen in the next round.
            let marked = mark >= one.mark || self.raise_mark(&id, one.mark).await?;
            let extended = until >= one.until || self.raise_end(&id, one.until).await?;
            if marked && extended {
                return Ok(());
            }
        }
        Err(Fault::Lost(format!("an item was changed by others {ROUNDS} times meanwhile")))
    }

    async fn raise_both(&self, id: &str, one: &Withdrawal) -> Result<Raised, Fault> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(KEY, text(id))
            .update_expression("SET #mark = :mark, #until = :until, #expires = :expires")
            .condition_expression(
                "attribute_not_exists(#key) OR (#mark <= :mark AND #until <= :until)",
            )
            .expression_attribute_names("#key", KEY)
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_names("#expires", EXPIRES)
            .expression_attribute_values(":mark", number(one.mark))
            .expression_attribute_values(":until", number(one.until.millis()))
            .expression_attribute_values(":expires", expires(one.until))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        raised(sent.map(drop))
    }

    /// Answers whether it was below.
    async fn raise_mark(&self, id: &str, mark: u64) -> Result<bool, Fault> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(KEY, text(id))
            .update_expression("SET #mark = :mark")
            .condition_expression("#mark < :mark")
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_values(":mark", number(mark))
            .send()
            .await;
        Ok(matches!(raised(sent.map(drop))?, Raised::Done))
    }

    /// Answers whether it was before.
    async fn raise_end(&self, id: &str, until: Timestamp) -> Result<bool, Fault> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(KEY, text(id))
            .update_expression("SET #until = :until, #expires = :expires")
            .condition_expression("#until < :until")
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_names("#expires", EXPIRES)
            .expression_attribute_values(":until", number(until.millis()))
            .expression_attribute_values(":expires", expires(until))
            .send()
            .await;
        Ok(matches!(raised(sent.map(drop))?, Raised::Done))
    }
}

/// What became of a conditional write.
enum Raised {
    Done,
    /// The condition did not hold; with what was there, if that was shown.
    Not(Option<Item>),
}

fn raised(
    sent: Result<(), SdkError<UpdateItemError, aws_sdk_dynamodb::config::http::HttpResponse>>,
) -> Result<Raised, Fault> {
    let Err(error) = sent else { return Ok(Raised::Done) };
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
            Ok(Raised::Not(failed.item.clone()))
        }
        _ => Err(Fault::of(&error)),
    }
}

/// What an item is called: no realm holds a `/`.
pub(super) fn id(realm: &Realm, key: &str) -> String {
    format!("{}/{key}", realm.as_str())
}

fn parse(id: &str, item: &Item) -> Result<(u64, Timestamp), Fault> {
    let number = |name: &str| {
        let value = item.get(name).and_then(|value| value.as_n().ok());
        value.and_then(|digits| digits.parse::<u64>().ok()).ok_or_else(|| Fault::Damaged {
            key: id.to_owned(),
            detail: format!("its `{name}` is no whole number of 64 bits"),
        })
    };
    Ok((number(MARK)?, Timestamp::from_millis(number(UNTIL)?)))
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn expires(until: Timestamp) -> AttributeValue {
    number(until.millis().div_ceil(1000).saturating_add(LEFT))
}
