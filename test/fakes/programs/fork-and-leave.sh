#!/bin/sh
# Leaves a grandchild in a session of its own behind, whose pid it prints.
setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' &
sleep 0.1
exit 0
