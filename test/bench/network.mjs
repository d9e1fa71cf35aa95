// A network of one node for the benches: the built `flopd up` in a folder of its own, its API, and the floors that
// its figures stand beside, measured on the same disk in the same run.
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const READY_DEADLINE_MS = 20_000;
/** Jobs of one CPU that the node says it has room for. */
const SLOTS = 200;
/** For a look inside: FLOPD_BENCH_NODE_FLAGS="--cpu-prof --cpu-prof-dir=/tmp/prof" */
const nodeFlags = (process.env.FLOPD_BENCH_NODE_FLAGS ?? '').split(' ').filter((flag) => flag !== '');

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The value below which a share `q` of the numbers lies. */
export function quantile(numbers, q) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/**
 * Starts `flopd up` with more slots than jobs in flight, so that only the machinery is measured. `apart`: a scheduler and
 * an agent in processes of their own (`agent`), and with a runner beside it (`runner`).
 */
export async function startNetwork({ flags = [], apart = null } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-bench-'));
  const stamp = join(folder, 'stamp');
  execFileSync('cc', ['-O2', '-o', stamp, join(here, 'stamp.c')], { stdio: 'inherit' });
  const program = join(root, 'dist', 'flopd.js');
  const at = (name) => join(folder, name);
  const environment = {
    ...process.env,
    // Without walls: what they cost is start.mjs's to measure, and the stamps lie outside of them.
    ...{ FLOPD_JOBS_SANDBOX: 'off', FLOPD_JOBS_USER: 'agent' },
    // Slots for whole CPUs: with a share of 0.01 the kernel's quota (1 ms in 100) halted each no-op in the middle of its exec.
    ...{ FLOPD_NODE_CPUS: String(SLOTS) },
  };
  const children = new Map();
  async function start(verb, ...args) {
    const readyFile = at(`${verb}.json`);
    const child = spawn(process.execPath, [...nodeFlags, program, verb, ...args, '--ready-file', readyFile], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: environment,
    });
    children.set(verb, child);
    for (const end = performance.now() + READY_DEADLINE_MS; !existsSync(readyFile); await pause(10))
      if (child.exitCode !== null || performance.now() > end)
        throw new Error(`flopd ${verb} did not become ready`);
    return readyFile;
  }
  const listen = ['--listen', '127.0.0.1:0'];
  const metrics = ['--metrics-listen', '127.0.0.1:0'];
  const state = ['--state-dir', at('state')];
  const readyFile =
    apart === null
      ? await start('up', ...state, ...listen, ...metrics, ...flags)
      : await start('scheduler', ...state, ...listen);
  if (apart !== null) {
    const { url } = JSON.parse(readFileSync(readyFile, 'utf8'));
    const token = ['--token-file', at('state/scheduler/join-token')];
    const runner = apart === 'runner' ? ['--runner', at('runner.sock')] : [];
    const both = apart === 'runner' ? ['--runner-state-dir', at('runner')] : [];
    execFileSync(process.execPath, [program, 'join', url, ...token, '--state-dir', at('agent'), ...both]);
    if (apart === 'runner') await start('runner', '--state-dir', at('runner'), ...runner);
    await start('agent', '--state-dir', at('agent'), ...metrics, ...runner, ...flags);
  }
  const { url } = JSON.parse(readFileSync(readyFile, 'utf8'));
  const token = readFileSync(join(folder, 'state', 'scheduler', 'token'), 'utf8').trim();
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });

  /** One API call; resolves to the parsed answer. */
  function call(method, path, body) {
    return new Promise((resolve, reject) => {
      const sent = request(new URL(path, url), {
        method,
        agent,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
      });
      sent.on('error', reject);
      sent.on('response', (response) => {
        const chunks = [];
        response.on('error', reject);
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode >= 300)
            reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
          else resolve(text === '' ? null : JSON.parse(text));
        });
      });
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  return {
    folder,
    stamp,
    call,
    submit: (command) => call('POST', '/v1/jobs', { version: 1, command, resources: { cpus: 1 } }),
    counts: async () => (await call('GET', '/v1/overview')).jobs,
    /** CPU seconds and resident bytes of the daemons so far, or of one of them. */
    cost(verb = null) {
      const sum = { cpuSeconds: 0, residentBytes: 0 };
      for (const [name, child] of children) {
        if (verb !== null && name !== verb) continue;
        const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
        sum.cpuSeconds += (Number(fields[11]) + Number(fields[12])) / 100;
        sum.residentBytes += Number(fields[21]) * 4096;
      }
      return sum;
    },
    /** Start times that the jobs wrote, ns of CLOCK_MONOTONIC, ascending. */
    stamps(file) {
      if (!existsSync(file)) return [];
      const bytes = readFileSync(file);
      const found = [];
      for (let at = 0; at + 8 <= bytes.length; at += 8) found.push(Number(bytes.readBigInt64LE(at)));
      return found.sort((a, b) => a - b);
    },
    /** ns from posix_spawn of the same no-op to its first instruction, `count` times. */
    spawnFloor(count) {
      const out = execFileSync(stamp, [join(folder, 'floor'), String(count)], { encoding: 'utf8' });
      return out.trim().split('\n').map(Number);
    },
    /** ns of an append of 256 bytes and fdatasync on the disk of the state directory, `count` times. */
    syncFloor(count) {
      const fd = openSync(join(folder, 'sync'), 'w');
      const times = [];
      for (let i = 0; i < count; i++) {
        const before = process.hrtime.bigint();
        writeSync(fd, Buffer.alloc(256));
        fdatasyncSync(fd);
        times.push(Number(process.hrtime.bigint() - before));
      }
      closeSync(fd);
      return times;
    },
    async close() {
      agent.destroy();
      for (const child of [...children.values()].reverse()) {
        child.kill('SIGTERM');
        await new Promise((resolve) => (child.exitCode === null ? child.once('exit', resolve) : resolve()));
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Reads `--name N` from the command line. */
export function numberFlag(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  if (at < 0) return fallback;
  const value = Number(process.argv[at + 1]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name}: a positive integer is expected`);
  return value;
}
