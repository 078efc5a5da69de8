#!/bin/sh
# The compiler for this crate in scripts/test.sh: its parts are not optimized over each other once
# more, which takes a fifth of the time of a build in many parts, and of the integration tests, which
# only ask the program, nothing is optimized.
case " $* " in
*" --crate-name it "*) exec "$@" -C lto=off -C opt-level=0 ;;
*) exec "$@" -C lto=off ;;
esac
