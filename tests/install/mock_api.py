#!/usr/bin/env python3
"""A small mock API on loopback, for the tests of an installation: a token, pages of consents, and what a test wants otherwise.

mock_api.py SECRET [PORT]: prints its port, then serves until it is ended. POST /control with a form sets: people=N, latency=SECONDS (for each page),
refuse=1 (the token endpoint answers invalid_client). GET /seen tells how many requests of each kind came.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

SECRET = sys.argv[1]
STATE = {"people": 250, "latency": 0.0, "refuse": 0}
SEEN = {"token": 0, "consents": 0, "other": 0}


def consent(number):
    return {
        "id": f"consent-{number:06}",
        "company_id": "company-1",
        "full_name": f"Person {number}",
        "email": f"person{number}@example.org",
        "source": "booking",
        "references": [],
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers.get("content-length", 0))).decode())
        if self.path == "/control":
            for key, value in form.items():
                STATE[key] = type(STATE[key])(value[0])
            return self.answer(200, STATE)
        if self.path != "/oauth2/token":
            return self.answer(404, {"code": "NOT_FOUND", "message": "no such route"})
        SEEN["token"] += 1
        if STATE["refuse"] or form.get("client_secret") != [SECRET]:
            return self.answer(401, {"error": "invalid_client", "error_description": "Client authentication failed"})
        return self.answer(200, {"access_token": "mock-token", "expires_in": 3599, "token_type": "bearer", "scope": "openid marketing.read"})

    def do_GET(self):
        url = urlparse(self.path)
        if url.path == "/seen":
            return self.answer(200, SEEN)
        if self.headers.get("authorization") != "Bearer mock-token":
            return self.answer(401, {"code": "UNAUTHORIZED", "message": "no"})
        if url.path == "/v1/me":
            return self.answer(200, {"company_id": "company-1", "company_name": "Example", "user_id": "u", "email": "u@example.org"})
        if url.path not in ("/v1/grow/consents", "/v1/marketing-consents"):
            SEEN["other"] += 1
            return self.answer(404, {"code": "NOT_FOUND", "message": "no such route"})
        SEEN["consents"] += 1
        time.sleep(STATE["latency"])
        query = parse_qs(url.query)
        start = int(query.get("cursor", ["c0"])[0][1:])
        end = min(start + int(query.get("limit", ["100"])[0]), STATE["people"])
        following = f"c{end}" if end < STATE["people"] else ""
        return self.answer(200, {"next": following, "items": [consent(number) for number in range(start, end)]})


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
