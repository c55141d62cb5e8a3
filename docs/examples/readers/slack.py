#!/usr/bin/env python3
"""understory-sync changes --as slack -- docs/examples/readers/slack.py

Slack, incoming webhooks (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks): one line such as
"42 new, 3 left"; no names, no addresses. Keeps the keys, to tell who is new."""
import json, os, sys
from follow import request

path = os.environ.get("STATE", "slack.json")
before = set(json.load(open(path))) if os.path.exists(path) else set()
now, renamed = set(before), set()
for line in map(json.loads, sys.stdin):
    if line.get("reset"):
        now = set()
        continue
    renamed |= {line["consent_key"]} if line["previous_key"] in before else set()
    now -= {line["consent_key"], line["previous_key"]}
    if line["state"] == "active": now.add(line["consent_key"])
new, left = len(now - before - renamed), len(before - now) - len(renamed & now)
if new or left: request("POST", os.environ["SLACK_WEBHOOK_URL"], {"text": f"{new} new, {left} left"})
with open(path + ".new", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file: json.dump(sorted(now), file)
os.replace(path + ".new", path)
