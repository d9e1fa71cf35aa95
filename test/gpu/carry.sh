#!/usr/bin/env bash
# Packs Node, the built program and the checks into one archive, for a machine that has neither Node nor a network.
set -euo pipefail
cd "$(dirname "$0")/../.."
archive=$(realpath -m "${1:?usage: test/gpu/carry.sh ARCHIVE.tar.xz}")
for needed in dist/flopd.js native/build/flopd.node node_modules/libsql; do
  [ -e "$needed" ] || { echo "carry: $needed is missing: run \"npm ci\" first" >&2; exit 1; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$(node -p process.execPath)" "$folder/node"
strip "$folder/node" 2>/dev/null || true
# npm knows what is loaded at run time; the build tools stay at home.
npm ls --omit=dev --all --parseable 2>/dev/null | sed "s|^$PWD/||" | grep '^node_modules/' > "$folder/packages"
mkdir -p "$folder/test" "$folder/native"
tar -cf - --files-from "$folder/packages" | tar -xf - -C "$folder"
rm "$folder/packages"
cp -r dist package.json "$folder/"
cp -r native/build "$folder/native/"
cp -r test/gpu "$folder/test/"
printf '#!/bin/sh\ncd "$(dirname "$0")" && PATH="$PWD:$PATH" exec ./node test/gpu/check.mjs "$@"\n' > "$folder/check"
chmod +x "$folder/check"
tar -C "$folder" -cJf "$archive" .
echo "carry: $archive, $(du -h "$archive" | cut -f1)"
