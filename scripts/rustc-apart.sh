#!/bin/sh
# The compiler for this crate in scripts/test.sh: its parts are not optimized over each other once
# more, which takes a fifth of the time of a build in many parts.
exec "$@" -C lto=off
