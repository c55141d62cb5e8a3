#!/usr/bin/env python3
"""understory-sync changes --as brevo -- docs/examples/readers/brevo.py

Brevo API v3, "Create a contact" (POST /contacts) and "Update a contact" (PUT /contacts/{identifier}).
https://developers.brevo.com/reference/update-contact
emailBlacklisted is never set to false here: whoever unsubscribed in Brevo stays unsubscribed."""
import os, urllib.parse
from follow import request
from state import follow

url = os.environ.get("BREVO_URL", "https://api.brevo.com/v3")
headers = {"api-key": os.environ["BREVO_API_KEY"]}
lists = [int(os.environ["BREVO_LIST_ID"])]

def add(line):
    body = {"email": line["email"], "listIds": lists, "updateEnabled": True}
    request("POST", f"{url}/contacts", body, headers)

def leave(address):
    contact = f"{url}/contacts/{urllib.parse.quote(address, safe='')}"
    request("PUT", contact, {"emailBlacklisted": True}, headers, allow=[404])

follow(os.environ.get("STATE", "brevo.json"), add, leave)
