// Builds the fuzzer and runs it: node test/fuzz/run.mjs [--seconds N] [--seed S] [--only NAME] [--keep]
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const root = join(import.meta.dirname, '..', '..');
const cache = join(root, 'test', '.cache');
mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(cache, 'fuzz-'));
try {
  const bundle = await rolldown({
    input: join(import.meta.dirname, 'main.ts'),
    platform: 'node',
    external: ['libsql', 'ws', 'systeminformation', 'node-nvidia-smi'],
    logLevel: 'silent',
  });
  await bundle.write({ file: join(folder, 'main.mjs'), format: 'esm', codeSplitting: false });
  await bundle.close();
  await import(pathToFileURL(join(folder, 'main.mjs')).href);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
