"""Verifies deliveries with the official Standard Webhooks library for Python, each with each secret."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

with open(sys.argv[1], encoding="utf-8") as file:
    sent = json.load(file)
verified = 0
for secret in sent["secrets"]:
    webhook = Webhook(secret)
    for delivery in sent["deliveries"]:
        webhook.verify(delivery["body"], delivery["headers"])
        verified += 1
        try:
            webhook.verify(delivery["body"] + " ", delivery["headers"])
        except WebhookVerificationError:
            continue
        sys.exit("another body was verified too")
print(f"{verified} signatures verified")
