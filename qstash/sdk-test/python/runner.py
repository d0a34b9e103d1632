"""Runs tests one after another with each of the two clients, and ends at the first that fails."""

import contextlib
import io
import sys
import traceback

from harness import Receiver, Server, World

TESTS = []


def test(name):
    """Names a test by what it shows."""

    def add(run):
        TESTS.append((name, run))
        return run

    return add


def same(actual, wanted, what=""):
    assert actual == wanted, f"{what}\n  actual: {actual!r}\n  wanted: {wanted!r}"


def refused(call, status=None, kind="QStashError"):
    """What a call is refused with: the SDK's class, and the status that its text has."""
    try:
        value = call()
    except Exception as error:  # Whatever else it is differs by its class.
        same(type(error).__name__, kind, str(error))
        assert status is None or f"status: {status}" in str(error), error
        return error
    raise AssertionError(f"it was accepted: {value!r}")


def forget(world):
    """What the test before left under way arrives before anything is recorded for the next one."""
    world.receiver.reset()
    world.server.settle()
    world.server.reset()
    world.receiver.reset()


def run_one(name, run, world):
    forget(world)
    # The SDK prints every answer of the log; it is shown where a test fails.
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            run(world)
    except Exception:
        print(f"FAILED  {name} ({world.kind})\n{traceback.format_exc()}\n{told.getvalue()[:4000]}")
        return False
    print(f"ok  {name} ({world.kind})", flush=True)
    return True


def run_all(only=""):
    """Runs the tests whose names contain `only`."""
    server, receiver = Server(), Receiver()
    worlds = [World(kind, server, receiver) for kind in ("sync", "asyncio")]
    chosen = [(name, run, world) for name, run in TESTS if only in name for world in worlds]
    passed = 0
    try:
        for one in chosen:
            if not run_one(*one):
                break
            passed += 1
    finally:
        receiver.reset()
        server.stop()
    is_whole = passed == len(chosen) and passed > 0
    print(f"{passed} passed, {0 if is_whole else 1} failed")
    sys.exit(0 if is_whole else 1)
