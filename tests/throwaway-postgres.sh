#!/usr/bin/env bash
# A PostgreSQL server for as long as somebody holds this script's standard input open.
#
# Prints its URL on one line, then waits. When standard input closes, whatever way the other side ended, or on a signal, the
# server is stopped and everything of it removed. On the word "stop" it stops the server, at once and without care, and on "start"
# it starts it again, and says so. Runs the installed server's own programs; as root, as an unprivileged user,
# since PostgreSQL refuses to run as root. Listens on loopback only. With --find it only tells whether a server is installed.
set -euo pipefail

die() {
    echo "throwaway-postgres: $*" >&2
    exit 1
}

find_server() {
    local folder
    for folder in ${PG_BIN:-} $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n -r) \
        /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
            echo "$folder"
            return
        fi
    done
    if command -v initdb >/dev/null && command -v postgres >/dev/null; then
        dirname "$(command -v initdb)"
        return
    fi
    die "PostgreSQL's server is not installed: apt-get install postgresql, or set TEST_POSTGRES_URL to a server whose user may create databases"
}

if [ "${1:-}" = --find ]; then
    find_server
    exit 0
fi

if [ "$(id -u)" = 0 ]; then
    user=nobody
    if id -u postgres >/dev/null 2>&1; then user=postgres; fi
    command -v setpriv >/dev/null || die "setpriv is missing: apt-get install util-linux, or run this as another user than root"
    # The other user may not be able to open this file, so that it is handed over open.
    exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups \
        env HOME=/tmp PG_BIN="${PG_BIN:-}" bash -c 'text=$(cat <&3); exec 3<&-; eval "$text"' "$0" 3<"$0"
fi

bin=$(find_server)
cd /tmp
work=$(mktemp -d "${TMPDIR:-/tmp}/understory-pg.XXXXXX") || die "cannot make a folder in ${TMPDIR:-/tmp}"
server=

stop() {
    trap - EXIT
    if [ -n "$server" ]; then
        kill -QUIT "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo throwaway >"$work/password"
"$bin/initdb" --pgdata="$work/data" --username=postgres --pwfile="$work/password" --auth=password \
    --encoding=UTF8 --no-locale --no-sync >"$work/initdb.log" 2>&1 || { cat "$work/initdb.log" >&2; die "initdb failed"; }
# What is thrown away need not survive a power cut.
cat >>"$work/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$work'
fsync = off
full_page_writes = off
max_connections = 200
# A session's time zone must not matter.
timezone = 'America/St_Johns'
CONF

for _ in 1 2 3 4 5 6 7 8 9 10; do
    port=$((15000 + RANDOM % 15000))
    "$bin/postgres" -D "$work/data" -p "$port" >"$work/server.log" 2>&1 </dev/null &
    server=$!
    for _ in $(seq 600); do
        if ! kill -0 "$server" 2>/dev/null; then
            server=
            break
        fi
        if "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; then
            echo "postgres://postgres:throwaway@127.0.0.1:$port/postgres"
            # Until end of file; read fails then.
            while read -r word; do
                case $word in
                stop)
                    kill -QUIT "$server" && wait "$server" || true
                    server=
                    echo stopped
                    ;;
                start)
                    "$bin/postgres" -D "$work/data" -p "$port" >>"$work/server.log" 2>&1 </dev/null &
                    server=$!
                    until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do sleep 0.1; done
                    echo started
                    ;;
                esac
            done || true
            exit 0
        fi
        sleep 0.1
    done
    [ -z "$server" ] || break
done
cat "$work/server.log" >&2
die "the server did not start"
