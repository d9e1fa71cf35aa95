#!/bin/sh
# Runs until it is told otherwise.
exec sleep 1000
