#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiles each file that Verilator has written or brings along once per command line and contents: its runtime is the
# same for every design, and several tests simulate the same designs.  Which name an output gets makes no difference,
# so that the headers which a design precompiles for its fast and for its slow files are compiled once.  Files
# include others of their design: all but the runtime's count with whatever lies where they are compiled.
command='' output='' source='' previous=''
for word; do
    case "$previous $word" in
    -o\ *) output=$word ;;
    *\ -o) ;;
    *) command="$command $word"
       source=$word ;;
    esac
    previous=$word
done
output=${output:-$(basename "$source" .cpp).o}
kept="$TEPAL_OBJECTS/$({ echo "$command"; case "$source" in
*/verilated*.cpp) ;;
*) cat "$source" ./*.cpp ./*.h ;;
esac; } | md5sum | cut -c1-32)"
exec 9>"$kept.lock"
flock 9
if ! cp "$kept" "$output" 2>/dev/null; then
    "$@" && cp "$output" "$kept.new" && mv "$kept.new" "$kept"
fi
