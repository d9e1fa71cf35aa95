// Programs and addons over the synthetic vendor (test/fakes/vendor): our C with its list of vendors in place of ours.
// What a test does not want compiled with flags of its own comes from the build.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from './addon.ts';

const native = join(packageRoot, 'native');
const fakes = fileURLToPath(new URL('../../fakes/vendor/', import.meta.url));
const compiler = process.env.CC ?? 'cc';
const shared = ['-D_GNU_SOURCE', '-g', '-pthread', `-I${native}`, '-DFLOPD_VERSION="0.0.0"'];

const filesIn = (folder: string, ending: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));

const builtObject = (source: string): string =>
  join(native, 'build', 'obj', `addon-${relative(native, source).replaceAll('/', '-')}.o`);

/** Object files of our C with the synthetic vendor; those of `own` are compiled here, with these flags. */
function objects(folder: string, flags: readonly string[], own: (source: string) => boolean): string[] {
  const catalogue = join(native, 'vendor', 'catalogue.c');
  const sources = [native, join(native, 'host'), join(native, 'vendor')].flatMap((each) =>
    filesIn(each, '.c'),
  );
  return [...sources, join(fakes, 'synthetic.c')].map((source, at) => {
    const isOurs = source === catalogue || source.startsWith(fakes);
    if (!isOurs && !own(source)) return builtObject(source);
    const object = join(folder, `${at}.o`);
    // Our list stays under another name: it also has the kernel's messages.
    const renamed = source === catalogue ? ['-Dvendors=shipped_vendors'] : [];
    execFileSync(compiler, ['-std=gnu11', ...shared, ...flags, ...renamed, '-c', source, '-o', object]);
    return object;
  });
}

/** `own`: names of the files that get these flags. */
export function buildSyntheticProgram(
  folder: string,
  main: string,
  flags: readonly string[],
  own: RegExp,
): string {
  const program = join(folder, 'program');
  const all = objects(folder, flags, (source) => own.test(basename(source)));
  execFileSync(compiler, [
    ...['-std=gnu11', ...shared, ...flags],
    ...[main, ...all, '-ldl', '-lm', '-o', program],
  ]);
  return program;
}

export function buildSyntheticAddon(folder: string): string {
  const addon = join(folder, 'synthetic.node');
  const all = objects(folder, ['-O1', '-fPIC', '-fvisibility=hidden'], () => false);
  const border = filesIn(native, '.cc').map(builtObject);
  const flags = ['-shared', '-pthread', '-Wl,-z,nodelete'];
  execFileSync(compiler, [...flags, ...all, ...border, '-ldl', '-lm', '-o', addon]);
  return addon;
}
