#!/usr/bin/env python3
"""understory-sync changes --as listmonk -- docs/examples/readers/listmonk.py

listmonk API: POST /subscribers, GET /subscribers, PUT /subscribers/lists (https://listmonk.app/docs/apis/subscribers/).
Without a status "add" leaves a subscription that exists as it is: whoever unsubscribed in listmonk stays unsubscribed."""
import os, urllib.parse
from follow import request
from state import follow

url = os.environ["LISTMONK_URL"]              # http://localhost:9000/api
headers = {"Authorization": "token " + os.environ["LISTMONK_TOKEN"]}   # user:token
lists = [int(os.environ["LISTMONK_LIST_ID"])]

def change(action, address):
    query = "lower(subscribers.email) = '%s'" % address.lower().replace("'", "''")
    found = request("GET", f"{url}/subscribers?{urllib.parse.urlencode({'query': query})}", None, headers)
    body = {"ids": [row["id"] for row in found["data"]["results"]], "action": action, "target_list_ids": lists}
    if body["ids"]: request("PUT", f"{url}/subscribers/lists", body, headers)

def add(line):
    body = {"email": line["email"], "name": line["full_name"] or line["email"], "status": "enabled",
            "lists": lists, "preconfirm_subscriptions": True}
    if request("POST", f"{url}/subscribers", body, headers, allow=[409]) is None: change("add", line["email"])

follow(os.environ.get("STATE", "listmonk.json"), add, lambda address: change("unsubscribe", address))
