// Programs and addons over the synthetic vendor (test/fakes/vendor): our C with its list of vendors in place of ours.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from './addon.ts';

const native = join(packageRoot, 'native');
const fakes = fileURLToPath(new URL('../../fakes/vendor/', import.meta.url));
const c = process.env.CC ?? 'cc';
const cxx = process.env.CXX ?? 'c++';
const shared = ['-D_GNU_SOURCE', '-g', '-pthread', `-I${native}`, '-DFLOPD_VERSION="0.0.0"'];

const filesIn = (folder: string, ending: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));

/** Object files of our C in `folder`, with the synthetic vendor. */
function compile(folder: string, flags: readonly string[]): string[] {
  const catalogue = join(native, 'vendor', 'catalogue.c');
  const sources = [native, join(native, 'host'), join(native, 'vendor')].flatMap((each) =>
    filesIn(each, '.c'),
  );
  // Our list stays in the build under another name: it also has the kernel's messages.
  return [...sources, join(fakes, 'synthetic.c')].map((source, at) => {
    const object = join(folder, `${at}.o`);
    const renamed = source === catalogue ? ['-Dvendors=shipped_vendors'] : [];
    execFileSync(c, ['-std=gnu11', ...shared, ...flags, ...renamed, '-c', source, '-o', object]);
    return object;
  });
}

export function buildSyntheticProgram(folder: string, main: string, flags: readonly string[]): string {
  const program = join(folder, 'program');
  const objects = compile(folder, flags);
  execFileSync(c, ['-std=gnu11', ...shared, ...flags, main, ...objects, '-ldl', '-lm', '-o', program]);
  return program;
}

export function buildSyntheticAddon(folder: string): string {
  const addon = join(folder, 'synthetic.node');
  const { include_dir: include } = createRequire(import.meta.url)('node-api-headers');
  const flags = ['-O1', '-fPIC', '-fvisibility=hidden'];
  const objects = compile(folder, flags);
  const border = filesIn(native, '.cc').map((source, at) => {
    const object = join(folder, `border-${at}.o`);
    const own = ['-std=c++17', '-fno-exceptions', '-fno-rtti', '-DNAPI_VERSION=8', `-I${include}`];
    execFileSync(cxx, [...own, ...shared, ...flags, '-c', source, '-o', object]);
    return object;
  });
  execFileSync(c, [
    '-shared',
    '-pthread',
    '-Wl,-z,nodelete',
    ...objects,
    ...border,
    '-ldl',
    '-lm',
    '-o',
    addon,
  ]);
  return addon;
}
