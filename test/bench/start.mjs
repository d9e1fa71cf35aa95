// What the shim costs: a no-op job through a nest of shims, plain and in bubblewrap, over the bare spawn and over
// bubblewrap alone; jobs per second with several in flight; memory of the shims of 1000 sleeping jobs.
//
//   node test/bench/start.mjs [--jobs N] [--in-flight N] [--sleeping N] [--json]
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { numberFlag, quantile } from './network.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const shimPath = join(here, '..', '..', 'native', 'build', 'flopd-shim');
const jobs = numberFlag('jobs', 300);
const inFlight = numberFlag('in-flight', 16);
const sleeping = numberFlag('sleeping', 1000);
const folder = mkdtempSync(join(tmpdir(), 'flopd-bench-'));

/** As jobs of an agent are walled in, but for the folders that are hidden from them. */
const wrapOf = (workspace) => [
  '/usr/bin/bwrap',
  ...['--die-with-parent', '--as-pid-1', '--unshare-pid', '--unshare-ipc', '--unshare-uts'],
  ...['--ro-bind', '/', '/', '--tmpfs', '/tmp', '--proc', '/proc', '--dev', '/dev'],
  ...['--bind', workspace, workspace, '--'],
];

function specOf(name, command, wrap) {
  const fields = ['flopd-spec', '2'];
  const section = (title, values) => fields.push(title, String(values.length), ...values);
  section('name', [name]);
  section('announce', ['../announce']);
  section('cwd', [join(folder, name, 'workspace')]);
  section('argv', command);
  section('env', ['PATH=/usr/bin:/bin']);
  section('grace-ms', ['1000']);
  section('wrap', wrap);
  if (wrap.length > 0) section('filter', ['1']);
  return [...fields, 'end', ''].join('\0');
}

/** A nest, as an agent has it: `start` resolves when the line asked for comes. */
async function openNest() {
  const waiting = new Map();
  let orders = null;
  let hatched = () => {};
  const server = createServer((socket) => {
    let name = null;
    let rest = '';
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const hello = /^hello (\S+)/.exec(line);
        if (hello !== null) {
          name = hello[1];
          if (name === 'nest') {
            orders = socket;
            hatched();
          }
        }
        const word = line.split(' ')[0];
        const job = waiting.get(name);
        if (job?.word === word) {
          waiting.delete(name);
          job.resolve(socket);
        }
      }
    });
  });
  await new Promise((resolve) => server.listen(join(folder, 'announce'), 4096, resolve));
  const child = spawn(shimPath, ['--nest', folder], { stdio: 'ignore', env: {} });
  await new Promise((resolve) => {
    hatched = resolve;
  });
  let count = 0;
  return {
    prepare(command, walled) {
      count += 1;
      const name = `job-${count}.1`;
      const workspace = join(folder, name, 'workspace');
      mkdirSync(workspace, { recursive: true, mode: 0o700 });
      writeFileSync(join(folder, name, 'spec'), specOf(name, command, walled ? wrapOf(workspace) : []));
      return name;
    },
    start(name, word) {
      const told = new Promise((resolve) => waiting.set(name, { word, resolve }));
      orders.write(`start ${name} bench\n`);
      return told;
    },
    close() {
      server.close();
      orders.destroy();
      child.kill();
    },
  };
}

const nest = await openNest();
const milliseconds = (from) => performance.now() - from;

async function oneByOne(walled) {
  const times = [];
  for (let at = 0; at < jobs; at++) {
    const name = nest.prepare(['/bin/true'], walled);
    const from = performance.now();
    await nest.start(name, 'ended');
    times.push(milliseconds(from));
  }
  return quantile(times, 0.5);
}

async function perSecond(walled) {
  const names = Array.from({ length: jobs }, () => nest.prepare(['/bin/true'], walled));
  const from = performance.now();
  const work = async () => {
    for (let name = names.pop(); name !== undefined; name = names.pop()) await nest.start(name, 'ended');
  };
  await Promise.all(Array.from({ length: inFlight }, work));
  return jobs / (milliseconds(from) / 1000);
}

function floorOf(command) {
  const program = join(folder, 'floor');
  execFileSync('cc', ['-O2', '-o', program, join(here, 'floor', 'start.c')], { stdio: 'inherit' });
  const out = execFileSync(program, [String(jobs), ...command], { encoding: 'utf8' });
  return quantile(out.trim().split('\n').map(Number), 0.5) / 1e6;
}

function pssOfShims() {
  let kib = 0;
  let shims = 0;
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      if (
        !args.startsWith('flopd-shim\0job-') ||
        !readFileSync(`/proc/${pid}/environ`).equals(Buffer.alloc(0))
      )
        continue;
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      kib += Number(/^Pss: +(\d+)/m.exec(rollup)?.[1] ?? 0);
      shims += 1;
    } catch {
      // it has ended meanwhile
    }
  }
  return { shims, kib };
}

async function sleepers(walled, count) {
  const names = Array.from({ length: count }, () => nest.prepare(['/bin/sleep', '1000'], walled));
  const from = performance.now();
  const sockets = await Promise.all(names.map((name) => nest.start(name, 'started')));
  const startedMs = milliseconds(from);
  const { shims, kib } = pssOfShims();
  const stopping = performance.now();
  const ended = sockets.map((socket) => new Promise((resolve) => socket.on('close', resolve)));
  for (const socket of sockets) socket.write('stop 0\n');
  await Promise.all(ended);
  return { count, startedMs, stoppedMs: milliseconds(stopping), shims, kibEach: kib / shims };
}

try {
  const bwrap = wrapOf(folder);
  const spawnMs = floorOf(['/bin/true']);
  const bwrapMs = floorOf([...bwrap, '/bin/true']);
  const figures = {
    spawnMs,
    plainMs: await oneByOne(false),
    bwrapMs,
    walledMs: await oneByOne(true),
    plainPerSecond: await perSecond(false),
    walledPerSecond: await perSecond(true),
    sleepers: await sleepers(false, sleeping),
    walledSleepers: await sleepers(true, Math.ceil(sleeping / 5)),
  };
  if (process.argv.includes('--json')) console.log(JSON.stringify(figures));
  else {
    const ms = (value) => `${value.toFixed(2)} ms`;
    console.log(`no-op job, p50 of ${jobs}, from its order to its told end`);
    console.log(
      `  plain    ${ms(figures.plainMs)}; bare spawn and wait ${ms(spawnMs)} (${(figures.plainMs / spawnMs).toFixed(1)} x)`,
    );
    console.log(
      `  walled   ${ms(figures.walledMs)}; bubblewrap alone ${ms(bwrapMs)} (${(figures.walledMs / bwrapMs).toFixed(2)} x)`,
    );
    console.log(
      `with ${inFlight} in flight: plain ${figures.plainPerSecond.toFixed(0)} jobs/s, walled ${figures.walledPerSecond.toFixed(0)} jobs/s; goals 1000 and 250`,
    );
    for (const [kind, { count, startedMs, stoppedMs, kibEach }] of [
      ['plain', figures.sleepers],
      ['walled', figures.walledSleepers],
    ])
      console.log(
        `${count} sleeping jobs, ${kind}: all run after ${startedMs.toFixed(0)} ms, stopped in ${stoppedMs.toFixed(0)} ms; ${kibEach.toFixed(0)} KiB (PSS) per shim`,
      );
  }
} finally {
  nest.close();
  rmSync(folder, { recursive: true, force: true });
}
