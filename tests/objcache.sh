#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiles Verilator's own runtime, the same for every design, once per command line.
for source; do :; done
case "$source" in
*/verilated*.cpp)
    kept="$TEPAL_OBJECTS/$(echo "$*" | md5sum | cut -c1-32).o"
    output=$(basename "$source" .cpp).o
    if ! cp "$kept" "$output" 2>/dev/null; then
        "$@" && cp "$output" "$kept.$$" && mv "$kept.$$" "$kept"
    fi ;;
*) exec "$@" ;;
esac
