// The script of the store's writer, built from its source: a worker thread of Node 20 takes no TypeScript.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('../../../../', import.meta.url));

/** Inside the checkout, where the script finds its packages. */
export async function buildWriterScript(): Promise<{ readonly script: URL; remove(): void }> {
  const cache = join(root, 'test', '.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'writer-'));
  const bundle = await rolldown({
    input: { 'store-writer': join(root, 'src', 'bin', 'store-writer.ts') },
    platform: 'node',
    external: ['libsql'],
  });
  await bundle.write({ dir: folder, format: 'esm', entryFileNames: '[name].mjs' });
  await bundle.close();
  return {
    script: pathToFileURL(join(folder, 'store-writer.mjs')),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
