#!/bin/sh
# Where is Chromium? Prints a line for the shell to evaluate, and installs the package where that takes no password.
set -u
cd "$(dirname "$0")/.." || exit 1

say() { echo "$1" >&2; }

find_chromium() {
    for program in "${CHROMIUM_PATH:-}" chromium chromium-browser google-chrome \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        if [ -n "$program" ] && command -v "$program" >/dev/null 2>&1; then
            command -v "$program"
            return 0
        fi
    done
    return 1
}

install_chromium() {
    command -v apt-get >/dev/null 2>&1 || return 1
    root=
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        root="sudo -n"
    fi
    say "Installing chromium for the browser tests ..."
    export DEBIAN_FRONTEND=noninteractive
    { $root apt-get install -qq -y --no-install-recommends chromium ||
        { $root apt-get update -qq && $root apt-get install -qq -y --no-install-recommends chromium; }; } >/dev/null 2>&1
}

if [ "${E2E:-1}" = 0 ] || ! ls tests/e2e/test_*.py >/dev/null 2>&1; then
    echo "export E2E=0"
elif path=$(find_chromium) || { install_chromium && path=$(find_chromium); }; then
    echo "export E2E=1 CHROMIUM_PATH='$path'"
else
    say "The browser tests are skipped: install Chromium, or set CHROMIUM_PATH to where it is."
    echo "export E2E=0"
fi
