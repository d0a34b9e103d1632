"""Refusals, by the SDK's classes."""

import json
from urllib.parse import quote

from runner import refused, same, test

DAY = 86_400


@test("error: a wrong token is refused everywhere with 401")
def _(t):
    client = t.client_with("nobody's")
    error = refused(lambda: client.message.publish(url=t.url()), 401)
    assert "unable to authenticate: invalid token" in str(error), error
    for call in (
        client.log.list,
        client.dlq.list,
        client.queue.list,
        client.schedule.list,
        client.url_group.list,
        client.signing_key.get,
    ):
        refused(call, 401)


@test("error: what is no destination, option or group is refused")
def _(t):
    for url in ("ftp://h/x", "h.example/x", quote("https://h.example/x", safe="")):
        error = refused(lambda: t.client.message.publish(url=url), 400)
        assert "endpoint has invalid scheme, add http:// or https://" in str(error), error
    error = refused(lambda: t.client.message.publish(url=t.url(), delay="soon"), 400)
    assert "Upstash-Delay" in json.loads(str(error).split("body: ")[1])["error"], error
    refused(lambda: t.client.message.publish(url_group="nobody"), 404)


@test("error: what goes beyond the plan is refused with 412")
def _(t):
    with t.other("--plan", "free") as own:
        for option in ({"retries": 6}, {"delay": "8d"}, {"body": "x" * (1024 * 1024 + 1)}):
            refused(lambda: own.client.message.publish(url=own.url(), **option), 412)
        refused(lambda: own.client.queue.upsert("line", parallelism=3), 412)


@test("error: after the messages of the day comes the daily limit")
def _(t):
    with t.other("--plan", "free") as own:
        own.client.message.batch([{"url": own.url(), "delay": "1h"} for _ in range(1_000)])
        limit = refused(lambda: own.client.message.publish(url=own.url()), kind="DailyMessageLimitExceededError")
        same(
            [limit.limit, limit.remaining, limit.reset],
            ["1000", "0", str((own.server.now() // 1_000 // DAY + 1) * DAY)],
        )
        own.client.message.cancel_all()
        own.server.to((own.server.now() // 1_000 // DAY + 1) * DAY * 1_000)
        own.client.message.publish(url=own.url())


@test("error: a service that is away is told of by its status")
def _(t):
    with t.other("--chaos", "away") as own:
        refused(lambda: own.client.message.publish(url=own.url()), 503)
