#!/bin/sh
# Stands for the bastion's program. $STAGE is a test's folder: log, what to do, what to answer.
printf '%s\n' "$*" >>"$STAGE/log"
command=$1
if [ "$command" = apply ]; then
  # What was carried over, as the true program would see it.
  (cd "$2" && find . -type f -exec sha256sum {} +) >"$STAGE/carried"
  cp "$2/manifest.json" "$STAGE/manifest.json"
  release=$4
  echo "$release" >"$STAGE/release"
fi
env >"$STAGE/env.$command"
if [ -e "$STAGE/do.$command" ]; then . "$STAGE/do.$command"; fi
if [ -e "$STAGE/answer.$command" ]; then
  release=$(cat "$STAGE/release" 2>/dev/null || echo none)
  sed "s/@RELEASE@/$release/g" "$STAGE/answer.$command"
fi
exit "${code:-0}"
