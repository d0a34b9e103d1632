"""Drives the server with both clients of the official SDK for Python: python3 run.py [part of a test's name]"""

import sys

import publishing, callbacks, batches, queues, groups, schedules, messages, dead, logs, flows, keys, refusals, outside  # noqa: E401, F401
from runner import run_all

run_all(*sys.argv[1:2])
