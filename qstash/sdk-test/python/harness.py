"""What the tests stand on: servers that are started for a test, a receiver that records what it gets, and the SDK's two clients.

SUREHOOK names the program under test."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from qstash import AsyncQStash, QStash

PROGRAM = os.environ.get("SUREHOOK", "surehook")
PATIENCE = 10
# Both clients are driven by the same tests; the second one's calls are run to their end on this loop.
LOOP = asyncio.new_event_loop()


def until(what, condition):
    """Polls a state until it is as wanted; the deadline only bounds a failure."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited until {what}"
        time.sleep(0.01)


class Blocking:
    """The asyncio client with calls that return when they are over."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(value):
            return Blocking(value)
        return lambda *args, **named: LOOP.run_until_complete(value(*args, **named))


class Server:
    def __init__(self, *flags):
        # The clock stands unless a test says otherwise, so that nothing waits for real time.
        clock = [] if {"--clock", "--speed"} & set(flags) else ["--clock", "stepped"]
        command = [PROGRAM, "qstash", "--port", "0", "--quiet", *clock, *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = ""
        while "QSTASH_NEXT_SIGNING_KEY=" not in said:
            line = self.process.stdout.readline()
            assert line, f"the server did not start: {said}"
            said += line
        # Nobody reads what else it says, and a full pipe would stop it.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        value = lambda name: re.search(rf"{name}=(\S+)", said).group(1)
        self.url = re.search(r"running at (\S+)", said).group(1)
        self.token = value("QSTASH_TOKEN")
        self.keys = (value("QSTASH_CURRENT_SIGNING_KEY"), value("QSTASH_NEXT_SIGNING_KEY"))

    def call(self, method, path, body=None):
        """Calls that the SDK does not make."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Authorization": f"Bearer {self.token}"}, method=method
        )
        with urllib.request.urlopen(request) as response:
            text = response.read()
        return json.loads(text) if text else None

    def advance(self, span):
        """Every delivery of each time that is passed is over when this returns."""
        return self.call("POST", "/_surehook/clock", {"advance": span})

    def next(self, times=1):
        return self.call("POST", "/_surehook/clock", {"next": times})

    def to(self, at):
        return self.call("POST", "/_surehook/clock", {"to": at})

    def settle(self):
        self.next(0)

    def reset(self):
        self.call("POST", "/_surehook/reset")

    def now(self):
        return self.call("GET", "/_surehook/clock")["now"]

    def stop(self):
        self.process.kill()
        self.process.wait()


@dataclass
class Received:
    method: str
    path: str
    target: str
    url: str
    headers: dict
    # As they came, each as often as it came.
    names: list
    bytes: bytes

    @property
    def body(self):
        return self.bytes.decode()


class Receiver:
    """Answers 200 unless told otherwise, path by path. An answer may be a function of how many requests came to that path before."""

    def __init__(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def __getattr__(self, name):
                if name.startswith("do_"):
                    return lambda: receiver.take(self)
                raise AttributeError(name)

            def log_message(self, *_):
                pass

        class Http(ThreadingHTTPServer):
            daemon_threads = True
            # A hundred deliveries may begin at the same time; the default would have some of them refused.
            request_queue_size = 256

        self.http = Http(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.http.server_port}"
        self.released = threading.Event()
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.reset()

    def reset(self):
        self.released.set()
        self.requests, self.answers, self.released = [], {}, threading.Event()

    def take(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        path, released = urlsplit(handler.path).path, self.released
        before = len(self.at(path))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        names, url = [name.lower() for name in handler.headers.keys()], self.url(handler.path)
        self.requests.append(Received(handler.command, path, handler.path, url, headers, names, body))
        given = self.answers.get(path, {})
        given = given(before) if callable(given) else given
        if given.get("hold"):
            released.wait(30)
        # Whoever timed out does not hear the answer any more.
        with contextlib.suppress(OSError):
            self.send(handler, given)

    @staticmethod
    def send(handler, given):
        body = given.get("body", b"thank you")
        handler.send_response(given.get("status", 200))
        for name, value in given.get("headers", {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def url(self, path):
        return self.origin + path

    def answer(self, path, **given):
        self.answers[path] = given

    def at(self, path):
        return [request for request in self.requests if request.path == path]

    def bodies(self, path):
        return [request.body for request in self.at(path)]


class World:
    """What a test gets: a server that has forgotten everything, a receiver, and one of the two clients."""

    def __init__(self, kind, server, receiver):
        self.kind, self.server, self.receiver = kind, server, receiver
        self.client = self.client_with(server.token)

    def client_with(self, token):
        if self.kind == "sync":
            return QStash(token, retry=False, base_url=self.server.url)
        return Blocking(AsyncQStash(token, retry=False, base_url=self.server.url))

    def url(self, path="/in"):
        return self.receiver.url(path)

    def count(self, path="/in"):
        return len(self.receiver.at(path))

    @contextlib.contextmanager
    def other(self, *flags):
        """The same with a server that has flags of its own."""
        server = Server(*flags)
        try:
            yield World(self.kind, server, self.receiver)
        finally:
            server.stop()
