// What an accelerator costs the host: CPU of the whole process per device at 8 and at 64 devices of a fake NVML, less
// that of the same process with none, in one run. The goal is a ratio of at most 1.1.
//
// usage: node test/bench/devices.mjs [--seconds 20]
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values: flags } = parseArgs({
  options: { seconds: { type: 'string', default: '20' }, child: { type: 'boolean', default: false } },
});
const seconds = Number(flags.seconds);

if (flags.child) await measure();
else compare();

/** In a process of its own: reads at 10 Hz, takes a window a second, prints CPU milliseconds per second. */
async function measure() {
  const addon = createRequire(import.meta.url)(join(root, 'native', 'build', 'flopd.node'));
  addon.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 100, vendors: ['nvidia'] });
  const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));
  const header = new Float64Array(8);
  const values = new Float64Array(4 * 8192);
  const reasons = new Uint8Array(8192);
  // The first rounds enumerate and read what is slow.
  await pause(3000);
  addon.readerColumns();
  const before = process.cpuUsage();
  for (let second = 0; second < seconds; second += 1) {
    await pause(1000);
    addon.readerColumns();
    addon.takeWindow(header, values, reasons);
    addon.readDevices();
  }
  const { user, system } = process.cpuUsage(before);
  const { devices } = JSON.parse(addon.readDevices());
  console.log(JSON.stringify({ devices: devices.length, cpuMs: (user + system) / 1000 / seconds }));
  addon.closeReader();
}

function compare() {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-bench-'));
  try {
    const source = join(root, 'test', 'fakes', 'vendor', 'nvml.c');
    const library = join(folder, 'libnvidia-ml.so.1');
    const options = ['-shared', '-fPIC', '-std=gnu11', '-D_GNU_SOURCE', '-O2', '-pthread'];
    execFileSync('cc', [...options, source, '-o', library, '-lm']);
    const [none, few, many] = [0, 8, 64].map((count) => run(folder, count));
    const [atFew, atMany] = [few, many].map(({ cpuMs, devices }) => (cpuMs - none.cpuMs) / devices);
    const show = (name, { cpuMs }) =>
      console.log(`${name.padEnd(12)} ${cpuMs.toFixed(2)} ms of CPU a second`);
    show('no device', none);
    show('8 devices', few);
    show('64 devices', many);
    console.log(
      `per device   ${atFew.toFixed(3)} ms at 8, ${atMany.toFixed(3)} ms at 64: ${(atMany / atFew).toFixed(2)} (goal 1.1)`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(folder, count) {
  const script = join(folder, 'script');
  writeFileSync(
    script,
    [
      `set count ${count}`,
      'set driver 580.95.05',
      'device * name NVIDIA H100 80GB HBM3',
      'device * capability 9 0',
      'device * memoryTotal 85520809984',
      'device * memoryUsed 1048576',
      'device * busy 40',
      'device * memoryBusy 20',
      'device * clock 1980',
      'device * memoryClock 2619',
      'device * power 350000',
      'device * powerLimit 700000',
      'device * temperature 45',
      'device * energy 1000000+350000/s',
      'device * gpm 1',
      '',
    ].join('\n'),
  );
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [fileURLToPath(import.meta.url), '--child', '--seconds', String(seconds)],
    { env: { ...process.env, LD_LIBRARY_PATH: folder, FLOPD_FAKE_NVML: script }, encoding: 'utf8' },
  );
  if (stdout === '') throw new Error(stderr);
  const answer = JSON.parse(stdout);
  if (answer.devices !== count) throw new Error(`${answer.devices} devices instead of ${count}`);
  return answer;
}
