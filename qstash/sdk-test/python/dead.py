"""The dead-letter queue."""

from runner import refused, same, test


def fail(t, count, **more):
    t.receiver.answer("/dead", status=500, body=b"broken", headers={"X-Why": "so"})
    messages = [{"url": t.url("/dead"), "body": str(number), "retries": 0, **more} for number in range(count)]
    sent = t.client.message.batch(messages)
    t.server.settle()
    return [one.message_id for one in sent]


def pages(t, **options):
    seen, cursor = [], None
    while not seen or cursor:
        page = t.client.dlq.list(cursor=cursor, **options)
        seen.append(page.messages)
        cursor = page.cursor
    return seen


@test("dlq: a dead message is shown with the last answer")
def _(t):
    (sent,) = fail(t, 1, headers={"X-A": "1"}, label="l")
    (dead,) = t.client.dlq.list().messages
    same(
        [dead.message_id, dead.url, dead.body, dead.headers["X-A"], dead.label], [sent, t.url("/dead"), "0", ["1"], "l"]
    )
    same([dead.response_status, dead.response_body, dead.response_headers["X-Why"]], [500, "broken", ["so"]])
    same(t.client.dlq.get(dead.dlq_id), dead, "alone as in the list")


@test("dlq: an answer that is not text is shown in base64, and none at all has the status 0")
def _(t):
    t.receiver.answer("/in", status=500, body=b"\xff\x00")
    for url in (t.url(), "http://127.0.0.1:1/nobody"):
        t.client.message.publish(url=url, retries=0)
    t.server.settle()
    binary, silent = t.client.dlq.list().messages
    same([binary.response_body, binary.response_body_base64], [None, "/wA="])
    same([silent.response_status, silent.response_body], [0, None])


@test("dlq: pages have at most a hundred entries, and cursors lead through all of them once")
def _(t):
    fail(t, 250)
    seen = pages(t)
    same([len(page) for page in seen], [100, 100, 50])
    same(sorted(int(one.body) for page in seen for one in page), list(range(250)))
    same([len(page) for page in pages(t, count=90)], [90, 90, 70])


@test("dlq: every filter finds its own")
def _(t):
    t.client.url_group.upsert_endpoints("shop", [{"url": t.url("/grouped")}])
    for path, status in {"/grouped": 500, "/queued": 500, "/labelled": 500, "/teapot": 418, "/scheduled": 500}.items():
        t.receiver.answer(path, status=status)
    t.client.message.publish(url_group="shop", retries=0)
    t.client.message.enqueue(queue="line", url=t.url("/queued"), retries=0)
    t.client.message.publish(url=t.url("/labelled"), retries=0, label="a")
    teapot = t.client.message.publish(url=t.url("/teapot"), retries=0)
    t.server.settle()
    between = t.server.now()
    t.client.schedule.create(destination=t.url("/scheduled"), cron="0 * * * *", retries=0, schedule_id="mine")
    t.server.next()
    found = lambda **filter: sorted(
        one.url.removeprefix(t.receiver.origin) for one in t.client.dlq.list(filter=filter).messages
    )
    same(found(message_id=teapot.message_id), ["/teapot"])
    same(
        [found(url=t.url("/queued")), found(url_group="shop"), found(queue="line")],
        [["/queued"], ["/grouped"], ["/queued"]],
    )
    same(
        [found(schedule_id="mine"), found(label="a"), found(response_status=418)],
        [["/scheduled"], ["/labelled"], ["/teapot"]],
    )
    same(
        [found(to_time=between), found(from_time=between + 1)],
        [["/grouped", "/labelled", "/queued", "/teapot"], ["/scheduled"]],
    )
    same([found(caller_ip="10.1.1.1"), found(label="a", response_status=418)], [[], []])


@test("dlq: entries are deleted, one and several")
def _(t):
    fail(t, 5)
    ids = [one.dlq_id for one in t.client.dlq.list().messages]
    t.client.dlq.delete(ids[0])
    same(t.client.dlq.delete_many([*ids[1:3], "1-9"]), 2)
    same(t.client.dlq.delete_many([]), 0, "an empty list is not everything")
    same([one.dlq_id for one in t.client.dlq.list().messages], ids[3:])
    for act in (t.client.dlq.delete, t.client.dlq.get):
        refused(lambda: act(ids[0]), 404)
