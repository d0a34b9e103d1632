//! The table and its indexes, for the development stack, for tests and for the template's test.

use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
        ScalarAttributeType, TimeToLiveSpecification,
    },
};

use super::StoreError;

/// Sparse: records that wait. `open` + `open_since`.
pub const OPEN_INDEX: &str = "open";
/// Sparse: heads of dead letters. `dl` (`dl#<day>#<shard>`) + `dl_at`.
pub const LETTER_INDEX: &str = "dead-letters";
/// The attribute that says when DynamoDB may remove an item, in seconds since the epoch.
pub const EXPIRY: &str = "expires_at";
/// What lists show of a dead letter, and so all that its index holds.
pub const LETTER_INDEX_ATTRIBUTES: [&str; 9] =
    ["reason", "status_code", "error", "fingerprint", "url", "source", "event_type", "size", "replaying"];

/// Makes the table unless it exists.
pub async fn create_table(client: &Client, table: &str) -> Result<(), StoreError> {
    let created = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes()))
        .set_key_schema(Some(keys("pk", "sk")))
        .global_secondary_indexes(index(OPEN_INDEX, "open", "open_since", projection(ProjectionType::All, &[])))
        .global_secondary_indexes(index(
            LETTER_INDEX,
            "dl",
            "dl_at",
            projection(ProjectionType::Include, &LETTER_INDEX_ATTRIBUTES),
        ))
        .send()
        .await;
    match created {
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => {
            return Ok(());
        }
        other => other?,
    };
    client.update_time_to_live().table_name(table).time_to_live_specification(ttl()).send().await?;
    Ok(())
}

fn attributes() -> Vec<AttributeDefinition> {
    let text = ScalarAttributeType::S;
    let number = ScalarAttributeType::N;
    [("pk", &text), ("sk", &text), ("open", &text), ("open_since", &number), ("dl", &text), ("dl_at", &number)]
        .into_iter()
        .filter_map(|(name, kind)| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(kind.clone()).build().ok()
        })
        .collect()
}

fn keys(hash: &str, range: &str) -> Vec<KeySchemaElement> {
    [(hash, KeyType::Hash), (range, KeyType::Range)]
        .into_iter()
        .filter_map(|(name, kind)| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().ok())
        .collect()
}

fn projection(kind: ProjectionType, attributes: &[&str]) -> Projection {
    let names = attributes.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Projection::builder().projection_type(kind).set_non_key_attributes((!names.is_empty()).then_some(names)).build()
}

fn index(name: &str, hash: &str, range: &str, projection: Projection) -> GlobalSecondaryIndex {
    let built = GlobalSecondaryIndex::builder()
        .index_name(name)
        .set_key_schema(Some(keys(hash, range)))
        .projection(projection)
        .build();
    built.unwrap_or_else(|error| unreachable!("name, keys and projection are set: {error}"))
}

fn ttl() -> TimeToLiveSpecification {
    let built = TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRY).build();
    built.unwrap_or_else(|error| unreachable!("both fields are set: {error}"))
}
