#!/bin/sh
# Makes the environment that the commands of the Makefile run in: sh environment.sh .venv [EXTRAS]
# Python 3.11 is $PYTHON, else python3.11, else what uv brings, else, as root, the system's package. Then come the
# packages that requirements.lock pins, and the system libraries that Blender links: as root with apt-get, which is
# said first; otherwise what is missing is named with the command that brings it.
set -eu
venv=$1
extras=${2:-dev,studio} # of pyproject.toml
here=$(dirname "$0")
constraint=$here/requirements.lock

say() { echo "i2v3d: $*" >&2; }
is_there() { command -v "$1" >/dev/null 2>&1; }
may_install() { [ "$(id -u)" = 0 ] && is_there apt-get; }

# with_apt WHY PACKAGE...
with_apt() {
  why=$1
  shift
  say "installing with apt-get: $* ($why)"
  told=$(apt-get update -qq 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" 2>&1) ||
    { say "$told"; return 1; }
}

# Whether a command is Python 3.11 and can make environments; Debian has the second in a package of its own.
is_python() { "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

make_venv() {
  if [ -n "${PYTHON:-}" ]; then
    is_python "$PYTHON" || { say "PYTHON=$PYTHON is not Python 3.11 with venv; name one, or leave PYTHON out"; exit 1; }
    "$PYTHON" -m venv "$venv"
  elif is_python python3.11; then
    python3.11 -m venv "$venv"
  elif is_there uv; then
    say "Python 3.11 by uv"
    uv venv --quiet --allow-existing --seed --python 3.11 "$venv"
  elif may_install && apt-get update -qq && apt-cache show python3.11-venv >/dev/null 2>&1; then
    with_apt "the Python of Blender's package bpy" python3.11 python3.11-venv ca-certificates
    python3.11 -m venv "$venv"
  else
    say "Python 3.11 with venv is missing (Blender's package bpy takes no other); get it in one of two ways, then run make again:"
    say "  curl -LsSf https://astral.sh/uv/install.sh | sh        # uv, which brings Python 3.11 without root"
    say "  apt-get install python3.11 python3.11-venv             # as root; on Ubuntu after: add-apt-repository ppa:deadsnakes/ppa"
    exit 1
  fi
}

# pip brings torch, as it finds the CPU build that a machine may hold; uv brings the rest in a fifth of pip's time, and
# where it cannot (it knows no pip.conf) pip does.
install_packages() {
  python=$venv/bin/python
  "$python" -m pip install --quiet --constraint "$constraint" --no-compile torch uv
  "$venv/bin/uv" pip install --quiet --constraint "$constraint" --python "$python" --editable "$here[$extras]" ||
    "$python" -m pip install --quiet --constraint "$constraint" --editable "$here[$extras]"
}

install_libraries() {
  packages=$("$venv/bin/python" -c 'from i2v3d.blender.machine import missing_packages; print(*missing_packages())')
  [ -n "$packages" ] || return 0
  if may_install; then
    # shellcheck disable=SC2086  # one word a package
    with_apt "libraries that Blender links" $packages && return 0
  fi
  say "Blender needs libraries that this machine lacks; install with: apt-get install $packages"
}

make_venv
install_packages
install_libraries
