"""Signs events with the official Standard Webhooks library for Python, for our verifier to judge: one JSON object a line."""

import json
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
now = datetime.now(tz=timezone.utc)
for body in ["", "{}", '{"id":"1","größe":"✓","n": 1.00}\n']:
    headers = {
        "webhook-id": "msg_2",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_2", now, body),
    }
    print(json.dumps({"recipe": "standard-webhooks", "secret": SECRET, "headers": headers, "body": body}))
