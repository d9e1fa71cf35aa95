// Bundles src/bin/flopd.ts into dist/: one small entry and one chunk per command, so that the agent loads
// only what it needs (unbundled it costs 15 MB more resident memory and twice the start time).
// Where the development dependencies are absent (npm ci --omit=dev) an existing dist/ is kept.
//
// FLOPD_DIST=FOLDER builds into another folder; FLOPD_NEXT=1 builds what a next version might be (protocol/next.ts), for
// the test of upgrades.
//
// A build is safe beside running programs and other builds: chunks carry their hash, the entry is renamed into
// place last, and chunks of earlier builds go only when nobody can still be starting from them.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'src');
const dist = resolve(root, process.env.FLOPD_DIST || 'dist');
const STALE_CHUNK_MS = 10 * 60_000;

const { rolldown } = await import('rolldown').catch(() => ({ rolldown: null }));

if (rolldown === null) {
  if (existsSync(join(dist, 'flopd.js'))) process.exit(0);
  console.error('flopd: dist/ is missing and cannot be built: run "npm ci" without --omit=dev first');
  process.exit(1);
}

/** Modules that do no work when they are imported: ours but the entry, and zod. */
const isPure = (id) =>
  id.includes('/node_modules/')
    ? id.includes('/node_modules/zod/')
    : id.startsWith(source) && !id.startsWith(join(source, 'bin'));

const bundle = await rolldown({
  input: {
    flopd: join(source, 'bin', 'flopd.ts'),
    'store-writer': join(source, 'bin', 'store-writer.ts'),
    'nvidia-query': join(source, 'bin', 'nvidia-query.ts'),
    'certificate-issuer': join(source, 'bin', 'certificate-issuer.ts'),
  },
  platform: 'node',
  // Packages with binaries of their own, or used once at start-up, stay in node_modules.
  external: ['libsql', 'systeminformation', 'node-nvidia-smi'],
  transform: { define: { FLOPD_NEXT: String(process.env.FLOPD_NEXT === '1') } },
  treeshake: {
    // House rule: no work at import. So a schema that nobody uses may go, and zod with it.
    moduleSideEffects: (id) => !isPure(id),
    manualPureFunctions: ['z'],
  },
});
const own = join(dist, `.${process.pid}`);
rmSync(own, { recursive: true, force: true });
try {
  const { output } = await bundle.write({
    dir: own,
    format: 'esm',
    sourcemap: true,
    entryFileNames: '[name].js',
    chunkFileNames: 'chunk/[name]-[hash].js',
    // By itself, or the few lines of protocol/ that every verb needs would carry it along.
    codeSplitting: { groups: [{ name: 'zod', test: /node_modules\/zod\// }] },
  });
  install(output.map(({ fileName }) => fileName));
} finally {
  await bundle.close();
  rmSync(own, { recursive: true, force: true });
}

function install(files) {
  const entryLast = (name) => (name === 'flopd.js' ? 1 : 0);
  chmodSync(join(own, 'flopd.js'), 0o755);
  for (const name of files.toSorted((a, b) => entryLast(a) - entryLast(b))) {
    mkdirSync(dirname(join(dist, name)), { recursive: true });
    renameSync(join(own, name), join(dist, name));
  }
  const dashboard = join(source, 'dashboard');
  if (existsSync(dashboard)) {
    cpSync(dashboard, join(dist, 'dashboard'), { recursive: true, filter: (path) => !path.endsWith('.md') });
  }
  if (dist === join(root, 'dist')) linkForNpx();
  const fresh = new Set(files);
  for (const name of readdirSync(join(dist, 'chunk'))) {
    const path = join(dist, 'chunk', name);
    if (!fresh.has(`chunk/${name}`) && Date.now() - statSync(path).mtimeMs > STALE_CHUNK_MS)
      rmSync(path, { force: true });
  }
}

/** Lets `npx flopd` in a checkout start this build; without the link npx first installs the package a second time. */
function linkForNpx() {
  const folder = join(root, 'node_modules', '.bin');
  try {
    symlinkSync(join('..', '..', 'dist', 'flopd.js'), join(folder, 'flopd'));
  } catch {
    // There already, or no node_modules here: npx then takes its longer way.
  }
}
