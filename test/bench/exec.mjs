// How fast standard input reaches a command beside a job: `cat big | flopd exec -i ID -- sh -c 'cat > /dev/null'`, in MB/s
// and CPU time of the daemon (scheduler and agent) for each GB, beside a floor (a pipe between two `cat`) or another build of flopd, in turns within the same run.
//
//   node test/bench/exec.mjs [--megabytes 100] [--rounds 3] [--against DIST/flopd.js] [--json]
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const own = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'dist', 'flopd.js');
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at === -1 ? fallback : process.argv[at + 1];
};
const megabytes = Number(option('megabytes', 100));
const rounds = Number(option('rounds', 3));
const against = option('against', null);
const folder = mkdtempSync(join(tmpdir(), 'flopd-bench-exec-'));
const big = join(folder, 'big');
writeFileSync(big, Buffer.alloc(megabytes * 1e6, 'flopd'));
const daemons = [];

/** A network of this machine with one job, and what brings the file to a command beside it. */
async function begin(program) {
  const state = join(folder, `state-${daemons.length}`);
  const environment = { ...process.env, FLOPD_STATE_DIR: state };
  const ready = `${state}.ready`;
  const ports = ['--listen', '127.0.0.1:0', '--metrics-listen', '127.0.0.1:0'];
  const daemon = spawn(process.execPath, [program, 'up', ...ports, '--ready-file', ready], {
    env: environment,
    stdio: 'ignore',
  });
  daemons.push(daemon);
  for (const end = Date.now() + 30_000; !existsSync(ready); await new Promise((go) => setTimeout(go, 50)))
    if (Date.now() > end) throw new Error('it does not start');
  const run = (...args) =>
    execFileSync(process.execPath, [program, ...args], { env: environment, encoding: 'utf8' });
  const id = run('run', '--detach', '--', 'sleep', '1000').trim().split(/\s/)[0];
  for (const end = Date.now() + 30_000; !run('job', id, '-o', 'json').includes('"RUNNING"'); )
    if (Date.now() > end) throw new Error('its job does not run');
  const line = `cat ${big} | ${process.execPath} ${program} exec -i ${id} -- sh -c 'cat > /dev/null'`;
  return { line, environment, pid: daemon.pid };
}

/** User and system time of a process, seconds; 0 without one. */
function cpuSeconds(pid) {
  if (pid === undefined) return 0;
  const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
    .slice(11, 13);
  return (Number(user) + Number(system)) / 100;
}

/** Of a line of shell that takes the file. */
function measure({ line, environment, pid }) {
  const [startedMs, before] = [performance.now(), cpuSeconds(pid)];
  execFileSync('sh', ['-c', line], { env: environment });
  const rate = (megabytes * 1000) / (performance.now() - startedMs);
  return { rate, cpu: (cpuSeconds(pid) - before) / (megabytes / 1000) };
}

const median = (list, key) => {
  const values = list.map((one) => one[key]);
  values.sort((a, b) => a - b);
  return Math.round(values[values.length >> 1] * 10) / 10;
};
try {
  const sides = [
    ['exec', await begin(own)],
    against === null
      ? ['pipe', { line: `cat ${big} | cat | cat > /dev/null`, environment: process.env }]
      : ['against', await begin(against)],
  ];
  const figures = { exec: [], [sides[1][0]]: [] };
  for (let round = 0; round < rounds; round += 1)
    for (const [name, side] of sides) figures[name].push(measure(side));
  const result = Object.fromEntries(
    Object.entries(figures).map(([name, list]) => [
      name,
      { megabytesPerSecond: median(list, 'rate'), cpuSecondsPerGigabyte: median(list, 'cpu') },
    ]),
  );
  const [one, other] = Object.values(result);
  result.ratio = Math.round((one.megabytesPerSecond / other.megabytesPerSecond) * 1000) / 1000;
  console.log(process.argv.includes('--json') ? JSON.stringify(result) : result);
} finally {
  for (const daemon of daemons) {
    daemon.kill('SIGTERM');
    await new Promise((resolve) => (daemon.exitCode === null ? daemon.once('exit', resolve) : resolve()));
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
