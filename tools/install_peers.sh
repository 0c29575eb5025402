#!/bin/sh
# Installs the programs that the interop tests call (Debian, Ubuntu). As root or with passwordless sudo it installs what is missing;
# otherwise it prints what is missing and exits 1. Does nothing, quickly, when everything is there.
set -eu

programs="chromium:chromium baresip:baresip-core linphonec:linphone-cli sipp:sip-tester kamailio:kamailio ffmpeg:ffmpeg espeak-ng:espeak-ng flite:flite sox:sox"
missing=""
for pair in $programs; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
set -- /usr/lib/postgresql/*/bin/initdb
[ -x "$1" ] || command -v initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -f /usr/lib/baresip/modules/avcodec.so ] || missing="$missing baresip-ffmpeg"
set -- /usr/lib/*/kamailio/modules/tls.so
[ -f "$1" ] || missing="$missing kamailio-tls-modules"

if [ -z "$missing" ]; then
    echo "all peers are installed"
    exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "missing:$missing" >&2
    echo "as root: apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing (this script knows apt-get only)" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # a list of package names
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing
echo "installed:$missing"
