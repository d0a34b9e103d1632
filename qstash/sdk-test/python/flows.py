"""Flow control by its key."""

from dataclasses import asdict

from runner import refused, same, test


def publish(t, count, **control):
    for _ in range(count):
        t.client.message.publish(url=t.url(), flow_control={"key": "k", **control})
    t.server.settle()


@test("flow control: a key is shown with its limits and what waits for it")
def _(t):
    start = t.server.now() // 1_000
    publish(t, 5, rate=2, parallelism=3, period="1m")
    wanted = {
        "key": "k",
        "wait_list_size": 3,
        "parallelism_max": 3,
        "parallelism_count": 0,
        "rate_max": 2,
        "rate_count": 2,
        "rate_period": 60,
        "rate_period_start": start,
        "is_paused": False,
        "is_pinned_parallelism": False,
        "is_pinned_rate": False,
    }
    same(asdict(t.client.flow_control.get("k")), wanted)
    same(asdict(t.client.flow_control.get_global_parallelism()), {"parallelism_max": 100, "parallelism_count": 0})
    refused(lambda: t.client.flow_control.get("nobody"), 404)


@test("flow control: while a key is paused its messages wait")
def _(t):
    t.client.flow_control.pause("k")
    publish(t, 2, parallelism=5)
    t.server.advance("1h")
    shown = t.client.flow_control.get("k")
    same([shown.is_paused, shown.wait_list_size, t.count()], [True, 2, 0])
    t.client.flow_control.resume("k")
    t.server.settle()
    same([t.client.flow_control.get("k").is_paused, t.count()], [False, 2])


@test("flow control: a pinned limit beats what messages say, until a message comes after the unpin")
def _(t):
    t.client.flow_control.pin("k", {"parallelism": 7, "rate": 1, "period": 60})
    publish(t, 3, parallelism=2, rate=100, period=1)
    shown = t.client.flow_control.get("k")
    same(
        [shown.parallelism_max, shown.rate_max, shown.rate_period, shown.is_pinned_parallelism, shown.is_pinned_rate],
        [7, 1, 60, True, True],
    )
    same(t.count(), 1)
    t.client.flow_control.unpin("k", {"rate": True, "parallelism": False})
    shown = t.client.flow_control.get("k")
    same([shown.rate_max, shown.is_pinned_parallelism, shown.is_pinned_rate], [1, True, False])
    t.client.flow_control.unpin("k", {"parallelism": True})
    same(t.client.flow_control.get("k").parallelism_max, 7)
    publish(t, 1, parallelism=2, rate=100, period=1)
    shown = t.client.flow_control.get("k")
    same([shown.parallelism_max, shown.rate_max, shown.rate_period], [2, 100, 1])
    t.server.advance("1s")
    same(t.count(), 4)


@test("flow control: a reset begins a new period at once")
def _(t):
    publish(t, 4, rate=2, period="1h")
    same(t.count(), 2)
    t.client.flow_control.reset_rate("k")
    t.server.settle()
    same([t.count(), t.client.flow_control.get("k").rate_count], [4, 2])
