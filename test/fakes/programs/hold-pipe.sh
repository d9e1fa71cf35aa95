#!/bin/sh
# Leaves a child behind that keeps standard output open.
sleep 1000 &
echo before
exit 3
