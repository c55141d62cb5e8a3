#!/usr/bin/env bash
# The units under a booted systemd: what they promise is tried, not read.
#
#   tests/systemd.sh [BINARY]        as root; without BINARY the debug build is made and taken
#   SUITE=bookworm tests/systemd.sh  another Debian than trixie
#
# Needs debootstrap, systemd-container, python3, curl. Ends with "N passed, N failed".
set -euo pipefail
title="units under a booted systemd"
source "$(dirname "$0")/install/lib.sh"
source "$(dirname "$0")/install/machine.sh"

binary=${1:-}
if [ -z "$binary" ]; then
    (cd "$repository" && cargo build --locked --quiet)
    binary=$repository/target/debug/understory-sync
fi
make_machine
install -m 755 "$binary" "$root/usr/bin/understory-sync"
install -m 644 "$repository"/systemd/*.service "$repository"/systemd/*.timer "$root/etc/systemd/system/"
install -d "$root/etc/understory-sync"
start_mock_api
write_config "$root/etc/understory-sync/config.toml"
cp "$root/etc/understory-sync/config.toml" "$root/etc/understory-sync/acme.toml"
install -m 600 /dev/stdin "$root/etc/understory-sync/client_secret" <<<"$secret"
cp -p "$root/etc/understory-sync/client_secret" "$root/etc/understory-sync/acme.secret"

drop_in() {
    mkdir -p "$root/etc/systemd/system/$1.d"
    cat >"$root/etc/systemd/system/$1.d/test.conf"
    in_it systemctl daemon-reload
}
undo_drop_in() {
    rm -f "$root/etc/systemd/system/$1.d/test.conf"
    in_it systemctl daemon-reload
}
say "boot"
boot
expect "systemd is up" until_true 60 is_up
in_it systemctl --version | head -1 >&2

say "the units on paper"
for unit in understory-sync.service understory-sync-once.service understory-sync@acme.service understory-sync-backup.service \
    understory-sync.timer understory-sync-backup.timer; do
    same "verify $unit: silent and 0" "$(in_it systemd-analyze verify "$unit" 2>&1 && echo 0)" 0
done
exposure() { in_it systemd-analyze security --offline=true "/etc/systemd/system/$1" | sed -n 's/.*Overall exposure level[^0-9]*: \([0-9.]*\).*/\1/p'; }
for unit in understory-sync understory-sync@ understory-sync-once understory-sync-backup; do
    at_most "exposure of $unit, as docs/security.md promises" "$(exposure $unit.service)" "$(promised docs/security.md "\`$unit\.service\` \| ([0-9.]+) \|")"
done

say "a look before the first start, as the document says"
in_it install -d -m 700 /var/lib/understory-sync
expect "check" in_it env CREDENTIALS_DIRECTORY=/etc/understory-sync DATABASE_URL=sqlite://$database understory-sync --config /etc/understory-sync/config.toml check

say "the daemon"
from=$(now)
expect "starts" in_it systemctl start understory-sync.service
at_most "seconds until ready" "$(since "$from")" 5
expect "a run is complete" until_true 20 complete $database 1
same "everybody is there" "$(query $database 'select count(*) from active_consents')" 250
same "the folder is its user's alone" "$(in_it stat -L -c %a /var/lib/understory-sync)" 700
same "every file is its user's alone" "$(in_it find /var/lib/private/understory-sync -type f ! -perm 600)" ""
expect "the status line tells the last run" sh -c "[ -n '$(property StatusText)' ]"

say "the secret"
main=$(property MainPID)
# Every field of every entry, those too that are not text.
journal_fields() {
    in_it journalctl -b --output json --all --no-pager | python3 -c '
import json, sys
for line in sys.stdin:
    for key, values in json.loads(line).items():
        for value in values if isinstance(values, list) and not all(isinstance(v, int) for v in values) else [values]:
            if isinstance(value, list):
                value = bytes(value).decode(errors="replace")
            print(f"{key}={value}")
'
}
# Something of the kind that is searched for, in a field that is not text.
planted="control-of-the-journal-$$"
in_it sh -c "printf 'MESSAGE=control\nUNDERSTORY_TEST=%s\001\n' '$planted' | logger --journald"
seen_in_journal() { journal_fields | grep -F "$1"; }
until_true 10 seen_in_journal "$planted" || true
absent "is not in the environment" "$secret" CREDENTIALS_DIRECTORY= < <(in_it cat "/proc/$main/environ" | tr '\0' '\n')
absent "is not in the command line" "$secret" --config < <(in_it cat "/proc/$main/cmdline" | tr '\0' '\n')
absent "is not in the journal, in no field of it" "$secret" "$planted" < <(journal_fields)
expect "which has the daemon's own entries" seen_in_journal "_PID=$main"
absent "is not in systemctl show" "$secret" ExecStart= < <(in_it systemctl show understory-sync.service)
found_in_folder() { in_it grep -rFl -- "$1" /var/lib/private/understory-sync || true; }
same "is not in the database's folder" "$(found_in_folder "$secret")" ""
expect "where an address is found" test -n "$(found_in_folder person7@example.org)"

say "root's commands beside the service"
expect "status" in_it understory-sync --config /etc/understory-sync/config.toml status
expect "a reload is a run" in_it systemctl reload understory-sync.service
expect "the run of a reload is complete" until_true 20 complete $database 2

say "stop"
control latency=2 people=5000
in_it systemctl reload understory-sync.service
asked() { [ "$(curl -s --noproxy '*' "$mock_api/seen" | sed 's/.*"consents": \([0-9]*\).*/\1/')" -gt "$1" ]; }
before=$(curl -s --noproxy '*' "$mock_api/seen" | sed 's/.*"consents": \([0-9]*\).*/\1/')
until_true 10 asked "$before"
from=$(now)
expect "a busy daemon stops" in_it systemctl stop understory-sync.service
at_most "seconds to stop while busy" "$(since "$from")" 5
same "the result is success" "$(property Result)" success
control latency=0 people=250

say "refused system calls"
# A call that the filter refuses answers EPERM, and nobody need notice. Here it kills.
deadly() { drop_in "$1" <<<$'[Service]\nSystemCallErrorNumber=kill'; }
# another_run DATABASE COMMAND...: the command leads to one more complete run.
another_run() {
    local file=$1 before
    before=$(query "$1" "select count(*) from sync_runs where outcome = 'succeeded'")
    shift
    "$@" && until_true 20 complete "$file" $((before + 1))
}
drop_in understory-sync-once.service <<<$'[Service]\nSystemCallErrorNumber=kill\nExecStart=\nExecStart=/usr/sbin/chroot / /bin/true'
in_it systemctl start understory-sync-once.service 2>/dev/null || true
same "a program that makes such a call is killed by SIGSYS" "$(property ExecMainStatus understory-sync-once.service)" 31
undo_drop_in understory-sync-once.service
in_it systemctl reset-failed
deadly understory-sync.service
deadly understory-sync-once.service
deadly understory-sync-backup.service
expect "the daemon makes none: it starts" in_it systemctl start understory-sync.service
expect "it runs" another_run $database in_it systemctl reload understory-sync.service
step_before="$(property ExecStartPre)"
absent "the step before it makes none either" "status=31" "code=exited ; status=0" <<<"$step_before"
in_it systemctl stop understory-sync.service
same "it ends well" "$(property Result)-$(property ExecMainStatus)" success-0
expect "the one-shot makes none" another_run $database in_it systemctl start understory-sync-once.service
undo_drop_in understory-sync.service

say "every drop-in of the documents"
mkdir "$machine/drop-ins"
awk -v folder="$machine/drop-ins" '
    /^ *```ini$/ { inside = 1; block = ""; next }
    inside && /^ *```$/ {
        inside = 0
        if (block ~ /\[(Service|Unit|Timer)\]/) {
            name = FILENAME; gsub(/[^a-zA-Z]/, "-", name)
            printf "%s", block >(folder "/" name "-" FNR)
        }
    }
    inside { block = block $0 "\n" }
' $(cd "$repository" && git ls-files 'docs/*.md' README.md | sed "s|^|$repository/|")
same "all were found" "$(ls "$machine/drop-ins" | wc -l)" "$(cd "$repository" && git ls-files 'docs/*.md' README.md | xargs cat | grep -cE '^ *\[(Service|Unit|Timer)\]$')"
for file in "$machine/drop-ins"/*; do
    what=$(basename "$file" | sed 's/.*docs-/docs-/')
    unit=$(sed -n 's/^ *# sudo systemctl edit \(.*\)/\1/p' "$file")
    unit=${unit:-understory-sync}.service
    used=$database
    if grep -q '^ *OnFailure=' "$file"; then
        install -m 644 "$repository/docs/examples/understory-sync-mail@.service" "$root/etc/systemd/system/"
        printf '#!/bin/sh\n{ echo "$@"; cat; } >/var/tmp/mail\n' | install -D -m 755 /dev/stdin "$root/usr/bin/mail"
        drop_in $unit <"$file"
        same "$what: verify" "$(in_it systemd-analyze verify $unit 2>&1 && echo 0)" 0
        control refuse=1
        in_it systemctl start $unit 2>/dev/null || true
        control refuse=0
        mailed() { in_it grep -q "auth.client_id or auth.client_secret" /var/tmp/mail; }
        expect "$what: a failed run is mailed with what it said" until_true 20 mailed
        same "$what: to whom" "$(in_it head -1 /var/tmp/mail)" "-s $unit failed on unit-test root"
        in_it systemctl reset-failed
        undo_drop_in $unit
        continue
    fi
    if grep -q '^\[\(Unit\|Timer\)\]' "$file"; then fail "$what is a whole unit, which nothing here tries"; continue; fi
    if grep -q database_url "$file"; then
        used=/var/lib/understory-sync/elsewhere.db
        install -m 600 /dev/stdin "$root/etc/understory-sync/database_url" <<<"sqlite://$used"
    fi
    if grep -q LoadCredentialEncrypted "$file"; then
        # What the document types before it, and the plain file is gone.
        in_it install -d -m 700 /etc/credstore.encrypted
        expect "$what: encrypts" in_it systemd-creds encrypt --name=client_secret /etc/understory-sync/client_secret /etc/credstore.encrypted/understory-client-secret
        mv "$root/etc/understory-sync/client_secret" "$machine/client_secret"
    fi
    if grep -q understory-readers/ "$file"; then
        # A reader that counts what it is given.
        printf '#!/bin/sh\nwc -l >"$STATE_DIRECTORY/received"\n' |
            install -D -m 755 /dev/stdin "$root$(grep -o '/usr/local/lib/understory-readers/[a-z.]*' "$file")"
    fi
    drop_in $unit <"$file"
    same "$what: verify" "$(in_it systemd-analyze verify $unit 2>&1 && echo 0)" 0
    if [ $unit = understory-sync-once.service ]; then
        expect "$what: runs" another_run $used in_it systemctl start $unit
    else
        expect "$what: starts" in_it systemctl start $unit
        expect "$what: a run is complete" until_true 20 complete $used 1
        expect "$what: a reload is a run" another_run $used in_it systemctl reload $unit
        expect "$what: stops" in_it systemctl stop $unit
    fi
    same "$what: the result" "$(property Result $unit)" success
    if grep -q understory-readers/ "$file"; then
        expect "$what: the reader was given lines" in_it sh -c '[ "$(cat /var/lib/private/understory-sync/received)" -ge 250 ]'
    fi
    if grep -q NoExecPaths "$file"; then
        printf '[Service]\nExecStartPre=/usr/bin/true\n' | cat "$file" - | drop_in $unit
        in_it systemctl start $unit 2>/dev/null || true
        expect "$what: another program is not executed" sh -c "in=\$(cat); [ \"\${in#*status=203}\" != \"\$in\" ]" <<<"$(property ExecStartPre $unit)"
        in_it systemctl stop $unit
        in_it systemctl reset-failed
    fi
    undo_drop_in $unit
    if [ -e "$machine/client_secret" ]; then mv "$machine/client_secret" "$root/etc/understory-sync/client_secret"; fi
done

say "a reader of changes beside the daemon, by its timer"
install -m 644 "$repository"/docs/examples/understory-sync-changes@.{service,timer} "$root/etc/systemd/system/"
printf '#!/bin/sh\nset -e\ntest "$SETTING" = told\nwc -l >received\n' | install -D -m 755 /dev/stdin "$root/usr/local/lib/understory-readers/counter.py"
install -m 600 /dev/stdin "$root/etc/understory-sync/counter.env" <<<SETTING=told
in_it systemctl daemon-reload
same "the service: verify" "$(in_it systemd-analyze verify understory-sync-changes@counter.service 2>&1 && echo 0)" 0
same "the timer: verify" "$(in_it systemd-analyze verify understory-sync-changes@counter.timer 2>&1 && echo 0)" 0
in_it rm -f /var/lib/private/understory-sync/received
expect "the daemon starts" in_it systemctl start understory-sync.service
expect "the timer starts" in_it systemctl start understory-sync-changes@counter.timer
expect "the service runs" in_it systemctl start understory-sync-changes@counter.service
expect "the reader was given lines" in_it sh -c '[ "$(cat /var/lib/private/understory-sync/received)" -ge 250 ]'
expect "the daemon still runs" in_it systemctl is-active understory-sync.service
in_it systemctl stop understory-sync-changes@counter.timer understory-sync.service

say "files that root makes stay the service's"
in_it sh -c 'rm -f /var/lib/private/understory-sync/*'
expect "migrate as root" in_it env CREDENTIALS_DIRECTORY=/etc/understory-sync DATABASE_URL=sqlite://$database understory-sync --config /etc/understory-sync/config.toml migrate
expect "the daemon starts after it" in_it systemctl start understory-sync.service
expect "and works on the same files" until_true 20 complete $database 1

say "restarts"
drop_in understory-sync.service <<<$'[Service]\nWatchdogSec=3s\nTimeoutAbortSec=2s'
in_it systemctl restart understory-sync.service
gaps=()
for round in 1 2 3 4; do
    main=$(property MainPID)
    signal=KILL
    # Silence: the process lives and does nothing.
    [ $round != 2 ] || signal=STOP
    in_it kill -$signal "$main"
    gone() { ! in_it kill -0 "$main"; }
    until_true 20 gone || fail "round $round: the process is still there"
    from=$(now)
    other() { local pid; pid=$(property MainPID); [ "$pid" != 0 ] && [ "$pid" != "$main" ] && state_is understory-sync.service active; }
    until_true 60 other || fail "round $round: no restart"
    gaps+=("$(since "$from")")
done
say "        pauses: ${gaps[*]} (the second after a silent watchdog)"
expect "the watchdog was the second round's reason" in_it sh -c "journalctl -b -u understory-sync.service | grep -i 'watchdog timeout'"
expect "restarts follow, each after a longer pause" awk -v a="${gaps[0]}" -v b="${gaps[1]}" -v c="${gaps[2]}" -v d="${gaps[3]}" \
    'BEGIN { exit !(b > a + 0.4 && c > b + 0.4 && d > c + 0.4) }'
same "systemd counted them" "$(property NRestarts)" 4
in_it systemctl stop understory-sync.service
from=$(now)
in_it systemctl start understory-sync.service
at_most "seconds until ready after a stop by hand: the count is forgotten" "$(since "$from")" 5
in_it systemctl stop understory-sync.service
undo_drop_in understory-sync.service

say "failures that a restart cannot heal"
no_restart() {
    until_true 10 sub_state_is understory-sync.service failed || true
    # Longer than the first pause.
    sleep 3
    same "exit $1: failed" "$(property SubState)" failed
    same "exit $1: the code" "$(property ExecMainStatus)" "$1"
    same "exit $1: no restart" "$(property NRestarts)" 0
    in_it systemctl reset-failed understory-sync.service
}
cp "$root/etc/understory-sync/config.toml" "$machine/good.toml"
echo 'no_such_key = 1' >>"$root/etc/understory-sync/config.toml"
in_it systemctl start understory-sync.service 2>/dev/null || true
no_restart 78
cp "$machine/good.toml" "$root/etc/understory-sync/config.toml"
control refuse=1
in_it sh -c 'rm -f /var/lib/private/understory-sync/*'
in_it systemctl start understory-sync.service 2>/dev/null || true
no_restart 77
control refuse=0
drop_in understory-sync.service <<<$'[Service]\nExecStart=\nExecStart=/usr/bin/understory-sync --no-such-flag'
in_it systemctl start understory-sync.service 2>/dev/null || true
no_restart 2
undo_drop_in understory-sync.service

say "one run by the timer's service"
expect "runs" in_it systemctl start understory-sync-once.service
same "its result" "$(property Result understory-sync-once.service)" success
same "everybody is there" "$(query $database 'select count(*) from active_consents')" 250
expect "the timer starts" in_it systemctl enable --now understory-sync.timer
expect "and knows its next time" sh -c "[ -n '$(property NextElapseUSecRealtime understory-sync.timer)' ]"
in_it systemctl disable --now understory-sync.timer 2>/dev/null

say "removals that are let through by typing the line of the log"
line_of() { in_it journalctl -b -u "$1" -o cat --no-pager | sed -n 's/.*If they really left, run: //p' | tail -1; }
let_through=0
active() { [ "$(query $database 'select count(*) from active_consents')" = "$1" ]; }
for unit in understory-sync.service understory-sync-once.service; do
    control people=250
    [ $unit != understory-sync.service ] || in_it systemctl start $unit
    go() { if [ $unit = understory-sync.service ]; then in_it systemctl reload $unit; else in_it systemctl start $unit; fi; }
    go
    expect "$unit: everybody is listed" until_true 20 active 250
    control people=100
    go 2>/dev/null || true
    withheld() { [ "$(query $database 'select count(*) from consents where withheld_since is not null')" = 150 ]; }
    expect "$unit: removals are withheld" until_true 20 withheld
    line=$(line_of $unit)
    expect "$unit: the log has a line to type: $line" test -n "$line"
    expect "$unit: typing it works" in_it sh -c "$line"
    expect "$unit: they are let through" until_true 20 active 100
    same "$unit: it is recorded" "$(query $database 'select count(*) from sync_runs where accepted_removals = 150')" $((++let_through))
    same "$unit: no file is root's" "$(in_it find /var/lib/private/understory-sync -user root)" ""
    control people=250
    expect "$unit: the next run works on the same files" another_run $database go
    [ $unit != understory-sync.service ] || in_it systemctl stop $unit
    in_it systemctl reset-failed
done

say "a company of its own"
expect "starts" in_it systemctl start understory-sync@acme.service
expect "a run is complete" until_true 20 complete /var/lib/understory-sync-acme/understory.db 1
same "the folder is its user's alone" "$(in_it stat -L -c %a /var/lib/understory-sync-acme)" 700
in_it systemctl stop understory-sync@acme.service

say "a copy for a group"
install -D -m 644 "$repository/systemd/understory-sync.sysusers.conf" "$root/etc/sysusers.d/understory-sync.conf"
install -D -m 644 "$repository/systemd/understory-sync.tmpfiles.conf" "$root/etc/tmpfiles.d/understory-sync.conf"
in_it systemd-sysusers understory-sync.conf
in_it systemd-tmpfiles --create understory-sync.conf
in_it useradd --no-create-home --groups understory-readers reader
in_it useradd --no-create-home stranger
expect "the backup runs" in_it systemctl start understory-sync-backup.service
copy=/var/backups/understory-sync/understory.db
same "a member reads it" "$(in_it setpriv --reuid=reader --regid=reader --init-groups sqlite3 -readonly $copy 'select count(*) from active_consents')" 250
same "its mode and group" "$(in_it stat -c '%a %G' $copy)" "640 understory-readers"
expect "a member does not write it" in_it sh -c "! setpriv --reuid=reader --regid=reader --init-groups touch $copy /var/backups/understory-sync/x"
# What the service's user could do, were it not the program: no step of root's follows its links.
in_it sh -c "rm -f $copy; ln -s /etc/shadow $copy; ln -s /etc/shadow /var/backups/understory-sync/.understory.db.new"
in_it systemctl start understory-sync-backup.service || true
same "a link to a file of root's opens nothing" "$(in_it stat -c '%a %G' /etc/shadow)" "640 shadow"
expect "nor is a copy of it made" in_it sh -c "! setpriv --reuid=reader --regid=reader --init-groups grep -rs root: /var/backups/understory-sync"
in_it sh -c "rm -f /var/backups/understory-sync/.understory.db.new"
expect "the next copy is whole again" in_it systemctl start understory-sync-backup.service
same "and read" "$(in_it setpriv --reuid=reader --regid=reader --init-groups sqlite3 -readonly $copy 'select count(*) from active_consents')" 250
expect "a stranger does not" in_it sh -c "! setpriv --reuid=stranger --regid=stranger --init-groups cat $copy"
same "nothing else is left behind" "$(in_it sh -c 'ls -A /var/backups/understory-sync; ls /var/lib/private/understory-sync | grep backup || true')" understory.db
if [ $failed -ne 0 ]; then in_it journalctl -b --no-pager -u 'understory-sync*' | tail -60 >&2; fi
