// Checks flopd's reading of an NVIDIA GPU against the machine itself; see README.md beside this file.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = resolve(here, '../..');
const program = join(root, 'dist', 'flopd.js');
const { values: flags } = parseArgs({
  options: { out: { type: 'string', default: '.' }, seconds: { type: 'string', default: '20' } },
});
const seconds = Number(flags.seconds);
const out = resolve(flags.out);
const call = promisify(execFile);
const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));

const checks = [];
const say = (status, name, detail) => {
  checks.push({ status, name, detail });
  console.log(`${status.padEnd(7)} ${name}: ${detail}`);
};
const pass = (name, isTrue, detail) => say(isTrue ? 'ok' : 'FAILED', name, detail);
const skip = (name, why) => say('skipped', name, why);

const run = async (file, args, options = {}) =>
  (await call(file, args, { maxBuffer: 64 << 20, timeout: 120_000, ...options })).stdout;
const flopd = (args, options) => run(process.execPath, [program, ...args], options);
const devices = async (backend) =>
  JSON.parse(await flopd(['devices', '-o', 'json', '--backend', backend])).devices.filter(
    ({ vendor }) => vendor === 'nvidia',
  );

if (!existsSync(program) || spawnSync('nvidia-smi', ['-L']).status !== 0) {
  console.error('check: needs a build (dist/) and a working nvidia-smi');
  process.exit(2);
}
mkdirSync(out, { recursive: true });

/** How each field of a query becomes the unit of `devices -o json`, and how far it may move between two readings. */
const fields = [
  { query: 'name', name: 'name', fixed: true },
  { query: 'pci.bus_id', name: 'busId', fixed: true },
  { query: 'driver_version', name: 'driverVersion', fixed: true },
  { query: 'memory.total', name: 'memoryTotalBytes', scale: 1048576, margin: 1048576 },
  { query: 'memory.used', name: 'memoryUsedBytes', scale: 1048576, margin: 64 * 1048576 },
  { query: 'power.draw', name: 'powerWatts', margin: 15 },
  { query: 'enforced.power.limit', name: 'powerLimitWatts', margin: 0.01 },
  { query: 'temperature.gpu', name: 'temperatureCelsius', margin: 2 },
  { query: 'temperature.memory', name: 'memoryTemperatureCelsius', margin: 2 },
  { query: 'clocks.sm', name: 'clockHertz', scale: 1e6, margin: 60e6 },
  { query: 'clocks.mem', name: 'memoryClockHertz', scale: 1e6, margin: 10e6 },
  { query: 'utilization.gpu', name: 'busyRatio', scale: 0.01, margin: 0.1 },
  { query: 'utilization.memory', name: 'memoryBusyRatio', scale: 0.01, margin: 0.1 },
  { query: 'ecc.errors.corrected.aggregate.total', name: 'eccCorrected', margin: 0 },
  { query: 'ecc.errors.uncorrected.aggregate.total', name: 'eccUncorrected', margin: 0 },
];

async function query() {
  const text = await run('nvidia-smi', [
    `--query-gpu=uuid,${fields.map(({ query }) => query).join(',')}`,
    '--format=csv,noheader,nounits',
  ]);
  return new Map(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(', '))
      .map(([id, ...values]) => [id, values]),
  );
}

async function checkValues() {
  const before = await query();
  const views = await devices('native');
  const after = await query();
  pass('device count', views.length === before.size, `${views.length} native, ${before.size} in nvidia-smi`);
  for (const view of views) {
    const [was, is] = [before.get(view.id), after.get(view.id)];
    if (was === undefined || is === undefined) {
      pass(`identity of ${view.id}`, false, 'nvidia-smi knows no such UUID');
      continue;
    }
    fields.forEach(({ query, name, fixed, scale = 1, margin }, at) => {
      const label = `${view.index} ${name}`;
      const own = view[name];
      if (fixed) pass(label, own === was[at], `${own} (nvidia-smi ${was[at]})`);
      else if (!Number.isFinite(Number(was[at])))
        pass(label, own === null, `${own ?? view.absent[name]} (nvidia-smi ${query} ${was[at]})`);
      else {
        const seen = [was[at], is[at]].map((text) => Number(text) * scale);
        const [low, high] = [Math.min(...seen) - margin, Math.max(...seen) + margin];
        pass(label, own !== null && own >= low && own <= high, `${own} (nvidia-smi ${seen.join(', then ')})`);
      }
    });
  }
  return views;
}

async function checkBackends(native) {
  const cli = await devices('cli');
  for (const one of native) {
    const other = cli.find(({ id }) => id === one.id);
    const same = [
      'name',
      'busId',
      'driverVersion',
      'memoryTotalBytes',
      'powerLimitWatts',
      'health',
      'serial',
    ];
    const differing = same.filter((name) => other?.[name] !== one[name]);
    pass(
      `${one.index} the same by both backends`,
      differing.length === 0,
      differing.map((name) => `${name}: ${one[name]}, ${other?.[name]}`).join('; ') || same.join(', '),
    );
  }
}

/** Starts scheduler and agent in a folder of their own; everything that needs a series goes through them. */
async function startNetwork() {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-gpu-'));
  const ready = join(folder, 'ready.json');
  const args = ['up', '--state-dir', folder, '--listen', '127.0.0.1:0', '--metrics-listen', '127.0.0.1:0'];
  const child = spawn(process.execPath, [program, ...args, '--ready-file', ready], { stdio: 'ignore' });
  for (let waited = 0; !existsSync(ready) && waited < 30_000; waited += 100) await pause(100);
  const { url } = JSON.parse(readFileSync(ready, 'utf8'));
  const common = ['--state-dir', folder, '--scheduler', url];
  const { nodes } = JSON.parse(await flopd(['nodes', '-o', 'json', ...common]));
  const [node] = nodes;
  return {
    views: async () => JSON.parse(await flopd(['node', node.name, '-o', 'json', ...common])).devices,
    job: (resources, command, options) =>
      flopd(['run', ...common, ...resources, '--', ...command], { cwd: here, timeout: 300_000, ...options }),
    async close() {
      child.kill('SIGTERM');
      await new Promise((ended) => child.once('exit', ended));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** One line per second of what the scheduler shows, for `durationMs`. */
async function watch(network, durationMs) {
  const series = [];
  const endMs = Date.now() + durationMs;
  while (Date.now() < endMs) {
    series.push({ atMs: Date.now(), views: await network.views() });
    await pause(1000);
  }
  return series;
}

function checkEnergy(series) {
  for (const { id, index } of series[0].views) {
    const own = series.map(({ atMs, views }) => ({ atMs, view: views.find((each) => each.id === id) }));
    const [first, last] = [own[0], own.at(-1)];
    let integral = 0;
    for (let at = 1; at < own.length; at += 1) {
      const [a, b] = [own[at - 1], own[at]];
      integral += (((a.view.powerWatts + b.view.powerWatts) / 2) * (b.atMs - a.atMs)) / 1000;
    }
    const counted = last.view.energyJoules - first.view.energyJoules;
    const ratio = counted / integral;
    const detail = `${counted.toFixed(1)} J by the ${last.view.energyMethod}, ${integral.toFixed(1)} J by power (${ratio.toFixed(3)})`;
    pass(`${index} energy`, Math.abs(ratio - 1) <= 0.1, detail);
  }
}

async function checkAchieved(network) {
  if (spawnSync('python3', ['-c', 'import torch; assert torch.cuda.is_available()']).status !== 0)
    return skip('achieved FLOPS', 'PyTorch with CUDA is not here');
  const script = join(here, 'matmul.py');
  const product = network.job(['--accelerators', '1:nvidia'], ['python3', script, String(seconds)]);
  const series = await watch(network, seconds * 1000 + 15_000);
  const told = JSON.parse((await product).trim().split('\n').at(-1));
  pass('job sees one GPU', told.visible === 1, `${told.visible} (${told.device})`);
  const during = series
    .filter(({ atMs }) => atMs > told.startedAtMs + 2000 && atMs < told.endedAtMs)
    .flatMap(({ views }) => views.filter(({ heldBy }) => heldBy?.length > 0))
    .filter(({ achievedFlops }) => achievedFlops !== null);
  if (during.length === 0) return skip('achieved FLOPS', 'no method on this card');
  const mean = during.reduce((sum, { achievedFlops }) => sum + achievedFlops, 0) / during.length;
  const ratio = mean / told.flops;
  const detail = `${(mean / 1e12).toFixed(1)} T by ${during[0].achievedMethod}, ${(told.flops / 1e12).toFixed(1)} T by the clock (${ratio.toFixed(3)}), n=${told.n}, ${during.length} readings`;
  if (during[0].achievedMethod.startsWith('gpm')) pass('achieved FLOPS', Math.abs(ratio - 1) <= 0.05, detail);
  else skip('achieved FLOPS', `an estimate: ${detail}`);
}

function compile(source) {
  const target = join(mkdtempSync(join(tmpdir(), 'flopd-gpu-')), 'program');
  const { status } = spawnSync('cc', ['-O2', join(here, source), '-o', target, '-ldl']);
  return status === 0 ? target : null;
}

async function checkGrant(network) {
  const visible = compile('visible.c');
  if (visible === null) return skip('grant', 'no C compiler');
  const lines = (await network.job(['--accelerators', '1:nvidia'], [visible])).trim().split('\n');
  const known = (await network.views()).map(({ id }) => id);
  pass('grant', lines[0] === '1' && known.includes(lines[1]), `a job for one GPU sees ${lines.join(' ')}`);
  const none = (await network.job([], [visible])).trim();
  pass('no grant', none === '0', `a job for none sees ${none}`);
}

async function checkCalls() {
  const calls = compile('calls.c');
  if (calls === null) return skip('cost of calls', 'no C compiler');
  const table = JSON.parse(await run(calls, []));
  const slowest = table
    .filter(({ medianUs }) => medianUs !== undefined)
    .sort((a, b) => b.medianUs - a.medianUs);
  say('ok', 'cost of calls', slowest.map(({ call, medianUs }) => `${call} ${medianUs} µs`).join(', '));
  return table;
}

const date = new Date().toISOString().slice(0, 10);
writeFileSync(join(out, `nvidia-smi-${date}.xml`), await run('nvidia-smi', ['-q', '-x']));
writeFileSync(join(out, `nvidia-smi-${date}.txt`), await run('nvidia-smi', []));
const native = await checkValues();
await checkBackends(native);
const calls = await checkCalls();
const network = await startNetwork();
try {
  checkEnergy(await watch(network, seconds * 1000));
  await checkAchieved(network);
  await checkGrant(network);
} finally {
  await network.close();
}
const count = (status) => checks.filter((each) => each.status === status).length;
const closing = `${count('ok')} passed, ${count('FAILED')} failed, ${count('skipped')} skipped`;
const report = {
  date: new Date().toISOString(),
  host: hostname(),
  node: process.version,
  closing,
  checks,
  calls,
  native,
};
writeFileSync(join(out, `report-${date}.json`), `${JSON.stringify(report, null, 1)}\n`);
const lines = checks.map(({ status, name, detail }) => `${status.padEnd(7)} ${name}: ${detail}`);
writeFileSync(join(out, `report-${date}.txt`), `${[...lines, closing].join('\n')}\n`);
console.log(closing);
process.exit(count('FAILED') === 0 ? 0 : 1);
