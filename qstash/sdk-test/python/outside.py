"""What the SDK offers besides queueing: language models of other providers, which are destinations like any other."""

import json

from qstash.chat import custom
from runner import same, test


@test("outside: another provider's language model is a destination like any other")
def _(t):
    chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    api = {"name": "llm", "provider": custom(t.receiver.origin, "theirs")}
    t.client.message.publish_json(api=api, body=chat, callback=t.url("/cb"))
    t.client.message.enqueue_json(queue="line", api=api, body=chat)
    t.client.message.batch_json([{"api": api, "body": chat}])
    t.server.settle()
    seen = [(one.headers["authorization"], json.loads(one.body)) for one in t.receiver.at("/v1/chat/completions")]
    same(seen, [("Bearer theirs", chat)] * 3)
    same(t.count("/cb"), 1)
