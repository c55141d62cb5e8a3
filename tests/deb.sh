#!/usr/bin/env bash
# The Debian package: lintian finds no error in it; in a booted Debian it installs, starts, upgrades with its configuration kept,
# purges and leaves nothing.
#
#   tests/deb.sh [PACKAGE]      as root; without PACKAGE cargo-deb makes one from the release build
#
# Needs cargo-deb (built into the cache where it is missing), lintian, debootstrap, systemd-container. Ends with "N passed, N failed".
set -euo pipefail
title="Debian package"
source "$(dirname "$0")/install/lib.sh"
source "$(dirname "$0")/install/machine.sh"
need lintian lintian
need dpkg-deb dpkg

packages=$(mktemp -d)
folders+=("$packages")
if [ -n "${1:-}" ]; then
    cp "$1" "$packages/first.deb"
else
    cargo_tool cargo-deb || skip_not_run "cargo-deb could not be built from the registry"
    from=$(now)
    (cd "$repository" && cargo deb --quiet --output "$packages/first.deb")
    say "built in $(since "$from") s"
fi

say "the package on paper"
chmod 755 "$packages"
# As root it would only complain about root.
lintian_as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp lintian --fail-on error --tag-display-limit 0 "$1"; }
expect "lintian finds no error" lintian_as_nobody "$packages/first.deb"
listed() { dpkg-deb --contents "$packages/first.deb" | awk '{ print $6 }' | grep -x "./$1"; }
for file in usr/share/doc/understory-sync/{README.md,SECURITY.md,CHANGELOG.md,LICENSE-MIT,LICENSE-APACHE,copyright} \
    usr/share/man/man1/understory-sync.1.gz usr/share/bash-completion/completions/understory-sync \
    usr/share/zsh/vendor-completions/_understory-sync usr/share/fish/vendor_completions.d/understory-sync.fish \
    usr/lib/systemd/system/understory-sync@.service; do
    expect "brings $file" listed "$file"
done
mkdir "$packages/control"
dpkg-deb --raw-extract "$packages/first.deb" "$packages/control/tree"
# Positive control: a package with a defect that lintian calls an error is refused.
sed -i '/^Maintainer:/d' "$packages/control/tree/DEBIAN/control"
dpkg-deb --build --root-owner-group "$packages/control/tree" "$packages/control/defect.deb" >/dev/null 2>&1
fails_with 2 "no-maintainer-field|required-field" lintian_as_nobody "$packages/control/defect.deb"

# The next version: the same files under a higher number.
mkdir "$packages/tree"
dpkg-deb --raw-extract "$packages/first.deb" "$packages/tree"
sed -i 's/^Version: .*/Version: 99.0.0-1/' "$packages/tree/DEBIAN/control"
dpkg-deb --build --root-owner-group "$packages/tree" "$packages/second.deb" >/dev/null

say "boot"
make_machine
install -d "$root/packages"
cp "$packages"/*.deb "$root/packages/"
start_mock_api
boot
expect "systemd is up" until_true 60 is_up

say "install"
expect "installs" in_it dpkg --install /packages/first.deb
expect "the program is there" in_it understory-sync --version
same "it brings no configuration that init would have to write over" "$(in_it sh -c 'ls /etc/understory-sync 2>/dev/null')" ""
same "the units verify" "$(in_it sh -c 'systemd-analyze verify understory-sync.service understory-sync.timer understory-sync@a.service understory-sync-backup.timer 2>&1')" ""
same "nothing was started" "$(property ActiveState)" inactive

say "start"
install -d "$root/etc/understory-sync"
write_config "$root/etc/understory-sync/config.toml" '[database]' 'url = "sqlite:///var/lib/understory-sync/understory.db"'
install -m 600 /dev/stdin "$root/etc/understory-sync/client_secret" <<<"$secret"
expect "check, as the document says" in_it env CREDENTIALS_DIRECTORY=/etc/understory-sync understory-sync check
expect "starts" in_it systemctl enable --now understory-sync
expect "a run is complete" until_true 20 complete $database 1
expect "root sees it" in_it understory-sync status

say "upgrade"
main=$(property MainPID)
before=$(in_it sha256sum /etc/understory-sync/config.toml)
expect "upgrades, asking nothing" in_it sh -c 'DEBIAN_FRONTEND=noninteractive dpkg --install /packages/second.deb </dev/null'
same "the configuration is kept" "$(in_it sha256sum /etc/understory-sync/config.toml)" "$before"
renewed() { [ "$(property MainPID)" != "$main" ] && [ "$(property ActiveState)" = active ]; }
expect "the new program runs" until_true 20 renewed
same "everybody is still there" "$(query $database 'select count(*) from active_consents')" 250

say "remove, and purge"
# pgrep cuts names at 15 characters. Before the removal it finds the daemon.
running() { in_it pgrep --full '^/usr/bin/understory-sync'; }
stopped() { [ "$(in_it sh -c "pgrep --full '^/usr/bin/understory-sync'; echo \$?")" = 1 ]; }
expect "before the removal it runs" running
expect "removes" in_it dpkg --remove understory-sync
expect "and has stopped" stopped
expect "configuration and database stay" in_it sh -c 'test -f /etc/understory-sync/config.toml && test -f /var/lib/private/understory-sync/understory.db'
expect "installs again" in_it dpkg --install /packages/second.deb
expect "starts again with what was there" in_it systemctl start understory-sync
expect "purges while it runs" in_it dpkg --purge understory-sync
left() { in_it find / -xdev -path '*understory-sync*' -not -path '/packages*' -not -path '/proc/*' -not -path '/var/log/*' -not -path '/var/cache/*'; }
in_it touch /etc/understory-sync.left
same "what is left would be found" "$(left)" /etc/understory-sync.left
in_it rm /etc/understory-sync.left
same "nothing is left" "$(left)" ""
same "systemd has no failed unit" "$(in_it systemctl --failed --no-legend)" ""
