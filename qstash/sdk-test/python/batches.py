"""Batches: several messages in one call, each with its own options."""

from runner import refused, same, test


@test("batch: URLs, URL groups and queues in one call are answered in order")
def _(t):
    t.client.url_group.upsert_endpoints("both", [{"url": t.url("/g1")}, {"url": t.url("/g2")}])
    answered = t.client.message.batch(
        [
            {"url": t.url("/one"), "body": "1", "method": "PUT", "content_type": "text/csv", "headers": {"X-A": "1"}},
            {"url_group": "both", "body": "2"},
            {"url": t.url("/queued"), "body": "3", "queue": "line"},
            {"url_group": "both", "body": "4", "queue": "line"},
        ]
    )
    t.server.settle()
    same([isinstance(one, list) for one in answered], [False, True, False, True])
    same([one.url for one in answered[1]], [t.url("/g1"), t.url("/g2")])
    same(
        [t.receiver.bodies(path) for path in ("/one", "/g1", "/g2", "/queued")], [["1"], ["2", "4"], ["2", "4"], ["3"]]
    )
    (one,) = t.receiver.at("/one")
    same([one.method, one.headers["content-type"], one.headers["x-a"]], ["PUT", "text/csv", "1"])
    same([queue.name for queue in t.client.queue.list()], ["line"])


@test("batch: batch_json sends JSON with the options that the SDK passes on")
def _(t):
    (sent,) = t.client.message.batch_json(
        [
            {
                "url": t.url(),
                "body": {"a": 1},
                "delay": "1m",
                "retries": 5,
                "timeout": 9,
                "label": "x",
                "callback": t.url("/cb"),
                "failure_callback": t.url("/fcb"),
                "flow_control": {"key": "k", "rate": 3, "period": 60},
                "callback_headers": {"Forward-X": "y"},
            }
        ]
    )
    shown = t.client.message.get(sent.message_id)
    same(
        [shown.max_retries, shown.label, shown.flow_control.key, shown.flow_control.rate, shown.flow_control.period],
        [5, "x", "k", 3, 60],
    )
    same([shown.callback, shown.failure_callback, shown.callback_headers], [t.url("/cb"), t.url("/fcb"), {"X": ["y"]}])
    t.server.advance("1m")
    same(
        [t.receiver.at("/in")[0].headers["content-type"], t.receiver.bodies("/in")], ["application/json", ['{"a": 1}']]
    )


@test("batch: a copy is recognised within the batch")
def _(t):
    first, second = t.client.message.batch([{"url": t.url(), "deduplication_id": "same"} for _ in range(2)])
    t.server.settle()
    same([second.message_id, second.deduplicated, t.count()], [first.message_id, True, 1])


@test("batch: a bad message rejects the whole batch, and nothing is sent")
def _(t):
    for bad in ({"url": t.url(), "delay": "soon"}, {"url": "ftp://h/x"}):
        refused(lambda: t.client.message.batch([{"url": t.url()}, bad]), 400)
    t.server.settle()
    same(len(t.receiver.requests), 0)
