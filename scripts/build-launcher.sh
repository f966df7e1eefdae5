#!/bin/sh
# Builds the static launcher: build-launcher.sh OUTPUT [OPTION...].  Options of the compiler replace
# those that make it static and small.  CC chooses the compiler; without it musl's is taken, or else
# the system's.
set -eu
cd "$(dirname "$0")/.."

output=$1
shift

if [ -z "${CC:-}" ]; then
    if command -v musl-gcc >/dev/null; then CC=musl-gcc; else CC=cc; fi
fi

warnings="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wvla
  -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef -Werror"

if [ $# = 0 ]; then
    set -- -static -s -Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
        -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,noseparate-code
fi

# shellcheck disable=SC2086  # a list of words
"$CC" -std=c11 $warnings "$@" -o "$output.new" launchers/amd-host-device.c

# A rename replaces an executable that is running, and never leaves half of one.
mv -f "$output.new" "$output"
