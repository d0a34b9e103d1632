"""Publishing: every option that the SDK has, seen at the receiver or in what the server says of the message."""

import hashlib
import json

from harness import LOOP, until
from qstash import AsyncQStash
from runner import refused, same, test


def digest(text):
    return "REDACTED:" + hashlib.sha256(text.encode()).hexdigest()


@test("publish: method, headers, content type and body arrive")
def _(t):
    answered = t.client.message.publish(
        url=t.url(),
        method="PUT",
        content_type="text/plain",
        body="hello",
        headers={"X-Shop": "7", "Upstash-Forward-X-Till": "8"},
    )
    t.server.settle()
    (request,) = t.receiver.at("/in")
    seen = [request.method, request.body, *(request.headers.get(name) for name in ("content-type", "x-shop", "x-till"))]
    same(seen, ["PUT", "hello", "text/plain", "7", "8"])
    same([answered.message_id, answered.deduplicated], [request.headers["upstash-message-id"], False])
    same([request.headers["upstash-retried"], request.headers["user-agent"]], ["0", "Upstash-QStash"])


@test("publish: publish_json sends JSON and says so")
def _(t):
    t.client.message.publish_json(url=t.url(), body={"price": "5 €"})
    t.server.settle()
    (request,) = t.receiver.at("/in")
    same(
        [request.method, request.headers["content-type"], json.loads(request.body)],
        ["POST", "application/json", {"price": "5 €"}],
    )


@test("publish: without a body there is neither body nor content type, and bytes stay bytes")
def _(t):
    t.client.message.publish(url=t.url())
    t.client.message.publish(url=t.url("/bytes"), body=b"\xff\x00\x80")
    t.server.settle()
    same([t.receiver.at("/in")[0].bytes, t.receiver.at("/in")[0].headers.get("content-type")], [b"", None])
    same(t.receiver.at("/bytes")[0].bytes, b"\xff\x00\x80")


@test("publish: a content type among the headers arrives")
def _(t):
    t.client.message.publish(url=t.url(), body="a,b", headers={"content-type": "text/csv"})
    t.server.settle()
    same(t.receiver.at("/in")[0].headers["content-type"], "text/csv")


@test("publish: a content type among the headers and the SDK's own are not both sent")
def _(t):
    t.client.message.publish_json(url=t.url(), body={}, headers={"content-type": "application/vnd.shop+json"})
    t.server.settle()
    (request,) = t.receiver.at("/in")
    same(request.names.count("content-type"), 1, f"the last one is {request.headers['content-type']}")


@test("publish: a delivery can be made with each method")
def _(t):
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    for method in methods:
        t.client.message.publish(url=t.url("/" + method), method=method)
    t.server.settle()
    same(
        {request.path: request.method for request in t.receiver.requests}, {"/" + method: method for method in methods}
    )


@test("publish: delays are waited for")
def _(t):
    for delay in (90, "90s", "1m30s"):
        t.client.message.publish(url=t.url(), delay=delay)
    t.server.advance("89s")
    same(t.count(), 0, "before their time")
    t.server.advance("1s")
    same(t.count(), 3, "at their time")


@test("publish: not_before is waited for and beats a delay")
def _(t):
    t.client.message.publish(url=t.url(), not_before=t.server.now() // 1_000 + 3_600, delay=5)
    t.server.advance("50m")
    same(t.count(), 0, "before its time")
    t.server.advance("11m")
    same(t.count(), 1, "after its time")


@test("publish: retries and retry_delay are what a failing destination gets")
def _(t):
    t.receiver.answer("/in", status=500)
    t.client.message.publish(url=t.url(), retries=2, retry_delay="1000 * (1 + retried)")
    t.server.settle()
    seen = [t.count()]
    for span in ("999ms", "1ms", "1999ms", "1ms", "1d"):
        t.server.advance(span)
        seen.append(t.count())
    same(seen, [1, 1, 2, 2, 3, 3], "attempts at 0, 1 and 3 seconds")
    same([request.headers["upstash-retried"] for request in t.receiver.at("/in")], ["0", "1", "2"])


@test("publish: an answer that takes longer than the timeout is a failure")
def _(t):
    t.receiver.answer("/in", hold=True)
    sent = t.client.message.publish(url=t.url(), timeout=1, retries=0)
    t.server.settle()
    (entry,) = [
        log for log in t.client.log.list(filter={"message_id": sent.message_id}).logs if log.state.value == "FAILED"
    ]
    same([entry.error, entry.timeout, entry.response_status], ["context deadline exceeded", 1_000, None])


@test("publish: a deduplication id is remembered for ten minutes")
def _(t):
    publish = lambda: t.client.message.publish(url=t.url(), deduplication_id="order-7")
    first, second = publish(), publish()
    same([first.deduplicated, second.deduplicated, second.message_id], [False, True, first.message_id])
    t.server.advance("11m")
    same(publish().deduplicated, False, "after the window")
    t.server.settle()
    same(t.count(), 2)
    refused(lambda: t.client.message.publish(url=t.url(), deduplication_id="a:b"), 400)


@test("publish: content-based deduplication looks at body, headers and destination, and can be off")
def _(t):
    def publish(path="/in", body="a", shop="1", is_on=True):
        headers = {"X-Shop": shop}
        return t.client.message.publish(
            url=t.url(path), body=body, headers=headers, content_based_deduplication=is_on
        ).message_id

    first = publish()
    same(publish(), first, "the same again")
    others = [publish(body="b"), publish(shop="2"), publish("/out"), publish(is_on=False)]
    same(len({first, *others}), 5, "another body, header or destination, or no deduplication")


@test("publish: flow control is shown and holds")
def _(t):
    t.receiver.answer("/in", hold=True)
    control = {"key": "shop", "parallelism": 2, "rate": 100, "period": "1m"}
    sent = [t.client.message.publish(url=t.url(), flow_control=control) for _ in range(5)]
    until("two are being delivered", lambda: t.count() == 2)
    shown = t.client.message.get(sent[4].message_id).flow_control
    same([shown.key, shown.parallelism, shown.rate, shown.period], ["shop", 2, 100, 60])
    same(t.client.flow_control.get("shop").wait_list_size, 3)
    t.receiver.released.set()
    t.server.settle()
    same(t.count(), 5)


@test("publish: a rate holds")
def _(t):
    for _ in range(5):
        t.client.message.publish(url=t.url(), flow_control={"key": "shop", "rate": 2, "period": 60})
    seen = []
    for span in ("0s", "59s", "1s", "60s"):
        t.server.advance(span)
        seen.append(t.count())
    same(seen, [2, 2, 4, 5])


@test("publish: labels are shown")
def _(t):
    sent = t.client.message.publish(url=t.url(), delay=60, label="a")
    same(t.client.message.get(sent.message_id).label, "a")


@test("publish: redacted fields are shown as digests and delivered whole")
def _(t):
    headers = {"X-Key": "secret", "X-Open": "open"}
    sent = t.client.message.publish(
        url=t.url(), body="card 42", headers=headers, delay=60, redact={"body": True, "header": ["X-Key"]}
    )
    shown = t.client.message.get(sent.message_id)
    same(
        [shown.body, shown.headers["X-Key"], shown.headers["X-Open"]], [digest("card 42"), [digest("secret")], ["open"]]
    )
    everything = t.client.message.publish(url=t.url("/all"), headers=headers, delay=60, redact={"header": True})
    same(t.client.message.get(everything.message_id).headers["X-Open"], [digest("open")])
    t.server.advance("60s")
    same([t.receiver.at("/in")[0].body, t.receiver.at("/in")[0].headers["x-key"]], ["card 42", "secret"])


@test("publish: several destinations in one call are none of the SDK's")
def _(t):
    refused(lambda: t.client.message.publish(url=t.url(), url_group="both"))
    refused(lambda: t.client.message.publish())


@test("publish: many calls of the asyncio client at the same time")
def _(t):
    client = AsyncQStash(t.server.token, retry=False, base_url=t.server.url)

    async def publish():
        calls = [client.message.publish(url=t.url(), body=str(number)) for number in range(50)]
        return [(await call).message_id for call in map(_task, calls)]

    same(len(set(LOOP.run_until_complete(publish()))), 50)
    t.server.settle()
    same(sorted(map(int, t.receiver.bodies("/in"))), list(range(50)))


def _task(call):
    return LOOP.create_task(call)
