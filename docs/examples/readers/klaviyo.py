#!/usr/bin/env python3
"""understory-sync changes --as klaviyo -- docs/examples/readers/klaviyo.py

Klaviyo, "Get Profiles", "Bulk Subscribe Profiles", "Bulk Unsubscribe Profiles". Subscribing lifts an unsubscribe: look first.
https://developers.klaviyo.com/en/v2025-01-15/reference/bulk_unsubscribe_profiles"""
import json, os, urllib.parse
from follow import request
from state import follow

url = os.environ.get("KLAVIYO_URL", "https://a.klaviyo.com/api")
headers = {"Authorization": "Klaviyo-API-Key " + os.environ["KLAVIYO_API_KEY"], "revision": "2025-01-15"}

def job(kind, address, consent):
    attributes = {"email": address, "subscriptions": {"email": {"marketing": {"consent": consent}}}}
    data = {"type": kind, "attributes": {"profiles": {"data": [{"type": "profile", "attributes": attributes}]}},
            "relationships": {"list": {"data": {"type": "list", "id": os.environ["KLAVIYO_LIST_ID"]}}}}
    request("POST", f"{url}/{kind}s", {"data": data}, headers)

def add(line):
    query = {"filter": 'equals(email,%s)' % json.dumps(line['email'], ensure_ascii=False), "additional-fields[profile]": "subscriptions"}
    found = request("GET", f"{url}/profiles?{urllib.parse.urlencode(query)}", None, headers)["data"]
    if '"UNSUBSCRIBED"' not in json.dumps(found): job("profile-subscription-bulk-create-job", line["email"], "SUBSCRIBED")

follow(os.environ.get("STATE", "klaviyo.json"), add,
       lambda address: job("profile-subscription-bulk-delete-job", address, "UNSUBSCRIBED"))
