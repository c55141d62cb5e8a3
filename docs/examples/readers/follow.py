"""What every reader of the change feed needs: whom to add, whom to let go. Python's standard library, nothing else."""
import json, time, urllib.error, urllib.request

def request(method, url, body=None, headers={}, allow=()):
    """One HTTP request; waits where the API asks for it, and ends the reader where it refuses: the lines come again."""
    data = None if body is None else json.dumps(body).encode()
    sent = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    for attempt in range(5):
        try:
            with urllib.request.urlopen(sent, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code in allow: return None
            if error.code != 429 and error.code < 500 or attempt == 4: raise
            time.sleep(min(float(error.headers.get("Retry-After") or 2 ** attempt), 60))
