#!/bin/sh
# Installs what the integration exams run against: Debian's Kamailio, rtpengine,
# Chromium and SIPp, a C compiler for the race detector, and the browser driver's
# npm packages by their lock file.
# Debian 12 pins the versions (Kamailio 5.6, rtpengine 10.5). Needs root only
# when a Debian package is missing.
set -eu
cd "$(dirname "$0")"

packages="kamailio kamailio-websocket-modules kamailio-tls-modules
	kamailio-extra-modules kamailio-utils-modules kamailio-lwsc-modules
	rtpengine-daemon rtpengine-utils chromium sip-tester nftables iproute2 ethtool procps
	gcc libc6-dev valgrind pebble baresip-core"

missing=""
for package in $packages; do
	state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
	[ "$state" = "install ok installed" ] || missing="$missing $package"
done

if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ]; then
		echo "install.sh: not root; please install with apt-get:$missing" >&2
		exit 1
	fi
	# The exams start their own instances: keep the packages' services down.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	# shellcheck disable=SC2086 # one word a package
	apt-get install -q -y --no-install-recommends $missing
fi

cd browser
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --no-audit --no-fund
fi
