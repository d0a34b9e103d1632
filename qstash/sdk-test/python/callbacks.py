"""Callbacks and failure callbacks: delivered, verified, and read field by field."""

import base64
import json

from qstash import Receiver
from runner import same, test


def told(request):
    return json.loads(request.body)


def verified(t, request):
    """A callback is a message like any other, so its signature is over its own URL and body."""
    Receiver(*t.server.keys).verify(signature=request.headers["upstash-signature"], body=request.body, url=request.url)
    return told(request)


def text(encoded):
    return base64.b64decode(encoded).decode()


@test("callback: it tells what was sent and what came back")
def _(t):
    t.receiver.answer("/in", status=201, body="made it ✓".encode(), headers={"X-Answer": "42"})
    sent = t.client.message.publish(
        url=t.url(), method="PUT", body="hello", headers={"X-Shop": "7"}, callback=t.url("/cb"), retries=1
    )
    t.server.settle()
    body = verified(t, t.receiver.at("/cb")[0])
    same([body["status"], text(body["body"]), body["header"]["X-Answer"]], [201, "made it ✓", ["42"]])
    same([body["sourceMessageId"], body["url"], body["method"]], [sent.message_id, t.url(), "PUT"])
    same([text(body["sourceBody"]), body["sourceHeader"]["X-Shop"], body["maxRetries"]], ["hello", ["7"], 1])
    same([body.get("retried", 0), body["callerIP"], "dlqId" in body], [0, "127.0.0.1", False])
    assert int(body["notBefore"]) >= int(body["createdAt"]) > 0, body


@test("callback: every attempt is told of")
def _(t):
    t.receiver.answers["/in"] = lambda before: {"status": 503 if before < 2 else 200}
    t.client.message.publish(url=t.url(), callback=t.url("/cb"), retries=5, retry_delay="1000")
    t.server.advance("10s")
    same(
        [(body["status"], body.get("retried", 0)) for body in map(told, t.receiver.at("/cb"))],
        [(503, 0), (503, 1), (200, 2)],
    )


@test("callback: its own options hold, and its headers are shown")
def _(t):
    t.receiver.answer("/cb", status=500)
    options = {"Method": "PUT", "Retries": "1", "Retry-Delay": "2000", "Timeout": "30s", "Forward-X-For": "callback"}
    sent = t.client.message.publish(url=t.url(), delay=60, callback=t.url("/cb"), callback_headers=options)
    shown = t.client.message.get(sent.message_id)
    same([shown.callback, shown.callback_headers], [t.url("/cb"), {"X-For": ["callback"]}])
    t.server.advance("1d")
    seen = [(one.method, one.headers.get("x-for"), one.headers["upstash-retried"]) for one in t.receiver.at("/cb")]
    same(seen, [("PUT", "callback", "0"), ("PUT", "callback", "1")])
    (dead,) = t.client.dlq.list().messages
    same([dead.url, dead.max_retries, dead.retry_delay_expression], [t.url("/cb"), 1, "2000"])


@test("failure callback: it comes once, with the entry of the dead-letter queue")
def _(t):
    t.receiver.answer("/in", status=502, body=b"broken")
    options = {"Method": "PATCH", "Forward-X-For": "failure"}
    sent = t.client.message.publish(
        url=t.url(),
        body="b",
        failure_callback=t.url("/fcb"),
        failure_callback_headers=options,
        retries=2,
        retry_delay="1000",
    )
    t.server.advance("1h")
    same([t.count(), t.count("/fcb")], [3, 1])
    (request,) = t.receiver.at("/fcb")
    body, (dead,) = verified(t, request), t.client.dlq.list().messages
    same([request.method, request.headers["x-for"], body["dlqId"]], ["PATCH", "failure", dead.dlq_id])
    same(
        [body["sourceMessageId"], body["status"], text(body["body"]), body["retried"]],
        [sent.message_id, 502, "broken", 2],
    )
    same([dead.failure_callback, dead.failure_callback_headers], [t.url("/fcb"), {"X-For": ["failure"]}])
