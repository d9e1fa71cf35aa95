// A24 in full: a hundred thousand different names of jobs and of their variables through the scheduler of the built program.
// Series of its page, its memory on the way, and what its faces take to answer before and after. By hand:
//
//   npm run build && node test/campaign/names.mjs [--names 100000] [--at-once 32] [--waiting]
//
// Each job is cancelled at once, so that it ends without a node; with --waiting none is, until the user's share of the
// waiting jobs is used up. Ends with code 1 where a series was added or a face does not answer.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const flopd = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'dist', 'flopd.js');
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at === -1 ? fallback : Number(process.argv[at + 1]);
};
const names = option('names', 100_000);
const atOnce = option('at-once', 32);
const isWaiting = process.argv.includes('--waiting');
const folder = mkdtempSync(join(tmpdir(), 'flopd-names-'));
const environment = { ...process.env, FLOPD_STATE_DIR: folder };
const ready = join(folder, 'ready');
const scheduler = spawn(
  process.execPath,
  [flopd, 'scheduler', '--listen', '127.0.0.1:0', '--ready-file', ready],
  { env: environment, stdio: 'ignore' },
);
const gone = new Promise((resolve) => scheduler.once('exit', resolve));
const agent = new Agent({ keepAlive: true, maxSockets: atOnce });

async function until(what, check) {
  for (const end = Date.now() + 30_000; Date.now() < end; await new Promise((go) => setTimeout(go, 50)))
    if (check()) return;
  throw new Error(`waited in vain for ${what}`);
}

function ask(url, token, method, path, body) {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = { authorization: `Bearer ${token}`, 'content-length': Buffer.byteLength(text) };
    const asked = request(new URL(path, url), { method, agent, headers }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => resolve({ status: answer.statusCode, text: Buffer.concat(pieces).toString() }));
    });
    asked.on('error', reject);
    asked.end(text);
  });
}

const memoryMiB = () => {
  const status = readFileSync(`/proc/${scheduler.pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
};
const seriesOf = (page) =>
  new Set(
    page
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.replace(/ [^ ]+$/, '')),
  );

try {
  await until('the scheduler', () => existsSync(ready));
  const { url } = JSON.parse(readFileSync(ready, 'utf8'));
  const token = readFileSync(join(folder, 'scheduler', 'token'), 'utf8').trim();
  const say = (method, path, body) => ask(url, token, method, path, body);

  async function submit(n) {
    const spec = {
      version: 1,
      command: ['true'],
      name: `name ${n}`,
      environment: { [`LABEL_${n}`]: `${n}` },
    };
    const { status, text } = await say('POST', '/v1/jobs', spec);
    if (status !== 201) return status;
    if (!isWaiting) await say('POST', `/v1/jobs/${JSON.parse(text).id}/cancel`, { reason: `reason ${n}` });
    if (n % 10 === 0) await say('GET', `/v1/nothing-${n}`);
    return status;
  }

  async function faces() {
    const times = {};
    for (const [name, path] of [
      ['page', '/metrics'],
      ['dashboard', '/'],
      ['jobs', '/v1/jobs'],
    ]) {
      const startedMs = performance.now();
      const { status } = await say('GET', path);
      times[name] = status === 200 ? Math.round(performance.now() - startedMs) : `status ${status}`;
    }
    const startedMs = performance.now();
    const { status } = spawnSync(process.execPath, [flopd, 'jobs'], { env: environment, maxBuffer: 2 ** 30 });
    times['flopd jobs'] = status === 0 ? Math.round(performance.now() - startedMs) : `exit code ${status}`;
    return times;
  }

  await submit(names);
  await say('GET', '/v1/nothing');
  // The page is rendered at most once in a while.
  while (!(await say('GET', '/metrics')).text.includes('status="201"'))
    await new Promise((go) => setTimeout(go, 100));
  const facesBefore = await faces();
  const before = seriesOf((await say('GET', '/metrics')).text);
  const memory = { 0: memoryMiB() };
  const statuses = new Map();
  const startedMs = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < names) {
        const n = next++;
        const status = await submit(n);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if ((n + 1) % Math.max(1, Math.floor(names / 10)) === 0) memory[n + 1] = memoryMiB();
      }
    }),
  );
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  const facesAfter = await faces();
  // Of answers there is one series for each status, whatever was asked.
  const added = [...seriesOf((await say('GET', '/metrics')).text)].filter(
    (name) => !before.has(name) && !name.startsWith('flopd_scheduler_http_responses_total{status='),
  );
  memory.after = memoryMiB();
  console.log(
    JSON.stringify(
      {
        names,
        seconds,
        statuses: Object.fromEntries(statuses),
        series: before.size,
        added,
        memoryMiB: memory,
        facesBefore,
        facesAfter,
      },
      null,
      1,
    ),
  );
  const isWell = Object.values(facesAfter).every((time) => typeof time === 'number');
  process.exitCode = added.length === 0 && isWell ? 0 : 1;
} finally {
  scheduler.kill('SIGTERM');
  await gone;
  agent.destroy();
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
