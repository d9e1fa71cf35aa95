#!/bin/sh
# Makes $1 children and never waits for them; then as many grandchildren that lose their parent.
i=0
while [ "$i" -lt "$1" ]; do
  true &
  (true &)
  i=$((i + 1))
done
exec sleep 0.1
