"""Keeps the address beside each key, since the line of an erasure has none, and calls add(line) and leave(address)."""
import collections, json, os, sys

def follow(state_file, add, leave):
    known = json.load(open(state_file)) if os.path.exists(state_file) else {}
    consents = collections.Counter(known.values())      # one address may have several
    stale = set()                                       # what a reset does not name has left
    for line in map(json.loads, sys.stdin):
        if line.get("reset"):
            stale = set(known)
            continue
        keys = {line["consent_key"], line["previous_key"]} & known.keys()
        stale -= keys
        before = [known.pop(key) for key in keys]
        consents.subtract(before)
        if line["state"] == "active":
            known[line["consent_key"]] = line["email"].lower()
            consents[line["email"].lower()] += 1
            if line["mailable"]: add(line)              # not while the removal guard withholds the address
        for address in before:
            if not consents[address]: leave(address)
    for address in {known.pop(key) for key in stale} - set(known.values()): leave(address)
    with open(state_file + ".new", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        json.dump(known, file)
    os.replace(state_file + ".new", state_file)
