"""What every reader of the change feed needs: requests that wait as long as the API asks. Python's standard library, nothing else."""
import json, time, urllib.error, urllib.request

def request(method, url, body=None, headers={}, allow=()):
    """One HTTP request. Where the API refuses it, or asks for more than ten minutes, the reader ends: the lines come again."""
    data = None if body is None else json.dumps(body).encode()
    sent = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    for attempt in range(5):
        try:
            with urllib.request.urlopen(sent, timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code in allow: return None
            asked = error.headers.get("Retry-After") or ""
            wait = int(asked) if asked.isdigit() else 60 if asked else 2 ** attempt    # a date: a minute
            if error.code != 429 and error.code < 500 or attempt == 4 or wait > 600: raise
            time.sleep(wait)
