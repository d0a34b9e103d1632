"""Schedules: their life, when they fire, and what they send."""

from datetime import datetime, timezone

from qstash.schedule import ScheduleState
from runner import refused, same, test

HOUR = 3_600_000


def hourly(t, **more):
    return t.client.schedule.create(**{"destination": t.url(), "cron": "0 * * * *", **more})


@test("schedule: it fires at its minutes, and says which schedule it was")
def _(t):
    made = t.client.schedule.create_json(
        destination=t.url(), cron="* * * * *", body={"a": 1}, method="PUT", headers={"X-A": "1"}
    )
    t.server.settle()
    same(t.count(), 0, "it does not fire when it is made")
    t.server.advance("3m")
    seen = [(one.method, one.body, one.headers["content-type"], one.headers["x-a"]) for one in t.receiver.at("/in")]
    same(seen, [("PUT", '{"a": 1}', "application/json", "1")] * 3)
    same({one.headers["upstash-schedule-id"] for one in t.receiver.at("/in")}, {made})


@test("schedule: what it was made with is shown")
def _(t):
    made = hourly(
        t,
        body="b",
        content_type="text/plain",
        method="PATCH",
        headers={"X-A": "1"},
        delay=60,
        retries=2,
        retry_delay="1000",
        timeout=30,
        label="l",
        callback=t.url("/cb"),
        failure_callback=t.url("/fcb"),
        callback_headers={"Forward-C": "1"},
        failure_callback_headers={"Forward-F": "2"},
        flow_control={"key": "k", "rate": 5, "parallelism": 2, "period": "1m"},
    )
    one = t.client.schedule.get(made)
    same([one.schedule_id, one.cron, one.destination, one.method, one.body], [made, "0 * * * *", t.url(), "PATCH", "b"])
    same(
        [one.headers["X-A"], one.headers["Content-Type"], one.caller_ip, one.paused],
        [["1"], ["text/plain"], "127.0.0.1", False],
    )
    same([one.delay, one.retries, one.retry_delay_expression, one.timeout, one.label], [60, 2, "1000", 30, "l"])
    same([one.callback, one.callback_headers, one.failure_callback_headers], [t.url("/cb"), {"C": ["1"]}, {"F": ["2"]}])
    same(
        [one.flow_control.key, one.flow_control.rate, one.flow_control.parallelism, one.flow_control.period],
        ["k", 5, 2, 60],
    )


@test("schedule: it knows when it fired, when it fires next and how that went")
def _(t):
    t.receiver.answers["/in"] = lambda before: {"status": 200 if before == 0 else 500}
    made = hourly(t, retries=0)
    first, seen = t.client.schedule.get(made).next_schedule_time, []
    same(first % HOUR, 0, "not on the hour")
    for at in (first, first + HOUR):
        t.server.to(at)
        one = t.client.schedule.get(made)
        seen.append(
            (one.last_schedule_time - first, one.next_schedule_time - first, list(one.last_schedule_states.values()))
        )
    same(seen, [(0, HOUR, [ScheduleState.SUCCESS]), (HOUR, 2 * HOUR, [ScheduleState.FAIL])])


@test("schedule: it goes by its time zone")
def _(t):
    cron = "CRON_TZ=Asia/Tokyo 0 9 * * *"
    one = t.client.schedule.get(t.client.schedule.create(destination=t.url(), cron=cron))
    same([one.cron, datetime.fromtimestamp(one.next_schedule_time / 1_000, timezone.utc).hour], [cron, 0])


@test("schedule: it can send through a queue, and its own id makes or changes it")
def _(t):
    t.client.queue.upsert("line", paused=True)
    same(hourly(t, schedule_id="mine", body="old"), "mine")
    same(hourly(t, schedule_id="mine", body="new", queue="line"), "mine")
    (one,) = t.client.schedule.list()
    same([one.schedule_id, one.queue, one.body], ["mine", "line", "new"])
    t.server.advance("2h")
    same([t.count(), t.client.queue.get("line").lag], [0, 2])
    t.client.queue.resume("line")
    t.server.settle()
    same(t.receiver.bodies("/in"), ["new", "new"])


@test("schedule: while it is paused it does not fire, and a deleted one is gone")
def _(t):
    made = hourly(t)
    t.client.schedule.pause(made)
    same(t.client.schedule.get(made).paused, True)
    t.server.advance("3h")
    same(t.count(), 0)
    t.client.schedule.resume(made)
    t.server.advance("1h")
    same([t.client.schedule.get(made).paused, t.count()], [False, 1])
    t.client.schedule.delete(made)
    t.server.advance("1h")
    same([t.client.schedule.list(), t.count()], [[], 1])
    refused(lambda: t.client.schedule.get(made), 404)


@test("schedule: redacted fields are shown as digests, and a bad cron expression is refused")
def _(t):
    one = t.client.schedule.get(hourly(t, body="card 42", redact={"body": True}))
    assert one.body.startswith("REDACTED:"), one.body
    t.server.advance("1h")
    same(t.receiver.bodies("/in"), ["card 42"])
    refused(lambda: hourly(t, cron="whenever"), 400)
