// Builds the C part of flopd with the system's compiler alone: no node-gyp, so no network, python or make.
//
//   node native/build.mjs [--tolerant] [--strict] [--asan]
//
//   --tolerant  a missing compiler or a failed build is told in two lines and exits 0 (npm's install script)
//   --strict    warnings are errors
//   --asan      builds only the addon, with AddressSanitizer, into native/build/asan/
//
// $CC and $CXX name other compilers. An object is made anew when its source, any header, this file, the flags or
// the compiler changed. Everything is written beside its place and renamed: a running agent keeps the file it
// mapped, and two builds at once do no harm.
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));
const root = dirname(native);
const options = ['--tolerant', '--strict', '--asan'];
const given = process.argv.slice(2);
const unknown = given.find((argument) => !options.includes(argument));
if (unknown !== undefined) {
  console.error(`native/build.mjs: unknown argument ${unknown}; known: ${options.join(' ')}`);
  process.exit(2);
}
const tolerant = given.includes('--tolerant');
const strict = given.includes('--strict');
const asan = given.includes('--asan');
const out = asan ? join(native, 'build', 'asan') : join(native, 'build');

class BuildError extends Error {}

/** Runs a compiler; resolves to what it wrote to stderr, rejects with it when it failed. */
function run(command, args) {
  return new Promise((resolve, reject) => {
    execFile(command, args, { cwd: root, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error === null) resolve({ stdout, stderr });
      else if (error.code === 'ENOENT') reject(new BuildError(`compiler not found: ${command}`));
      else {
        const first = stderr.split('\n').find((line) => line.includes('error')) ?? `exit ${error.code}`;
        reject(new BuildError(`${command} failed: ${first}\n${stderr}${command} ${args.join(' ')}`));
      }
    });
  });
}

/** A compiler: $CC may carry arguments (`ccache gcc`). */
async function findCompiler(variable, fallback) {
  const [command, ...args] = (process.env[variable] || fallback).split(/\s+/).filter(Boolean);
  const { stdout } = await run(command, [...args, '--version']);
  return { command, args, version: stdout.split('\n')[0] };
}

/** Folder of node_api.h: the npm package, else the headers that came with this Node. */
function findNodeHeaders() {
  try {
    return createRequire(import.meta.url)('node-api-headers').include_dir;
  } catch {
    const prefix = dirname(dirname(process.execPath));
    const found = [join(prefix, 'include', 'node'), '/usr/include/node'].find((folder) =>
      existsSync(join(folder, 'node_api.h')),
    );
    if (found === undefined)
      throw new BuildError('node_api.h not found: the npm package node-api-headers is missing');
    return found;
  }
}

function filesIn(folder, pattern) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .sort()
    .map((name) => join(folder, name));
}

function modifiedMs(path) {
  return existsSync(path) ? statSync(path).mtimeMs : Number.NEGATIVE_INFINITY;
}

/** At most one compiler per CPU at a time. */
async function parallel(tasks) {
  const queue = [...tasks];
  const worker = async () => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) await task();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

/**
 * Makes `target` by a compiler when an input is newer or the command line changed, which is kept beside it.
 * Returns whether anything was done.
 */
async function make(target, inputs, compiler, args) {
  const stamp = join(out, 'obj', `${basename(target)}.stamp`);
  const line = [compiler.version, compiler.command, ...compiler.args, ...args].join('\n');
  const newest = Math.max(...inputs.map(modifiedMs), modifiedMs(fileURLToPath(import.meta.url)));
  const known = existsSync(stamp) ? readFileSync(stamp, 'utf8') : null;
  if (known === line && modifiedMs(target) >= newest) return false;
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    const { stderr } = await run(compiler.command, [...compiler.args, ...args, '-o', temporary]);
    if (stderr !== '') process.stderr.write(stderr);
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  writeFileSync(`${stamp}.${process.pid}.tmp`, line);
  renameSync(`${stamp}.${process.pid}.tmp`, stamp);
  return true;
}

async function build() {
  const cc = await findCompiler('CC', 'cc');
  const cxx = await findCompiler('CXX', 'c++');
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const headers = ['.', 'host', 'vendor', 'abi', 'shim', 'contained'].flatMap((folder) =>
    filesIn(join(native, folder), /\.h$/),
  );
  mkdirSync(join(out, 'obj'), { recursive: true });

  const warnings = ['-Wall', '-Wextra', ...(strict ? ['-Werror'] : [])];
  const shared = asan
    ? ['-O1', '-g', '-fno-omit-frame-pointer', '-fsanitize=address', ...warnings, `-I${native}`]
    : [
        '-O2',
        '-g1',
        '-fstack-protector-strong',
        '-U_FORTIFY_SOURCE',
        '-D_FORTIFY_SOURCE=2',
        ...warnings,
        `-I${native}`,
      ];
  const c = ['-std=gnu11', ...shared, '-D_GNU_SOURCE', '-pthread', `-DFLOPD_VERSION="${version}"`];
  const cpp = [
    '-std=c++17',
    ...shared,
    '-D_GNU_SOURCE',
    '-pthread',
    '-fno-exceptions',
    '-fno-rtti',
    '-DNAPI_VERSION=8',
  ];
  const inAddon = ['-fPIC', '-fvisibility=hidden'];

  const programs = [];
  const compile = [];
  const objectsOf = (name, sources, flagsOf) =>
    sources.map((source) => {
      const object = join(out, 'obj', `${name}-${relative(native, source).replaceAll('/', '-')}.o`);
      const isC = source.endsWith('.c');
      compile.push(() =>
        make(object, [source, ...headers], isC ? cc : cxx, [
          ...(isC ? c : cpp),
          ...flagsOf(isC),
          '-c',
          source,
        ]),
      );
      return object;
    });

  const addonSources = [
    ...filesIn(native, /\.cc?$/),
    ...filesIn(join(native, 'host'), /\.c$/),
    ...filesIn(join(native, 'vendor'), /\.c$/),
  ];
  const include = findNodeHeaders();
  programs.push({
    target: join(out, 'flopd.node'),
    objects: objectsOf('addon', addonSources, (isC) => (isC ? inAddon : [...inAddon, `-I${include}`])),
    // Linked by the C compiler: the addon uses nothing of the C++ library, so the host needs none.
    flags: [
      '-shared',
      '-pthread',
      '-Wl,-z,relro,-z,now,-z,nodelete',
      ...(asan ? ['-fsanitize=address'] : []),
      '-ldl',
      '-lm',
    ],
    preferStatic: false,
  });
  if (!asan) {
    const shim = filesIn(join(native, 'shim'), /\.c$/);
    if (shim.length === 0) console.log('native: no source in native/shim yet; flopd-shim is not built');
    else {
      programs.push(
        executable(
          'flopd-shim',
          objectsOf('shim', shim, () => []),
        ),
      );
      // Dies where a test wants it to (shim/fault-points.h): for those who have the tests, not for hosts.
      if (existsSync(join(root, 'test')))
        programs.push(
          executable(
            'flopd-shim-faults',
            objectsOf('shim-faults', shim, () => ['-DFLOPD_FAULT_POINTS']),
          ),
        );
    }
    const contained = filesIn(join(native, 'contained'), /\.c$/);
    programs.push(
      executable(
        'flopd-contained',
        objectsOf('contained', [...contained, join(native, 'shim', 'execute.c')], () => []),
      ),
    );
    const example = filesIn(join(native, 'example'), /\.c$/);
    if (example.length > 0)
      programs.push(
        executable(
          'flopd-matmul',
          objectsOf('example', example, () => []),
        ),
      );
  }

  await parallel(compile);
  let made = 0;
  for (const { target, objects, flags, preferStatic } of programs) {
    const link = (more) => make(target, objects, cc, [...objects, ...flags, ...more]);
    const done = preferStatic ? await link(['-static']).catch(() => link([])) : await link([]);
    if (done) made += 1;
    if (done) console.log(`native: built ${relative(root, target)}`);
  }
  if (made === 0) console.log('native: up to date');
}

/** Static where the C library allows, so that the shim runs in any container image. */
function executable(name, objects) {
  return { target: join(out, name), objects, flags: ['-pthread', '-lm'], preferStatic: true };
}

try {
  if (process.platform !== 'linux')
    throw new BuildError(`flopd's native part needs Linux, this is ${process.platform}`);
  await build();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  if (!tolerant) {
    console.error(`native: ${error.message}`);
    process.exit(1);
  }
  console.warn(
    `flopd: native part not built (${error.message.split('\n')[0].slice(0, 200)}): host numbers stay absent and jobs cannot run.`,
  );
  console.warn('flopd: to mend it: apt-get install g++ libc6-dev, then npm run build');
}
