// A program of the tests that imports the sources, as one file that Node can run.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

/** Folder of package.json. */
export const root = join(import.meta.dirname, '..', '..');

/** Bundles `input` into a new folder below test/.cache; whoever asks removes the folder. Returns the path of the file. */
export async function makeBundle(name, input, external = []) {
  const cache = join(root, 'test', '.cache');
  mkdirSync(cache, { recursive: true });
  const file = join(mkdtempSync(join(cache, `${name}-`)), 'main.mjs');
  const bundle = await rolldown({ input, platform: 'node', external, logLevel: 'silent' });
  await bundle.write({ file, format: 'esm', codeSplitting: false });
  await bundle.close();
  return file;
}

/** Bundles `input`, runs it in this process and removes the bundle. */
export async function runBundle(name, input, external = []) {
  const file = await makeBundle(name, input, external);
  try {
    await import(pathToFileURL(file).href);
  } finally {
    rmSync(dirname(file), { recursive: true, force: true });
  }
}
