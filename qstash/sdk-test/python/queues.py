"""Queues: their life, and the order in which a receiver sees what is in them."""

from harness import until
from runner import refused, same, test


@test("queue: it is made, changed, listed and deleted")
def _(t):
    t.client.queue.upsert("line", parallelism=3)
    made = t.client.queue.get("line")
    same([made.name, made.parallelism, made.lag, made.paused], ["line", 3, 0, False])
    t.server.advance("1s")
    t.client.queue.upsert("line", parallelism=2, paused=True)
    changed = t.client.queue.get("line")
    same(
        [changed.parallelism, changed.paused, changed.created_at, changed.updated_at],
        [2, True, made.created_at, made.updated_at + 1_000],
    )
    t.client.queue.upsert("other")
    same([(queue.name, queue.parallelism) for queue in t.client.queue.list()], [("line", 2), ("other", 1)])
    t.client.queue.delete("line")
    same([queue.name for queue in t.client.queue.list()], ["other"])
    refused(lambda: t.client.queue.get("line"), 404)


@test("queue: messages arrive one after another, a retry before the next one")
def _(t):
    t.receiver.answers["/in"] = lambda before: {"status": 500 if before == 1 else 200}
    for body in "abcd":
        t.client.message.enqueue(queue="line", url=t.url(), body=body, retries=1, retry_delay="60000")
    t.server.settle()
    same([t.receiver.bodies("/in"), t.client.queue.get("line").lag], [["a", "b"], 3], "the line waits for the retry")
    t.server.advance("1m")
    same(t.receiver.bodies("/in"), ["a", "b", "b", "c", "d"])


@test("queue: its parallelism is how many are under way")
def _(t):
    t.client.queue.upsert("line", parallelism=2)
    t.receiver.answer("/in", hold=True)
    for body in "abc":
        t.client.message.enqueue(queue="line", url=t.url(), body=body)
    until("two are being delivered", lambda: t.count() == 2)
    same(t.client.flow_control.get_global_parallelism().parallelism_count, 2)
    t.receiver.released.set()
    t.server.settle()
    same(t.count(), 3)


@test("queue: while it is paused nothing is delivered")
def _(t):
    t.client.queue.upsert("line")
    t.client.queue.pause("line")
    sent = [t.client.message.enqueue_json(queue="line", url=t.url(), body=number) for number in (1, 2)]
    t.server.advance("1h")
    same([t.count(), t.client.queue.get("line").paused, t.client.queue.get("line").lag], [0, True, 2])
    same(t.client.message.get(sent[0].message_id).queue, "line")
    t.client.queue.resume("line")
    t.server.settle()
    same([t.receiver.bodies("/in"), t.client.queue.get("line").paused], [["1", "2"], False])


@test("queue: every option holds, and a URL group gets a message for each endpoint")
def _(t):
    t.client.url_group.upsert_endpoints("both", [{"url": t.url("/g1")}, {"url": t.url("/g2")}])
    answered = t.client.message.enqueue(
        queue="line",
        url_group="both",
        body="x",
        content_type="text/plain",
        method="PUT",
        headers={"X-A": "1"},
        timeout="5s",
        callback=t.url("/cb"),
        failure_callback=t.url("/fcb"),
        deduplication_id="d",
        label="l",
        redact={"body": True},
    )
    t.server.settle()
    same([one.url for one in answered], [t.url("/g1"), t.url("/g2")])
    same(
        [(one.method, one.headers["x-a"], one.body) for one in t.receiver.at("/g1") + t.receiver.at("/g2")],
        [("PUT", "1", "x")] * 2,
    )
    same(
        [one.path for one in t.receiver.requests],
        ["/g1", "/cb", "/g2", "/cb"],
        "a callback comes before the next message",
    )
    again = t.client.message.enqueue(queue="line", url_group="both", deduplication_id="d")
    same([one.deduplicated for one in again], [True, True])


@test("queue: one that does not exist can be neither paused nor resumed nor deleted")
def _(t):
    for act in ("pause", "resume", "delete", "get"):
        refused(lambda: getattr(t.client.queue, act)("nobody"), 404)
