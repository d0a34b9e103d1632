"""Pending messages: what is shown of them, and how they are cancelled."""

import base64

from qstash.log import LogState
from runner import refused, same, test


def waiting(t, count):
    return [t.client.message.publish(url=t.url(), delay=60).message_id for _ in range(count)]


@test("message: everything about it is shown while it waits, and nothing later")
def _(t):
    now = t.server.now()
    sent = t.client.message.publish(
        url=t.url(), method="PUT", body="text", headers={"X-A": "1"}, delay=60, retries=5, retry_delay="1000"
    )
    shown = t.client.message.get(sent.message_id)
    same(
        [shown.message_id, shown.url, shown.method, shown.body, shown.headers["X-A"]],
        [sent.message_id, t.url(), "PUT", "text", ["1"]],
    )
    same(
        [shown.max_retries, shown.retry_delay_expression, shown.created_at, shown.not_before],
        [5, "1000", now, now + 60_000],
    )
    same(
        [shown.caller_ip, shown.url_group, shown.queue, shown.schedule_id, shown.flow_control],
        ["127.0.0.1", None, None, None, None],
    )
    t.server.advance("1m")
    refused(lambda: t.client.message.get(sent.message_id), 404)


@test("message: a body that is not text is shown in base64")
def _(t):
    sent = t.client.message.publish(url=t.url(), body=b"\xff\x00", delay=60)
    shown = t.client.message.get(sent.message_id)
    same([shown.body, base64.b64decode(shown.body_base64)], [None, b"\xff\x00"])


@test("message: one that is cancelled never arrives, and the log says so")
def _(t):
    (one,) = waiting(t, 1)
    t.client.message.cancel(one)
    t.server.advance("1h")
    same(t.count(), 0)
    states = [log.state for log in t.client.log.list(filter={"message_id": one}).logs]
    same(states, [LogState.CANCELED, LogState.CANCEL_REQUESTED, LogState.CREATED])
    refused(lambda: t.client.message.cancel(one), 404)


@test("message: several and all are cancelled")
def _(t):
    ids = waiting(t, 5)
    same(t.client.message.cancel_many([*ids[:2], "msg_unknown"]), 2)
    same(t.client.message.cancel_many([]), 0, "an empty list is not everything")
    same(t.client.message.cancel_all(), 3)
    t.server.advance("1h")
    same(t.count(), 0)
