#!/bin/sh
# Builds a static executable: build-launcher.sh OUTPUT [-DNAME=VALUE...] [OPTION...].  Options of the
# compiler other than definitions replace those that make it static and small.  SOURCE chooses the
# program instead of the static launcher.  CC chooses the compiler; without it musl's is taken, or
# else the system's.
set -eu
cd "$(dirname "$0")/.."

output=$1
shift

if [ -z "${CC:-}" ]; then
    if command -v musl-gcc >/dev/null; then CC=musl-gcc; else CC=cc; fi
fi

warnings="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wvla
  -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef -Werror"

others=
for option; do
    case $option in
    -D*) ;;
    *) others=yes ;;
    esac
done
if [ -z "$others" ]; then
    set -- "$@" -static -s -Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
        -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,noseparate-code
fi

# shellcheck disable=SC2086  # a list of words
"$CC" -std=c11 $warnings "$@" -o "$output.new" "${SOURCE:-launchers/amd-host-device.c}"

# A rename replaces an executable that is running, and never leaves half of one.
mv -f "$output.new" "$output"
