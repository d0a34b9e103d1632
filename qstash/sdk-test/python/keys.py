"""Signing keys, and the SDK's receiver verifying what is really delivered."""

from harness import until
from qstash import Receiver
from runner import refused, same, test

OTHERS = ("sig_" + "a" * 28, "sig_" + "b" * 28)


def verify(keys, request, **more):
    given = {"signature": request.headers["upstash-signature"], "body": request.body, "url": request.url, **more}
    Receiver(*keys).verify(**given)


def denied(keys, request, **more):
    refused(lambda: verify(keys, request, **more), kind="SignatureError")


def delivered(t, body=None, path="/in"):
    t.client.message.publish(url=t.url(path), body=body)
    t.server.settle()
    return t.receiver.requests[-1]


@test("receiver: it verifies every kind of body, with the URL and without")
def _(t):
    for body in ('{"a":1}', None, "", "x" * 100_000, "Grüße, 世界 🌍", " \r\n"):
        request = delivered(t, body if body is None else body.encode())
        same(request.body, body or "")
        verify(t.server.keys, request)
        verify(t.server.keys, request, url=None)


@test("receiver: another body, URL, key and token are refused")
def _(t):
    request = delivered(t, "b", "/in?a=1&b=%20")
    verify(t.server.keys, request, url=t.url("/in?a=1&b=%20"))
    for other in ({"body": "c"}, {"body": ""}, {"url": t.url("/in")}, {"url": t.url("/other?a=1&b=%20")}):
        denied(t.server.keys, request, **other)
    denied(OTHERS, request)
    head, claims, mac = request.headers["upstash-signature"].split(".")
    denied(t.server.keys, request, signature=".".join((head, claims, mac[::-1])))


@test("receiver: a URL without a path is signed as it was published")
def _(t):
    t.client.message.publish(url=t.receiver.origin, body="b")
    t.server.settle()
    (request,) = t.receiver.at("/")
    verify(t.server.keys, request, url=t.receiver.origin)
    denied(t.server.keys, request, url=t.receiver.origin + "/")


@test("receiver: what a clock delivers that runs 3,600 times as fast is verified")
def _(t):
    with t.other("--speed", "3600") as own:
        own.client.message.publish(url=own.url(), body="b", delay="1h")
        until("it is delivered", lambda: own.count() == 1)
        verify(own.server.keys, own.receiver.at("/in")[0])


@test("receiver: tokens go by real time, wherever the stepped clock is")
def _(t):
    t.server.advance("30d")
    verify(t.server.keys, delivered(t, "b"))


@test("receiver: with one clock for all, a token of tomorrow is not valid today")
def _(t):
    with t.other("--callers", "same") as own:
        verify(own.server.keys, delivered(own, "now"))
        own.server.advance("1d")
        denied(own.server.keys, delivered(own, "tomorrow"))


@test("keys: they are told, and after a rotation the old pair still verifies, after two it does not")
def _(t):
    first = t.client.signing_key.get()
    same((first.current, first.next), t.server.keys)
    once = t.client.signing_key.rotate()
    same(once.current, first.next)
    assert once.next not in t.server.keys, once
    verify(t.server.keys, delivered(t, "once"))
    twice = t.client.signing_key.rotate()
    same(t.client.signing_key.get(), twice)
    request = delivered(t, "twice")
    denied(t.server.keys, request)
    verify((once.current, once.next), request)
    verify((twice.current, twice.next), request)


@test("receiver: a token of the next key is accepted, an expired one is refused")
def _(t):
    with t.other("--chaos", "next-key") as own:
        request = delivered(own, "b")
        verify(own.server.keys, request)
        denied((own.server.keys[0], OTHERS[1]), request)
    with t.other("--chaos", "expired-token") as own:
        denied(own.server.keys, delivered(own, "b"))
