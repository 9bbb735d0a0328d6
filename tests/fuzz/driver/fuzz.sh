#!/bin/sh
# tests/fuzz/driver/fuzz.sh TARGET SECONDS MODULES... - look for new inputs with libFuzzer
# SPDX-License-Identifier: Apache-2.0
#
# What it finds that breaks us is written to build/fuzz/TARGET-crash-*; give it
# a name and put it into tests/fuzz/corpus/TARGET, where every check replays it.
set -eu

target=$1 seconds=$2
shift 2
out=build/fuzz
mkdir -p "$out/corpus/$target"

sources=$(for m in "$@"; do find "$m" -name '*.c'; done)
generated=$(find build/gen -name '*.c' 2>/dev/null || true)
packages="jansson libuv libmicrohttpd sqlite3 gnutls libcurl inih libarchive libisal liblzma libzstd libnl-3.0 libnl-route-3.0 libcap ldns"

# An archive, of which only what the target needs is linked: inside of them modules have names alike.
# shellcheck disable=SC2046,SC2086
compile="clang -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -std=gnu11 \
	-D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -include base/banned.h -DBERTH_VERSION=\"fuzz\" \
	-DBERTH_LIBEXECDIR=\"build\" $(pkg-config --cflags $packages)"
objects=$out/objects/$target
rm -rf "$objects"
mkdir -p "$objects"
for source in "tests/fuzz/$target.c" $sources $generated; do
	echo "$source -o $objects/$(echo "$source" | tr / _).o"
done | xargs -P "$(nproc)" -L 1 $compile -c
ar rcs "$objects/all.a" "$objects"/*.o
# shellcheck disable=SC2046,SC2086
clang -fsanitize=fuzzer,address,undefined -o "$out/$target" "$objects/tests_fuzz_$target.c.o" "$objects/all.a" \
	$(pkg-config --libs $packages) -lpthread

exec "$out/$target" -max_total_time="$seconds" -artifact_prefix="$out/$target-" -timeout=10 \
	-rss_limit_mb=1024 "$out/corpus/$target" "tests/fuzz/corpus/$target"
