// Builds the campaign and runs it against dist/ and native/build/ of this checkout (npm run build):
//   node test/campaign/jobs.mjs [--jobs 10000] [--seed N] [--daemon-kill-ms 4000] [--shim-kill-ms 1500]
import { join } from 'node:path';
import { root, runBundle } from '../fakes/bundle.mjs';

process.argv.push('--root', root);
await runBundle('campaign', join(import.meta.dirname, 'main.ts'));
