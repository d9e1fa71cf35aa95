#!/usr/bin/env node
// noisy.mjs BYTES: the same pseudo-random bytes on both streams, stdout in order and stderr inverted.
import { writeSync } from 'node:fs';

const total = Number(process.argv[2]);
const chunk = Buffer.alloc(65536);
let state = 1;
for (let at = 0; at < total; at += chunk.length) {
  for (let i = 0; i < chunk.length; i += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    chunk.writeUInt32LE(state, i);
  }
  const size = Math.min(chunk.length, total - at);
  put(1, chunk.subarray(0, size));
  put(
    2,
    Buffer.from(chunk.subarray(0, size)).map((byte) => byte ^ 255),
  );
}

function put(fd, bytes) {
  for (let from = 0; from < bytes.length; ) from += writeSync(fd, bytes, from);
}
