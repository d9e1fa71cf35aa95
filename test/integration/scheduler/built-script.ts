// A script of src/bin, built from its source: a thread or process of Node 20 takes no TypeScript.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Inside the checkout, where the script finds its packages. */
export async function buildScript(name: string): Promise<{ readonly script: URL; remove(): void }> {
  const cache = join(root, 'test', '.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, `${name}-`));
  const bundle = await rolldown({
    input: { [name]: join(root, 'src', 'bin', `${name}.ts`) },
    platform: 'node',
    external: ['libsql'],
  });
  await bundle.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name].mjs',
    chunkFileNames: '[name].mjs',
  });
  await bundle.close();
  return {
    script: pathToFileURL(join(folder, `${name}.mjs`)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
