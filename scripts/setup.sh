#!/usr/bin/env bash
# Installs what a fresh Debian or Ubuntu machine with Rust lacks to build Blindtally; does nothing
# where everything is there. Each thing and why it is needed:
#
#   g++, make, cmake, pkg-config  RocksDB and the cryptography are C, C++ and assembler
#   clang, libclang-dev           the bindings of RocksDB are made from its headers
#   ccache                        RocksDB takes a quarter of an hour to compile, once
#   python3                       the second implementation of the pseudonyms, in the tests
#   softhsm2                      the tests keep root keys in a real PKCS#11 token, which it plays;
#                                 neither building nor running Blindtally needs it
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }

need cc gcc
need c++ g++
need make make
need cmake cmake
need pkg-config pkg-config
need clang clang
need ccache ccache
need python3 python3
need softhsm2-util softhsm2
if [ -z "${LIBCLANG_PATH:-}" ] \
    && ! ldconfig -p 2>/dev/null | grep -q 'libclang[-.]' \
    && ! compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null; then
    missing+=(libclang-dev)
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing: install it with rustup (https://rustup.rs) and run this again." >&2
    exit 1
fi
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -1)" != "$wanted" ]; then
    echo "Rust $wanted or later is needed and this is $found: run 'rustup update stable'." >&2
    exit 1
fi

[ ${#missing[@]} -gt 0 ] || exit 0

echo "Blindtally needs these packages, which are missing here: ${missing[*]}"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "This machine has no apt-get; install them by its own means and run this again." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "Installing needs root, and there is no sudo: ask an administrator to install them." >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "Installing them with apt-get${as_root[*]:+ (through sudo)}."
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
