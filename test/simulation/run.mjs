// Builds the simulation and runs it: node test/simulation/run.mjs [--seeds N] [--from N] | --seed N [--log]
import { join } from 'node:path';
import { runBundle } from '../fakes/bundle.mjs';

await runBundle('simulation', join(import.meta.dirname, 'main.ts'), [
  'libsql',
  'ws',
  'systeminformation',
  'node-nvidia-smi',
]);
