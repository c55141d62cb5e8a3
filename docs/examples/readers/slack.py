#!/usr/bin/env python3
"""understory-sync changes --as slack -- docs/examples/readers/slack.py

Slack, "Sending messages using incoming webhooks": one line such as "42 new or changed, 3 left"; no names, no addresses."""
import json, os, sys
from follow import request

lines = [line for line in map(json.loads, sys.stdin) if not line.get("reset")]
stay = sum(line["state"] == "active" for line in lines)
if lines:
    request("POST", os.environ["SLACK_WEBHOOK_URL"], {"text": f"{stay} new or changed, {len(lines) - stay} left"})
