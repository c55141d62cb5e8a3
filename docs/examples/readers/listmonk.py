#!/usr/bin/env python3
"""understory-sync changes --as listmonk -- docs/examples/readers/listmonk.py

listmonk API, "Create subscriber" (POST), "Get subscribers" (GET) and "Modify subscriber lists" (PUT).
A subscriber who exists is left alone (409): whoever unsubscribed in listmonk stays so."""
import os, urllib.parse
from follow import request
from state import follow

url = os.environ["LISTMONK_URL"]              # http://localhost:9000/api
headers = {"Authorization": "token " + os.environ["LISTMONK_TOKEN"]}   # user:token
lists = [int(os.environ["LISTMONK_LIST_ID"])]

def add(line):
    body = {"email": line["email"], "name": line["full_name"] or line["email"], "status": "enabled",
            "lists": lists, "preconfirm_subscriptions": True}
    request("POST", f"{url}/subscribers", body, headers, allow=[409])

def leave(address):
    query = "subscribers.email = '%s'" % address.lower().replace("'", "''")
    found = request("GET", f"{url}/subscribers?{urllib.parse.urlencode({'query': query})}", None, headers)
    body = {"ids": [row["id"] for row in found["data"]["results"]], "action": "unsubscribe", "target_list_ids": lists}
    if body["ids"]: request("PUT", f"{url}/subscribers/lists", body, headers)

follow(os.environ.get("STATE", "listmonk.json"), add, leave)
