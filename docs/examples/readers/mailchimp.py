#!/usr/bin/env python3
"""understory-sync changes --as mailchimp -- docs/examples/readers/mailchimp.py

Mailchimp Marketing API, "Add or update list member" (PUT) and "Update list member" (PATCH).
https://mailchimp.com/developer/marketing/api/list-members/add-or-update-list-member/
status_if_new counts for new members only: whoever unsubscribed in Mailchimp stays unsubscribed."""
import base64, hashlib, os
from follow import request
from state import follow

url = os.environ["MAILCHIMP_URL"]             # https://us6.api.mailchimp.com/3.0/lists/LIST_ID
key = base64.b64encode(b"any:" + os.environ["MAILCHIMP_API_KEY"].encode()).decode()
headers = {"Authorization": "Basic " + key}

def member(address):
    return f"{url}/members/{hashlib.md5(address.lower().encode()).hexdigest()}"

def add(line):
    body = {"email_address": line["email"], "status_if_new": "subscribed"}
    request("PUT", member(line["email"]), body, headers)

def leave(address):
    request("PATCH", member(address), {"status": "unsubscribed"}, headers, allow=[404])

follow(os.environ.get("STATE", "mailchimp.json"), add, leave)
