#!/usr/bin/env python3
"""understory-sync changes --as hubspot -- docs/examples/readers/hubspot.py

HubSpot, communication preferences v3: "Subscribe a contact" and "Unsubscribe a contact".
Version 3 refuses (400) to subscribe somebody who has opted out: whoever unsubscribed in HubSpot stays so."""
import os
from follow import request
from state import follow

url = os.environ.get("HUBSPOT_URL", "https://api.hubapi.com") + "/communication-preferences/v3"
headers = {"Authorization": "Bearer " + os.environ["HUBSPOT_TOKEN"]}

def set_status(verb, address, why):
    body = {"emailAddress": address, "subscriptionId": os.environ["HUBSPOT_SUBSCRIPTION_ID"],
            "legalBasis": "CONSENT_WITH_NOTICE", "legalBasisExplanation": why}
    request("POST", f"{url}/{verb}", body, headers, allow=[400])

follow(os.environ.get("STATE", "hubspot.json"),
       lambda line: set_status("subscribe", line["email"], "Consent given through Understory"),
       lambda address: set_status("unsubscribe", address, "Consent withdrawn in Understory"))
