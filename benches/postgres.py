#!/usr/bin/env python3
"""PostgreSQL far away, and PostgreSQL with many: what a run costs there. Needs the released program and PostgreSQL's own programs.

  benches/postgres.py slow-link [--people N]             one installation behind a delaying proxy: 0, 5, 20 and 100 ms there and back
  benches/postgres.py many [--companies N] [--hours N]   companies as schemas of one database, each once an hour at its own minute

Both start a throwaway server with PostgreSQL's default durability and a mock API, all on 127.0.0.1, and print a table.
"""

import argparse
import asyncio
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("BENCH_PROGRAM", str(ROOT / "target/release/understory-sync"))
PAGE = 100


class Api:
    """Lists the same people to every company; what is asked for a single consent is gone."""

    def __init__(self):
        self.items = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def answer(self, status, body):
                body = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.answer(200, {"access_token": "bench", "expires_in": 3599, "token_type": "bearer"})

            def do_GET(self):
                if not re.match(r"/v1/grow/consents(\?|$)", self.path):
                    self.answer(404, {})
                    return
                cursor = re.search(r"cursor=(\d+)", self.path)
                begin = int(cursor.group(1)) if cursor else 0
                end = begin + PAGE
                more = str(end) if end < len(api.items) else ""
                self.answer(200, {"next": more, "items": api.items[begin:end]})

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"


def person(number, name="Jens"):
    key = hashlib.sha256(str(number).encode()).hexdigest()
    return {
        "id": f"{key[:8]}-{key[8:12]}-4{key[13:16]}-8{key[17:20]}-{key[20:32]}",
        "company_id": "0d9b5c2e-7f7b-4a52-9b0a-0f4e6f5b1c11",
        "full_name": f"{name} Larsen {number}",
        "email": f"person.{number}@example.com",
        "source": "checkout",
        "references": [{"type": "booking", "id": f"bk_{number}"}],
    }


class Cluster:
    def __init__(self, folder, connections):
        programs = subprocess.run(
            [ROOT / "tests/throwaway-postgres.sh", "--find"], check=True, capture_output=True, text=True
        ).stdout.strip()
        self.data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # The server refuses to run as root.
        self.prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.prefix:
            shutil.chown(folder, "postgres")
        self.programs = pathlib.Path(programs)
        self.call("initdb", "-D", self.data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections={connections}"
        self.call("pg_ctl", "-D", self.data, "-w", "-l", folder / "log", "-o", options, "start")

    def call(self, program, *arguments):
        command = [*self.prefix, self.programs / program, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def url(self, port=None):
        return f"postgres://bench@127.0.0.1:{port or self.port}/postgres?sslmode=disable"

    def ask(self, sql):
        done = subprocess.run(["psql", self.url(), "-Atc", sql], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def stop(self):
        self.call("pg_ctl", "-D", self.data, "-m", "immediate", "stop")


def run(api, url, schema, folder, expected=(0,)):
    settings = {
        "AUTH__CLIENT_ID": "bench",
        "AUTH__CLIENT_SECRET": "bench",
        "AUTH__TOKEN_URL": f"{api.url}/oauth2/token",
        "API__BASE_URL": api.url,
        "API__REQUESTS_PER_SECOND": "0",
        "DATABASE__URL": url,
        "DATABASE__SCHEMA": schema,
        "REMOVAL__MAX_PERCENT": "100",
    }
    environment = {f"UNDERSTORY_SYNC__{key}": value for key, value in settings.items()}
    began = time.monotonic()
    done = subprocess.run(
        [PROGRAM, "--run-once", "--quiet"], env=environment, cwd=folder, capture_output=True, text=True
    )
    if done.returncode not in expected:
        sys.exit(f"a run ended with {done.returncode}: {done.stderr}")
    return time.monotonic() - began


class Link:
    """Everything is on its way for `delay` seconds, each way; counts how often the program waits for it."""

    def __init__(self, port):
        self.delay = 0.0
        self.round_trips = 0
        started = threading.Event()

        async def serve():
            server = await asyncio.start_server(lambda r, w: self.join(port, r, w), "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await server.serve_forever()

        threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
        started.wait()

    async def join(self, port, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        spoken = {"last": "server"}
        await asyncio.gather(self.carry(reader, back, "client", spoken), self.carry(there, writer, "server", spoken))

    async def carry(self, source, sink, side, spoken):
        queue = asyncio.Queue()

        async def deliver():
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.close()
                    return
                sink.write(data)
                await sink.drain()

        delivery = asyncio.create_task(deliver())
        data = b" "
        while data:
            try:
                data = await source.read(1 << 16)
            except ConnectionError:
                data = b""
            if data and side == "client" and spoken["last"] == "server":
                self.round_trips += 1
            if data:
                spoken["last"] = side
            queue.put_nowait((time.monotonic() + self.delay, data))
        try:
            await delivery
        except ConnectionError:
            pass


def slow_link(folder, people):
    api, cluster = Api(), Cluster(folder, 20)
    try:
        link = Link(cluster.port)
        url = cluster.url(link.port)
        print("| there and back | " + " | ".join(["first load", "unchanged", "1 % changed", "1,000 rejected", "1,000 gone"]) + " |")
        print("|---|---|---|---|---|---|")
        for milliseconds in [0, 5, 20, 100]:
            link.delay = milliseconds / 2000
            schema = f"far_{milliseconds}"
            everybody = [person(number) for number in range(people)]
            cells = []

            def measure():
                before = link.round_trips
                seconds = run(api, url, schema, folder)
                cells.append(f"{seconds:.1f} s ({link.round_trips - before})")

            # The schema is made beforehand.
            api.items = []
            run(api, url, schema, folder, expected=(0, 65))
            api.items = everybody
            measure()
            measure()
            api.items = [person(n, "Anna" if n % 100 == 0 else "Jens") for n in range(people)]
            changed = list(api.items)
            measure()
            broken = [{"id": f"broken {n}", "email": f"{n}@example.com"} for n in range(1000)]
            api.items = changed + broken
            measure()
            api.items = changed[1000:] + broken
            measure()
            print(f"| {milliseconds} ms | " + " | ".join(cells) + " |", flush=True)
    finally:
        cluster.stop()


def many(folder, companies, hours, people):
    api, cluster = Api(), Cluster(folder, 100)
    try:
        api.items = [person(number) for number in range(people)]
        names = [f"company_{number:04}" for number in range(companies)]
        workers = os.cpu_count() or 2
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda name: run(api, cluster.url(), name, folder), names))
            # The minute of each company within the hour, as its jitter fixes it.
            minute = {name: int(hashlib.sha256(name.encode()).hexdigest(), 16) % 3_600_000 / 1000 for name in names}
            cluster.ask("checkpoint")
            figures = (
                "select pg_current_wal_lsn() - '0/0'::pg_lsn, (select xact_commit from pg_stat_database where datname = 'postgres'), "
                "(select sum(n_tup_upd) from pg_stat_user_tables where relname = 'sync_lease')"
            )
            time.sleep(1)
            before = [float(number) for number in cluster.ask(figures).split("|")]
            durations = []
            for _ in range(hours):
                order = sorted(names, key=minute.get)
                durations += pool.map(lambda name: run(api, cluster.url(), name, folder), order)
            time.sleep(1)
            after = [float(number) for number in cluster.ask(figures).split("|")]
        log, commits, leases = (b - a for a, b in zip(before, after))
        runs = companies * hours
        mean = sum(durations) / runs
        between = cluster.ask("select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()")
        # Who is connected at the same time where each run begins at its minute and takes as long as the slowest has taken.
        longest = max(durations)
        starts = sorted(minute.values())
        together = max(sum(1 for start in starts if begin - longest < start <= begin) for begin in starts)
        print(f"{companies} companies of {people} people, {hours} hours, {runs} unchanged runs, {workers} at a time:\n")
        print("| what | figure |\n|---|---|")
        print(f"| a run, mean and longest | {mean * 1000:.0f} ms, {longest * 1000:.0f} ms |")
        print(f"| connections at one time, at most, with every run as long as the longest | {together} |")
        print(f"| connections between runs | {between} |")
        print(f"| transactions a run | {commits / runs:.1f} |")
        print(f"| writes to the lease a run | {leases / runs:.1f} |")
        print(f"| PostgreSQL's log a run, and a day of all | {log / runs / 1024:.1f} KiB, {log / hours * 24 / 2**20:.0f} MiB |")
    finally:
        cluster.stop()


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=["slow-link", "many"])
    words.add_argument("--people", type=int)
    words.add_argument("--companies", type=int, default=1000)
    words.add_argument("--hours", type=int, default=24)
    chosen = words.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        if chosen.what == "slow-link":
            slow_link(folder, chosen.people or 10_000)
        else:
            many(folder, chosen.companies, chosen.hours, chosen.people or 50)


if __name__ == "__main__":
    main()
