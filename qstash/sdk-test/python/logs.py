"""Logs: states, filters and pages."""

import base64

from qstash.log import LogState
from runner import same, test


def states(page):
    return [log.state.name for log in page.logs]


def pages(t, **options):
    seen, cursor = [], None
    while not seen or cursor:
        page = t.client.log.list(cursor=cursor, **options)
        seen.append(page.logs)
        cursor = page.cursor
    return seen


@test("logs: the ways of messages that are delivered and that fail")
def _(t):
    t.receiver.answer("/failing", status=500, body=b"broken", headers={"X-Why": "so"})
    good = t.client.message.publish(url=t.url())
    bad = t.client.message.publish(url=t.url("/failing"), retries=1, retry_delay="1000")
    t.server.advance("1m")
    same(states(t.client.log.list(filter={"message_id": good.message_id})), ["DELIVERED", "ACTIVE", "CREATED"])
    page = t.client.log.list(filter={"message_id": bad.message_id})
    same(states(page), ["FAILED", "ERROR", "ACTIVE", "RETRY", "ERROR", "ACTIVE", "CREATED"])
    failed, retry = page.logs[0], page.logs[3]
    same(
        [failed.response_status, failed.response_headers["X-Why"], base64.b64decode(failed.response_body)],
        [500, ["so"], b"broken"],
    )
    same([retry.next_delivery_time - retry.time, retry.retry_delay_expression], [1_000, "1000"])


@test("logs: an entry says what the message was")
def _(t):
    sent = t.client.message.publish(
        url=t.url(),
        method="PUT",
        body="b",
        headers={"X-A": "1"},
        label="l",
        retries=2,
        timeout=9,
        callback=t.url("/cb"),
        callback_headers={"Forward-C": "1"},
        failure_callback=t.url("/fcb"),
        failure_callback_headers={"Forward-F": "2"},
        flow_control={"key": "k", "rate": 5},
    )
    (entry,) = t.client.log.list(filter={"message_id": sent.message_id, "state": LogState.CREATED}).logs
    same(
        [entry.message_id, entry.url, entry.method, entry.headers["X-A"], entry.label],
        [sent.message_id, t.url(), "PUT", ["1"], "l"],
    )
    same(
        [base64.b64decode(entry.body_base64), entry.max_retries, entry.timeout, entry.time],
        [b"b", 2, 9_000, t.server.now()],
    )
    same([entry.callback, entry.callback_headers], [t.url("/cb"), {"C": ["1"]}])
    same([entry.failure_callback, entry.failure_callback_headers], [t.url("/fcb"), {"F": ["2"]}])
    same([entry.flow_control.key, entry.flow_control.rate], ["k", 5])


@test("logs: every page has as many entries as are asked for, and none comes twice")
def _(t):
    t.client.message.batch([{"url": t.url()} for _ in range(100)])
    t.server.settle()
    seen = pages(t, count=70)
    same([len(page) for page in seen], [70, 70, 70, 70, 20])
    same(len({(log.message_id, log.state) for page in seen for log in page}), 300)


@test("logs: every filter finds its own")
def _(t):
    t.client.url_group.upsert_endpoints("shop", [{"url": t.url("/grouped"), "name": "first"}])
    t.receiver.answer("/failing", status=500)
    t.client.message.publish(url_group="shop")
    t.client.message.enqueue(queue="line", url=t.url("/queued"))
    one = t.client.message.publish(url=t.url("/labelled"), label="a").message_id
    other = t.client.message.publish(url=t.url("/failing")).message_id
    t.server.settle()
    between = t.server.now()
    t.client.schedule.create(destination=t.url("/scheduled"), cron="* * * * *", schedule_id="mine")
    t.server.to(t.client.schedule.get("mine").next_schedule_time)
    found = lambda **filter: sorted(
        {log.url.removeprefix(t.receiver.origin) for log in t.client.log.list(filter=filter).logs}
    )
    same([found(message_id=one), found(message_ids=[one, other])], [["/labelled"], ["/failing", "/labelled"]])
    same(
        [found(url=t.url("/queued")), found(url_group="shop"), found(queue="line")],
        [["/queued"], ["/grouped"], ["/queued"]],
    )
    same(
        [found(schedule_id="mine"), found(label="a"), found(state=LogState.RETRY)],
        [["/scheduled"], ["/labelled"], ["/failing"]],
    )
    same(
        [found(to_time=between, label="a"), found(from_time=between + 1, schedule_id="mine")],
        [["/labelled"], ["/scheduled"]],
    )
    same(found(state=LogState.IN_PROGRESS), ["/failing", "/grouped", "/labelled", "/queued", "/scheduled"])
    (entry,) = t.client.log.list(filter={"url_group": "shop", "state": LogState.DELIVERED}).logs
    same([entry.url_group, entry.endpoint, entry.queue, entry.schedule_id], ["shop", "first", None, None])
