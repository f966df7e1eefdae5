#!/bin/sh
# Sets up what the Makefile's targets need, and only what is missing.
#
#   setup.sh system      the `ip` tool and the host-device plugin, from Debian's or Ubuntu's packages
#   setup.sh tools       strace, mandoc and openssl, which tests use if they are there; installed only as root
#   setup.sh launcher    the compiler for small static executables, or if it cannot be had, any other
#   setup.sh fuzz-launcher  the compiler with the fuzzer
#   setup.sh venv run    .venv with the project and what runs it
#   setup.sh venv dev    the same, and what tests it
#   setup.sh venv fuzz   the same as for run, and what fuzzes it
#   setup.sh venv mutants  the same as for run, and what measures how much its tests notice
#   setup.sh venv dist   the same as for run, and what makes a release
set -eu
cd "$(dirname "$0")/.."

venv=.venv

say() { printf '%s\n' "$*" >&2; }

die() {
    say "setup: $*"
    exit 1
}

# Installs Debian packages if it can and is root; otherwise says which are missing.
apt_install() {
    command -v apt-get >/dev/null || die "please install what the Debian packages $* contain"
    [ "$(id -u)" = 0 ] || die "please install $*, for example: sudo apt-get install $*"
    say "setup: installing $*"
    export DEBIAN_FRONTEND=noninteractive
    # A source that cannot be reached matters only if a package is then not found.
    apt-get -qq update >/dev/null 2>&1 || true
    log=$(apt-get -qq -y install --no-install-recommends "$@" 2>&1) || die "$log"
}

setup_system() {
    missing=
    # An ordinary user's PATH often lacks the folder where `ip` is.
    PATH=$PATH:/usr/sbin:/sbin command -v ip >/dev/null || missing=iproute2
    [ -x /usr/lib/cni/host-device ] || missing="$missing containernetworking-plugins"
    # shellcheck disable=SC2086  # a list of words
    [ -z "$missing" ] || apt_install $missing
}

setup_tools() {
    [ "$(id -u)" = 0 ] || return 0
    missing=
    [ -x /usr/bin/strace ] || missing=strace
    [ -x /usr/bin/mandoc ] || missing="$missing mandoc"
    command -v openssl >/dev/null || missing="$missing openssl"
    # shellcheck disable=SC2086  # a list of words
    [ -z "$missing" ] || apt_install $missing
}

setup_launcher() {
    command -v musl-gcc >/dev/null && return
    # With another compiler the launcher is the same, only larger.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        (apt_install musl-tools) && return
    fi
    command -v cc >/dev/null || apt_install musl-tools
}

setup_fuzz_launcher() {
    runtime=$(clang --print-file-name=libclang_rt.fuzzer-"$(uname -m)".a 2>/dev/null) || runtime=
    [ -e "$runtime" ] || apt_install clang libclang-rt-dev
}

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Prints the interpreter for .venv: the one that $PYTHON names, or the first that is recent enough.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_recent "$PYTHON" || die "PYTHON=$PYTHON is not Python 3.11 or later"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if is_recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or later is needed; none of python3, python3.14 ... python3.11 is recent enough.
On Debian 12 or Ubuntu 24.04: apt-get install python3"
}

create_venv() {
    python=$(find_python)
    # Debian keeps this part of the standard library in a package of its own.
    "$python" -c 'import ensurepip' 2>/dev/null ||
        apt_install "$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"
    say "setup: creating $venv with $("$python" -V)"
    "$python" -m venv --clear "$venv"
}

pip() {
    "$venv/bin/python" -I -m pip --disable-pip-version-check --no-input -qq "$@"
}

setup_venv() {
    # An interrupted creation leaves no pip, and the interpreter may have been removed since.
    "$venv/bin/python" -c 'import pip' 2>/dev/null || create_venv
    say "setup: installing the locked packages of requirements/$1.txt"
    pip install --require-hashes --requirement "requirements/$1.txt"
    # The lock has everything, so this looks up and downloads nothing.
    pip install --no-deps --no-build-isolation --editable .
    touch "$venv/run.stamp" "$venv/$1.stamp"
}

case $* in
system) setup_system ;;
tools) setup_tools ;;
launcher) setup_launcher ;;
fuzz-launcher) setup_fuzz_launcher ;;
"venv run" | "venv dev" | "venv fuzz" | "venv mutants" | "venv dist") setup_venv "$2" ;;
*) die "usage: setup.sh system | tools | launcher | fuzz-launcher | venv run | venv dev | venv fuzz | venv mutants | venv dist" ;;
esac
