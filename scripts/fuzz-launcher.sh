#!/bin/sh
# Fuzzes the static launcher for some minutes: fuzz-launcher.sh MINUTES.  The first input that breaks
# it ends the run and stays in .fuzz/launcher/found; with such a file instead of MINUTES it is tried
# again.
set -eu
cd "$(dirname "$0")/.."

folder=.fuzz/launcher
mkdir -p "$folder/corpus" "$folder/found"

clang -std=c11 -g -O1 -Wall -Wextra -Werror -Wno-unused-function \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -o "$folder/fuzz" tests/fuzz/launcher.c

if [ -f "$1" ]; then exec "$folder/fuzz" "$1"; fi

# For a start: lengths, an environment, an input, and what an agent says.
printf '\022\000\002\000CNI_COMMAND=ADD\0A={}ABS\000\002\000\000\000{}' >"$folder/corpus/served"
printf '\000\000\000\000AS\001\000\000\000\000' >"$folder/corpus/refused"
printf '\000\000\000\000N' >"$folder/corpus/not-mine"

exec "$folder/fuzz" -max_total_time=$(($1 * 60)) -max_len=4096 -timeout=60 -print_final_stats=1 \
    -artifact_prefix="$folder/found/" "$folder/corpus" </dev/null
