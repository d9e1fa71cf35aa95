// Builds the fuzzer and runs it: node test/fuzz/run.mjs [--seconds N] [--seed S] [--only NAME] [--keep]
import { join } from 'node:path';
import { runBundle } from '../fakes/bundle.mjs';

await runBundle('fuzz', join(import.meta.dirname, 'main.ts'), [
  'libsql',
  'ws',
  'systeminformation',
  'node-nvidia-smi',
]);
