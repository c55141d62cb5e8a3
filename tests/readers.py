#!/usr/bin/env python3
"""The readers of docs/examples/readers against a local server that answers as each API documents it."""
import http.server, json, os, subprocess, sys, tempfile, threading, time, unittest, urllib.parse

READERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "examples", "readers")


def line(key, email, state="active", mailable=True, previous=None):
    return {"cursor": "1.f.1.n." + key, "changed_at": "2026-01-01T00:00:00.000Z", "consent_key": key,
            "previous_key": previous, "state": state, "email": email, "full_name": "Ann", "source": None,
            "withheld": not mailable and state == "active", "mailable": mailable}


FIRST = [{"reset": True, "cursor": "1.f.0.0."}, line("a", "Ann@example.com"), line("nk:b", "bob@example.com"),
         line("w", "withheld@example.com", mailable=False), line("c", "cy@example.com"), line("c2", "cy@example.com")]
# Ann is erased (no address), Bob's consent gets an id, one of Cy's two consents ends.
SECOND = [line("a", None, "erased", False), line("b", "bob@example.com", previous="nk:b"),
          line("c", "cy@example.com", "inactive", True)]
# A new beginning that names Bob alone.
THIRD = [{"reset": True, "cursor": "1.f.0.0."}, line("b", "bob@example.com")]


class Api(http.server.BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        call = (self.command, urllib.parse.unquote_plus(self.path), body)
        status = self.server.fault(len(self.server.calls), call)
        self.server.times.append(time.monotonic())
        self.server.calls.append((status, *call))
        payload = json.dumps(self.server.reply(call)).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def log_message(self, *_):
        pass


class Readers(unittest.TestCase):
    def setUp(self):
        self.api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
        self.api.times = []
        self.api.calls, self.api.fault, self.api.reply = [], lambda number, call: 200, lambda call: {}
        threading.Thread(target=self.api.serve_forever, daemon=True).start()
        self.folder = tempfile.TemporaryDirectory()
        self.url = f"http://127.0.0.1:{self.api.server_address[1]}"

    def tearDown(self):
        self.api.shutdown()
        self.api.server_close()
        self.folder.cleanup()

    def read(self, reader, lines, expect=0):
        self.api.calls.clear()
        self.api.times.clear()
        state = os.path.join(self.folder.name, "state.json")
        environment = {
            **os.environ, "STATE": state, "MAILCHIMP_URL": self.url + "/3.0/lists/l1", "MAILCHIMP_API_KEY": "k",
            "BREVO_URL": self.url + "/v3", "BREVO_API_KEY": "k", "BREVO_LIST_ID": "7",
            "KLAVIYO_URL": self.url + "/api", "KLAVIYO_API_KEY": "k", "KLAVIYO_LIST_ID": "L",
            "LISTMONK_URL": self.url + "/api", "LISTMONK_TOKEN": "u:t", "LISTMONK_LIST_ID": "3",
            "HUBSPOT_URL": self.url, "HUBSPOT_TOKEN": "t", "HUBSPOT_SUBSCRIPTION_ID": "9",
            "SLACK_WEBHOOK_URL": self.url + "/services/T/B/X", "PYTHONDONTWRITEBYTECODE": "1"}
        text = "".join(json.dumps(line) + "\n" for line in lines)
        done = subprocess.run([os.path.join(READERS, reader)], input=text, text=True, env=environment,
                              capture_output=True, timeout=120)
        self.assertEqual(done.returncode == 0, expect == 0, done.stderr)
        return self.api.calls[:]

    def follows(self, reader, add, leave):
        """`add` and `leave` tell the address of a request of that kind, else None."""
        def pick(kind, calls):
            return sorted(found for call in calls if call[0] < 300 and (found := kind(*call[1:])))
        calls = self.read(reader, FIRST)
        self.assertEqual(pick(add, calls), ["ann@example.com", "bob@example.com", "cy@example.com", "cy@example.com"])
        self.assertEqual(pick(leave, calls), [])
        calls = self.read(reader, SECOND)
        self.assertEqual((pick(add, calls), pick(leave, calls)), (["bob@example.com"], ["ann@example.com"]))
        # Rate limiting: the request is made again.
        self.api.fault = lambda number, call: 429 if number == 0 else 200
        calls = self.read(reader, [line("d", "dan@example.com")])
        self.assertEqual((calls[0][0], pick(add, calls)), (429, ["dan@example.com"]))
        self.assertEqual(calls[1][1:], calls[0][1:])
        self.assertGreaterEqual(self.api.times[1] - self.api.times[0], 1.0, "Retry-After")
        # A refusal in the middle ends the reader, and the same lines come again.
        self.api.fault = lambda number, call: 200 if number == 0 else 403
        self.read(reader, [line("e", "eve@example.com"), line("d", None, "erased", False)], expect=1)
        self.api.fault = lambda number, call: 200
        calls = self.read(reader, [line("e", "eve@example.com"), line("d", None, "erased", False)])
        self.assertEqual((pick(add, calls), pick(leave, calls)), (["eve@example.com"], ["dan@example.com"]))
        calls = self.read(reader, THIRD)
        left = ["cy@example.com", "eve@example.com", "withheld@example.com"]
        self.assertEqual((pick(add, calls), pick(leave, calls)), (["bob@example.com"], left))

    def test_mailchimp_never_lifts_an_unsubscribe(self):
        import hashlib
        names = {hashlib.md5(name.encode()).hexdigest(): name for name in
                 (who + "@example.com" for who in ("ann", "bob", "cy", "dan", "eve", "withheld"))}
        member = lambda path: names[path.removeprefix("/3.0/lists/l1/members/")]
        def add(method, path, body):
            if method != "PUT":
                return None
            self.assertEqual(set(body), {"email_address", "status_if_new"})
            return member(path)
        self.follows("mailchimp.py", add, lambda method, path, body:
                     member(path) if (method, body) == ("PATCH", {"status": "unsubscribed"}) else None)

    def test_brevo_never_lifts_an_unsubscribe(self):
        def add(method, path, body):
            if (method, path) != ("POST", "/v3/contacts"):
                return None
            self.assertEqual({**body, "email": ""}, {"email": "", "listIds": [7], "updateEnabled": True})
            return body["email"].lower()
        self.follows("brevo.py", add, lambda method, path, body: path.removeprefix("/v3/contacts/")
                     if (method, body) == ("PUT", {"emailBlacklisted": True}) else None)

    def test_klaviyo_looks_before_it_subscribes(self):
        self.api.reply = lambda call: {"data": []}
        def job(kind):
            def found(method, path, body):
                if (method, path) != ("POST", f"/api/profile-subscription-bulk-{kind}-jobs"):
                    return None
                self.assertEqual(body["data"]["relationships"]["list"]["data"], {"type": "list", "id": "L"})
                return body["data"]["attributes"]["profiles"]["data"][0]["attributes"]["email"].lower()
            return found
        self.follows("klaviyo.py", job("create"), job("delete"))
        marketing = {"email": {"marketing": {"consent": "UNSUBSCRIBED"}}}
        self.api.reply = lambda call: {"data": [{"attributes": {"subscriptions": marketing}}]}
        calls = self.read("klaviyo.py", [line("z", "zoe@example.com")])
        self.assertEqual([call[1] for call in calls], ["GET"])

    def test_listmonk_adds_an_existing_subscriber_and_lifts_nothing(self):
        def reply(call):
            return {"data": {"results": [{"id": call[1]}]}} if call[0] == "GET" else {}
        self.api.reply = reply
        def add(method, path, body):
            return body["email"].lower() if (method, path) == ("POST", "/api/subscribers") else None
        def leave(method, path, body):
            if (method, path) != ("PUT", "/api/subscribers/lists"):
                return None
            self.assertEqual((body["action"], body["target_list_ids"]), ("unsubscribe", [3]))
            return body["ids"][0].split("'")[1]
        self.follows("listmonk.py", add, leave)
        # Somebody of another list; no status, which would lift an unsubscribe.
        self.api.fault = lambda number, call: 409 if call[0] == "POST" else 200
        calls = self.read("listmonk.py", [line("z", "zoe@example.com")])
        self.assertEqual([call[1] for call in calls], ["POST", "GET", "PUT"])
        self.assertEqual({**calls[2][3], "ids": 0}, {"ids": 0, "action": "add", "target_list_ids": [3]})

    def test_hubspot_does_not_insist_where_somebody_has_opted_out(self):
        def to(verb):
            return lambda method, path, body: body["emailAddress"].lower() \
                if (method, path) == ("POST", f"/communication-preferences/v3/{verb}") else None
        self.follows("hubspot.py", to("subscribe"), to("unsubscribe"))
        def stands(status, lines, expect=0):
            self.api.reply = lambda call: {"subscriptionStatuses": [{"id": "9", "status": status}]}
            self.api.fault = lambda number, call: 400 if call[0] == "POST" else 200
            calls = self.read("hubspot.py", lines, expect)
            self.assertEqual([call[1] for call in calls], ["POST", "GET"])
            self.assertEqual(calls[1][2].split("/v3/")[1].rsplit("/", 1)[0], "status/email")
        stands("NOT_SUBSCRIBED", [line("z", "zoe@example.com")])
        # A refused leave is one only where the contact is unsubscribed already.
        stands("SUBSCRIBED", [line("z", None, "erased", False)], expect=1)
        stands("NOT_SUBSCRIBED", [line("z", None, "erased", False)])

    def test_slack_gets_counts_and_nobody_s_name(self):
        def said(lines):
            return [call[1:] for call in self.read("slack.py", lines)]
        def text(words):
            return [("POST", "/services/T/B/X", {"text": words})]
        self.assertEqual(said(FIRST), text("5 new, 0 left"))
        # Ann and one of Cy's consents leave; Bob's consent gets an id, which makes him no newer.
        self.assertEqual(said(SECOND), text("0 new, 2 left"))
        self.assertEqual(said([line("b", "bob@example.com")]), [])
        self.api.fault = lambda number, call: 403
        self.read("slack.py", [line("n", "new@example.com")], expect=1)
        self.api.fault = lambda number, call: 429 if number == 0 else 200
        self.assertEqual(said([line("n", "new@example.com")]), text("1 new, 0 left") * 2)
        self.assertGreaterEqual(self.api.times[1] - self.api.times[0], 1.0, "Retry-After")
        self.api.fault = lambda number, call: 200
        self.assertEqual(said(THIRD), text("0 new, 3 left"))
        self.assertEqual(said([]), [])

    def test_no_reader_has_more_than_25_lines(self):
        for name in os.listdir(READERS):
            if name.endswith((".py", ".sql", ".sh")):
                with open(os.path.join(READERS, name)) as file:
                    lines = file.readlines()
                    self.assertLessEqual(len(lines), 25, name)
                    # Where what it sends is documented.
                    if name not in ("follow.py", "state.py", "metabase.sql"):
                        self.assertIn("https://", "".join(lines[:9]), name)


if __name__ == "__main__":
    unittest.main()
