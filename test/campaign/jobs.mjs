// Builds the campaign and runs it against dist/ and native/build/ of this checkout (npm run build):
//   node test/campaign/jobs.mjs [--jobs 10000] [--seed N] [--daemon-kill-ms 4000] [--shim-kill-ms 1500]
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const root = join(import.meta.dirname, '..', '..');
const cache = join(root, 'test', '.cache');
mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(cache, 'campaign-'));
process.argv.push('--root', root);
try {
  const bundle = await rolldown({
    input: join(import.meta.dirname, 'main.ts'),
    platform: 'node',
    logLevel: 'silent',
  });
  await bundle.write({ file: join(folder, 'main.mjs'), format: 'esm', codeSplitting: false });
  await bundle.close();
  await import(pathToFileURL(join(folder, 'main.mjs')).href);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
