// Calls every function of the native addon, rightly and wrongly, for a run under AddressSanitizer (test/asan), which
// ends the process with 99 at the first byte read or written where none belongs.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = createRequire(import.meta.url)(resolve(process.argv[2] ?? 'native/build/asan/flopd.node'));
const captures = fileURLToPath(new URL('../../shared/fixtures/host', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'flopd-asan-'));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const HEADER = 7;

/** Reads a few windows of a host, with memory that is right, too small and far too large. */
async function readHost(procRoot, sysRoot) {
  native.openReader({ procRoot, sysRoot, periodMs: 10 });
  try {
    assert.throws(() => native.openReader({ procRoot, sysRoot, periodMs: 10 }));
    for (const extra of [0, -1, 1000, 0, 0]) {
      await pause(35);
      const count = native.readerColumns().length;
      const room = Math.max(0, count + extra);
      native.takeWindow(new Float64Array(HEADER), new Float64Array(room * 4), new Uint8Array(room));
    }
    native.takeWindow(new Float64Array(HEADER), new Float64Array(0), new Uint8Array(0));
    for (const wrong of [
      [],
      [null, null, null],
      [new Float64Array(1), new Float64Array(4), new Uint8Array(1)],
      [new Float64Array(HEADER), new Uint8Array(8), 7],
    ])
      assert.throws(() => native.takeWindow(...wrong));
  } finally {
    native.closeReader();
  }
  native.closeReader();
}

try {
  await readHost('/proc', '/sys');
  if (existsSync(captures))
    for (const host of ['hp-bl920gen8', 'pcp-meminfo-007'])
      await readHost(join(captures, host, 'proc'), folder);
  // A host that lies: empty, cut and absurd files.
  const proc = join(folder, 'proc');
  cpSync('/proc/net/dev', join(proc, 'net', 'dev'), { recursive: true });
  for (const [name, text] of [
    ['stat', 'cpu'],
    ['meminfo', 'MemTotal: 99999999999999999999999999 kB\nMemFree:\n'],
    ['diskstats', `8 0 ${'x'.repeat(5000)} 1 2 3\n 8 1 sda1 1`],
    ['loadavg', ''],
    ['net/dev', `${'y'.repeat(300)}: 1 2 3\n lo 5`],
  ])
    writeFileSync(join(proc, name), text);
  await readHost(proc, folder);
  await readHost(join(folder, 'nowhere'), join(folder, 'nowhere'));

  assert.equal(typeof native.version, 'string');
  assert.equal(native.notify('READY=1'), false);
  process.env.NOTIFY_SOCKET = `/${'n'.repeat(300)}`;
  assert.equal(native.notify('READY=1'), false);
  delete process.env.NOTIFY_SOCKET;

  assert.ok(native.spawn('/bin/true', ['true'], []) > 0);
  assert.ok(
    native.spawn(
      '/bin/true',
      ['true', ...Array(2000).fill('a'.repeat(50))],
      Array.from({ length: 500 }, (_, i) => `V${i}=${i}`),
    ) > 0,
  );
  assert.ok(native.spawn('/no/such/program', ['x'], []) < 0);
  for (const wrong of [[], ['/bin/true'], ['/bin/true', [1], []], ['/bin/true', [], [null]], [7, [], []]])
    assert.throws(() => native.spawn(...wrong));
  for (let i = 0; native.reap() > 0 && i < 200; i++) await pause(10);
  assert.equal(native.reap(), 0);

  const lock = join(folder, 'lock');
  assert.ok(native.lockFile(lock) >= 0);
  assert.equal(native.lockFile(lock), -1);

  for (const precision of ['fp64', 'fp32']) {
    const { flops, isa } = await native.measureFlops(precision, 2, 50);
    assert.ok(flops > 1e6, `${precision} ${isa} ${flops}`);
  }
  for (const wrong of [[], ['fp128', 1, 10], ['fp64', 0, 10], ['fp64', 1, -1]])
    await assert.rejects(async () => native.measureFlops(...wrong));
  console.log('every function of the addon was exercised');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
