// How fast standard input reaches a command beside a job: `cat big | flopd exec -i ID -- sh -c 'cat > /dev/null'`, in MB/s,
// beside a floor (a pipe between two `cat`) or another build of flopd, in turns within the same run.
//
//   node test/bench/exec.mjs [--megabytes 100] [--rounds 3] [--against DIST/flopd.js] [--json]
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
  return { line, environment };
}

/** MB/s of a line of shell that takes the file. */
function measure({ line, environment }) {
  const startedMs = performance.now();
  execFileSync('sh', ['-c', line], { env: environment });
  return (megabytes * 1000) / (performance.now() - startedMs);
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
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
    Object.entries(figures).map(([name, values]) => [name, Math.round(median(values) * 10) / 10]),
  );
  result.ratio = Math.round((result.exec / result[sides[1][0]]) * 1000) / 1000;
  console.log(
    process.argv.includes('--json')
      ? JSON.stringify(result)
      : `MB/s of standard input: ${JSON.stringify(result)}`,
  );
} finally {
  for (const daemon of daemons) {
    daemon.kill('SIGTERM');
    await new Promise((resolve) => (daemon.exitCode === null ? daemon.once('exit', resolve) : resolve()));
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
