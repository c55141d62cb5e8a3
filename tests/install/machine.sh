# A booted Debian for the tests of an installation. Sourced after lib.sh.
#
# systemd-nspawn, in a mount namespace of its own, so that nothing of the host's is touched; the network is the host's, so that the
# mock API's loopback is the machine's as well.

[ "$(id -u)" = 0 ] || skip_impossible "it boots a container, which only root may"
unshare --mount --propagation private true 2>/dev/null || skip_impossible "this process may not make a mount namespace"
need debootstrap debootstrap
need systemd-nspawn systemd-container
need nsenter util-linux
need python3 python3
need curl curl

database=/var/lib/understory-sync/understory.db

# make_machine: sets machine (a folder for notes) and root (its file system).
make_machine() {
    local base
    base=$(root_file_system "${SUITE:-trixie}" systemd systemd,systemd-sysv,dbus,sqlite3,procps,ca-certificates) || skip_without_archive "a Debian to boot"
    machine=$(mktemp -d /var/tmp/understory-machine.XXXXXX)
    folders+=("$machine")
    root=$machine/root
    cp -a "$base" "$root"
    echo unit-test >"$root/etc/hostname"
}

boot() {
    # A systemd of today wants the unified hierarchy; this mount is seen by nobody else.
    unshare --mount --propagation private sh -c '
        umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 1
        exec systemd-nspawn --quiet --directory="$0" --register=no --keep-unit --console=pipe --link-journal=no --boot' \
        "$root" </dev/null >"$machine/console.log" 2>&1 &
    nspawn=$!
    until_true 60 pgrep -x -P $nspawn systemd || { cat "$machine/console.log" >&2; return 1; }
    init=$(pgrep -x -P $nspawn systemd)
}
cleanup_more() {
    if [ -n "${init:-}" ]; then kill -KILL "$init"; elif [ -n "${nspawn:-}" ]; then kill -KILL "$nspawn"; fi
    [ -z "${nspawn:-}" ] || wait "$nspawn"
}

in_it() { nsenter --all --target "$init" -- "$@"; }
is_up() { in_it systemctl is-system-running | grep -E "running|degraded"; }
property() { in_it systemctl show --value --property "$1" "${2:-understory-sync.service}"; }
state_is() { [ "$(property ActiveState "$1")" = "$2" ]; }
sub_state_is() { [ "$(property SubState "$1")" = "$2" ]; }
query() { in_it sqlite3 -readonly "$1" "$2"; }
# complete DATABASE N: at least N complete runs.
complete() { [ "$(query "$1" "select count(*) from sync_runs where outcome = 'succeeded'")" -ge "$2" ]; }
