#!/bin/sh
# Builds the static launcher: build-launcher.sh OUTPUT [OPTION...], where the options are the
# compiler's.  CC chooses the compiler; without it musl's is taken, or else the system's.
set -eu
cd "$(dirname "$0")/.."

output=$1
shift

if [ -z "${CC:-}" ]; then
    if command -v musl-gcc >/dev/null; then CC=musl-gcc; else CC=cc; fi
fi

warnings="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wvla
  -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef -Werror"
small="-Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
  -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,noseparate-code"

# shellcheck disable=SC2086  # lists of words
"$CC" -std=c11 $warnings $small -static -s "$@" -o "$output.new" launchers/amd-host-device.c

# In the place of an executable that is running, and never half written.
mv -f "$output.new" "$output"
