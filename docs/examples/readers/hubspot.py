#!/usr/bin/env python3
"""understory-sync changes --as hubspot -- docs/examples/readers/hubspot.py

HubSpot, communication preferences v3: "Subscribe a contact", "Unsubscribe a contact", "Get subscription statuses".
https://developers.hubspot.com/docs/api-reference/legacy/communication-preferences/v3/unsubscribe-contact
Version 3 refuses (400) to subscribe somebody who has opted out: whoever unsubscribed in HubSpot stays unsubscribed."""
import os, urllib.parse
from follow import request
from state import follow

url = os.environ.get("HUBSPOT_URL", "https://api.hubapi.com") + "/communication-preferences/v3"
headers = {"Authorization": "Bearer " + os.environ["HUBSPOT_TOKEN"]}
subscription = os.environ["HUBSPOT_SUBSCRIPTION_ID"]

def set_status(verb, address, why):
    body = {"emailAddress": address, "subscriptionId": subscription,
            "legalBasis": "CONSENT_WITH_NOTICE", "legalBasisExplanation": why}
    if request("POST", f"{url}/{verb}", body, headers, allow=[400]) is None:    # it may stand so already
        found = request("GET", f"{url}/status/email/{urllib.parse.quote(address, safe='')}", None, headers)
        status = {each["id"]: each["status"] for each in found["subscriptionStatuses"]}[subscription]
        if verb == "unsubscribe" and status != "NOT_SUBSCRIBED": raise SystemExit("HubSpot refused to unsubscribe")

follow(os.environ.get("STATE", "hubspot.json"), lambda line: set_status("subscribe", line["email"], "Understory"),
       lambda address: set_status("unsubscribe", address, "Withdrawn in Understory"))
