// Bundles src/bin/flopd.ts into dist/: one small entry and one chunk per command, so that the agent loads
// only what it needs (unbundled it costs 15 MB more resident memory and twice the start time).
// Where the development dependencies are absent (npm ci --omit=dev) an existing dist/ is kept.
import { existsSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { rolldown } = await import('rolldown').catch(() => ({ rolldown: null }));

if (rolldown === null) {
  if (existsSync(`${root}dist/flopd.js`)) process.exit(0);
  console.error('flopd: dist/ is missing and cannot be built: run "npm ci" without --omit=dev first');
  process.exit(1);
}

const bundle = await rolldown({
  input: { flopd: `${root}src/bin/flopd.ts` },
  platform: 'node',
  // Packages with binaries of their own, or used once at start-up, stay in node_modules.
  external: ['libsql', 'systeminformation', 'node-nvidia-smi'],
});
rmSync(`${root}dist`, { recursive: true, force: true });
await bundle.write({
  dir: `${root}dist`,
  format: 'esm',
  sourcemap: true,
  entryFileNames: '[name].js',
  chunkFileNames: 'chunk/[name]-[hash].js',
});
await bundle.close();
