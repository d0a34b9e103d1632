"""The same work as Surehook's consumer: QStash's receiver verifies, Powertools keeps the record of what was done, urllib3 delivers.

Everything is built once, when the function starts, as both libraries' documentation shows it."""

import os

import urllib3
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from qstash import Receiver
from qstash.errors import SignatureError

RECEIVER = Receiver(
    current_signing_key=os.environ["QSTASH_CURRENT_SIGNING_KEY"],
    next_signing_key=os.environ["QSTASH_NEXT_SIGNING_KEY"],
)
CONFIG = IdempotencyConfig(event_key_jmespath="body", raise_on_no_idempotency_key=True)
RECORDS = DynamoDBPersistenceLayer(table_name=os.environ["TABLE_NAME"])
DESTINATIONS = urllib3.PoolManager(timeout=8.0, retries=False)


@idempotent_function(data_keyword_argument="event", persistence_store=RECORDS, config=CONFIG)
def deliver(event):
    answer = DESTINATIONS.request(
        "POST",
        os.environ["DESTINATION_URL"],
        body=event["body"].encode(),
        headers={"content-type": "application/json"},
    )
    if not 200 <= answer.status < 300:
        raise RuntimeError(f"the destination answered {answer.status}")
    return {"statusCode": 200, "body": '{"status":"processed"}'}


def is_signed(event):
    try:
        RECEIVER.verify(
            signature=event["headers"]["upstash-signature"],
            body=event["body"],
            url=os.environ["CONSUMER_URL"] + event["rawPath"],
        )
    except SignatureError:
        return False
    return True


def handler(event, context):
    CONFIG.register_lambda_context(context)
    if not is_signed(event):
        return {"statusCode": 401, "body": ""}
    return deliver(event=event)
