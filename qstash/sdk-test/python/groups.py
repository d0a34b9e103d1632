"""URL groups."""

from runner import refused, same, test


def make(t, name="shop"):
    t.client.url_group.upsert_endpoints(name, [{"name": "first", "url": t.url("/g1")}, {"url": t.url("/g2")}])


def endpoints(t):
    return [(endpoint.name, endpoint.url) for endpoint in t.client.url_group.get("shop").endpoints]


@test("url group: it is made, listed and deleted")
def _(t):
    make(t)
    make(t, "a.b-c_1")
    group = t.client.url_group.get("shop")
    assert group.name == "shop" and group.updated_at >= group.created_at > 0, group
    same(endpoints(t), [("first", t.url("/g1")), (None, t.url("/g2"))])
    same([group.name for group in t.client.url_group.list()], ["a.b-c_1", "shop"])
    t.client.url_group.delete("a.b-c_1")
    t.client.url_group.delete("a.b-c_1")
    same([group.name for group in t.client.url_group.list()], ["shop"])


@test("url group: each endpoint gets the message, and hears of the group")
def _(t):
    make(t)
    answered = t.client.message.publish(url_group="shop", body="x", delay=60)
    same([(one.url, one.deduplicated) for one in answered], [(t.url("/g1"), False), (t.url("/g2"), False)])
    shown = t.client.message.get(answered[0].message_id)
    same([shown.url_group, shown.endpoint], ["shop", "first"])
    t.server.advance("1m")
    same([t.receiver.bodies("/g1"), t.receiver.bodies("/g2")], [["x"], ["x"]])
    same(t.receiver.at("/g2")[0].headers["upstash-topic-name"], "shop")


@test("url group: endpoints are changed and removed, and with the last one the group")
def _(t):
    make(t)
    t.client.url_group.upsert_endpoints("shop", [{"name": "first", "url": t.url("/g3")}])
    same(sorted(endpoints(t), key=str), [("first", t.url("/g3")), (None, t.url("/g2"))])
    t.client.url_group.remove_endpoints("shop", [{"name": "first"}])
    same(endpoints(t), [(None, t.url("/g2"))])
    t.client.url_group.remove_endpoints("shop", [{"url": t.url("/g2")}])
    refused(lambda: t.client.url_group.get("shop"), 404)
    refused(lambda: t.client.message.publish(url_group="shop"), 404)
