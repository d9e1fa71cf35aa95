// Acceptance of output: a job writes so many known bytes while its link is cut ten times and its scheduler killed once;
// what the scheduler has stored, and what a follower saw who was there from the start, must be those bytes. A second
// job writes without end and is cancelled: what is stored of it must be a beginning of the same bytes, as long as its
// result says. A third one has a quota: what is stored must be its bytes without exactly the gap that its result names.
//
//   node test/campaign/output.mjs [--bytes 1073741824] [--cuts 10] [--json]
//
// Prints the time beside that of the same writer into a pipe that `cat` copies to a file on the same disk.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    bytes: { type: 'string', default: String(2 ** 30) },
    cuts: { type: 'string', default: '10' },
    json: { type: 'boolean', default: false },
  },
});
const bytes = Number(values.bytes);
const cuts = Number(values.cuts);
const flopd = fileURLToPath(new URL('../../dist/flopd.js', import.meta.url));
const DEADLINE_MS = 600_000;
const PIECE_BYTES = 64 * 1024;
const QUOTA_BYTES = 1024 * 1024;
const TAIL_BYTES = 64 * 1024;
/** Little output comes slowly, so that the cuts fall between its pieces. */
const pauseMs = bytes < 64 * 1024 * 1024 ? Math.ceil((3000 * PIECE_BYTES) / bytes) : 0;

/** Piece `index` of the stream: different everywhere, and the same on both sides. */
const pieceSource = `
const noise = Buffer.alloc(${PIECE_BYTES});
for (let at = 0, x = 88172645463325252n; at < noise.length; at += 8) {
  x ^= (x << 13n) & 0xffffffffffffffffn; x ^= x >> 7n; x ^= (x << 17n) & 0xffffffffffffffffn;
  noise.writeBigUInt64LE(x, at);
}
function piece(index) {
  const bytes = Buffer.from(noise);
  for (let at = 0; at < bytes.length; at += 4096) bytes.writeUInt32LE((index * 16 + at / 4096) >>> 0, at);
  return bytes;
}`;
const piece = new Function('require', `${pieceSource}; return piece;`)((name) =>
  process.getBuiltinModule(name),
);
/** Writes so many bytes as fast as it can, or with a pause after each piece. */
const writer = (total, pauseMs = 0) => `${pieceSource}
const fs = require('node:fs');
function write(fd, bytes) {
  for (let at = 0; at < bytes.length; ) {
    try { at += fs.writeSync(fd, bytes, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
  }
}
let left = ${total};
for (let index = 0; left > 0; index += 1) {
  const bytes = piece(index).subarray(0, left);
  write(1, bytes);
  if (index % 16 === 0) write(2, bytes.subarray(0, 1000));
  left -= bytes.length;
  if (${pauseMs} > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${pauseMs});
}`;

function expectedDigests(total) {
  const digests = { stdout: createHash('sha256'), stderr: createHash('sha256') };
  const sizes = { stdout: 0, stderr: 0 };
  for (let index = 0, left = total; left > 0; index += 1) {
    const whole = piece(index).subarray(0, left);
    digests.stdout.update(whole);
    sizes.stdout += whole.length;
    if (index % 16 === 0) {
      digests.stderr.update(whole.subarray(0, 1000));
      sizes.stderr += Math.min(1000, whole.length);
    }
    left -= whole.length;
  }
  return { sizes, stdout: digests.stdout.digest('hex'), stderr: digests.stderr.digest('hex') };
}

const folder = mkdtempSync(join(tmpdir(), 'flopd-output-'));
const started = [];
const problems = [];
const check = (what, isRight, told = '') => {
  if (!isRight) problems.push(`${what}${told === '' ? '' : `: ${told}`}`);
};

function start(args, stateDir, stdio = ['ignore', 'pipe', 'pipe']) {
  const child = spawn(process.execPath, [flopd, ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, TMPDIR: folder, FLOPD_STATE_DIR: join(folder, stateDir) },
    stdio,
  });
  started.push(child);
  return child;
}

async function run(args) {
  const child = start(args, 'scheduler');
  const out = [];
  const err = [];
  child.stdout.on('data', (chunk) => out.push(chunk));
  child.stderr.on('data', (chunk) => err.push(chunk));
  const code = await new Promise((resolve) => child.once('close', resolve));
  return { code, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(what, read) {
  for (const end = performance.now() + DEADLINE_MS; ; ) {
    const value = await read();
    if (value !== null && value !== false && value !== undefined) return value;
    if (performance.now() > end) throw new Error(`waited for: ${what}`);
    await pause(20);
  }
}

let readyFiles = 0;
async function daemon(args, stateDir) {
  readyFiles += 1;
  const readyFile = join(folder, `ready-${readyFiles}.json`);
  const child = start([...args, '--ready-file', readyFile], stateDir, ['ignore', 'ignore', 'inherit']);
  await until(`${args[0]} to be ready`, () => {
    if (child.exitCode !== null) throw new Error(`${args[0]} ended with ${child.exitCode}`);
    return existsSync(readyFile);
  });
  return { child, ...JSON.parse(readFileSync(readyFile, 'utf8')) };
}

function startProxy(port) {
  const pairs = new Set();
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    const pair = [near, far];
    pairs.add(pair);
    const end = () => {
      for (const one of pair) one.destroy();
      pairs.delete(pair);
    };
    for (const one of pair) one.on('error', end).on('close', end);
    near.pipe(far);
    far.pipe(near);
  });
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () =>
      resolve({
        port: server.address().port,
        cut() {
          for (const pair of [...pairs]) for (const one of pair) one.resetAndDestroy();
        },
        close() {
          server.close();
          this.cut();
        },
      }),
    ),
  );
}

/** The job as the scheduler shows it; null while it cannot be asked. Not by the command line: it is asked often. */
async function view(id) {
  try {
    const token = readFileSync(join(folder, 'scheduler', 'scheduler', 'token'), 'utf8').trim();
    const { url } = JSON.parse(readFileSync(join(folder, 'scheduler', 'endpoint.json'), 'utf8'));
    const answer = await fetch(`${url}/v1/jobs/${id}`, { headers: { authorization: `Bearer ${token}` } });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** What the scheduler's files hold of an attempt. */
function storedOf(id, stream) {
  const file = join(folder, 'scheduler', 'scheduler', 'output', `${id}.1.${stream}`);
  return existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
}

const digestOf = (data) => createHash('sha256').update(data).digest('hex');

/** The digest of a file of any size. */
function digestOfFile(file) {
  return spawnSync('sha256sum', [file]).stdout.toString().slice(0, 64);
}

function plainCopySeconds(total) {
  const file = join(folder, 'plain');
  const began = performance.now();
  const copied = spawnSync('sh', [
    '-c',
    `"$0" -e "$1" 2>/dev/null | cat > ${file}`,
    process.execPath,
    writer(total),
  ]);
  if (copied.status !== 0) throw new Error('the plain copy failed');
  const fd = openSync(file, 'r+');
  fsyncSync(fd);
  closeSync(fd);
  const seconds = (performance.now() - began) / 1000;
  rmSync(file);
  return seconds;
}

async function submit(...args) {
  const { code, stdout, stderr } = await run(['run', '--detach', ...args]);
  if (code !== 0) throw new Error(`not submitted: ${stderr}`);
  return stdout.toString().trim();
}

async function finish(id) {
  const job = await until(`${id} to end`, async () => {
    const one = await view(id);
    return one !== null && one.result !== null ? one : null;
  });
  await until(`all output of ${id}`, async () => {
    const one = await view(id);
    return one?.stdoutBytes >= job.result.stdoutBytes && one.stderrBytes >= job.result.stderrBytes;
  });
  return job;
}

async function campaign() {
  let scheduler = await daemon(['scheduler', '--listen', '127.0.0.1:0'], 'scheduler');
  const port = Number(new URL(scheduler.url).port);
  const proxy = await startProxy(port);
  const joinToken = join(folder, 'scheduler', 'scheduler', 'join-token');
  const joining = start(['join', `http://127.0.0.1:${proxy.port}`, '--token-file', joinToken], 'agent');
  await new Promise((resolve) => joining.once('close', resolve));
  await daemon(['agent', '--metrics-listen', '127.0.0.1:0'], 'agent');

  // 1. Ten cuts, one kill of the scheduler, a follower from the start.
  const expected = expectedDigests(bytes);
  const began = performance.now();
  const id = await submit('--', process.execPath, '-e', writer(bytes, pauseMs));
  const follower = start(['logs', '-f', '--stdout', id], 'scheduler');
  const followed = createHash('sha256');
  let followedBytes = 0;
  follower.stdout.on('data', (chunk) => {
    followed.update(chunk);
    followedBytes += chunk.length;
  });
  follower.stderr.resume();
  const followerCode = new Promise((resolve) => follower.once('close', resolve));
  await until('the follower to see something', () => followedBytes > 0);
  for (let cut = 1; cut <= cuts; cut += 1) {
    const mark = (bytes * cut) / (cuts + 1);
    await until(`${mark} bytes`, async () => {
      const one = await view(id);
      return one !== null && (one.stdoutBytes >= mark || one.result !== null);
    });
    proxy.cut();
    if (cut === Math.ceil(cuts / 2)) {
      scheduler.child.kill('SIGKILL');
      await new Promise((resolve) => scheduler.child.once('close', resolve));
      scheduler = await daemon(['scheduler', '--listen', `127.0.0.1:${port}`], 'scheduler');
    }
  }
  const job = await finish(id);
  const seconds = (performance.now() - began) / 1000;
  check('the job completed', job.state === 'COMPLETED', `${job.state}: ${job.reason}`);
  check('bytes in the result', job.result.stdoutBytes === bytes, `${job.result.stdoutBytes} of ${bytes}`);
  for (const stream of ['stdout', 'stderr']) {
    const file = join(folder, 'scheduler', 'scheduler', 'output', `${id}.1.${stream}`);
    check(`stored ${stream} is what was written`, digestOfFile(file) === expected[stream]);
  }
  check('the follower ended well', (await followerCode) === 0);
  check(
    'followed stdout is what was written',
    followed.digest('hex') === expected.stdout,
    `${followedBytes} bytes`,
  );
  // 2. A stop in the middle.
  const endless = await submit('--grace', '1s', '--', process.execPath, '-e', writer(2 ** 40, 5));
  await until('some output', async () => (await view(endless))?.stdoutBytes > 1024 * 1024);
  proxy.cut();
  await run(['cancel', endless]);
  const stopped = await finish(endless);
  const kept = storedOf(endless, 'stdout');
  check('the stopped job is cancelled', stopped.state === 'CANCELLED', stopped.state);
  const gaps = stopped.result.gaps.filter((gap) => gap.stream === 'stdout');
  check('the stopped job has no gaps', gaps.length === 0, JSON.stringify(gaps));
  check('stored as the result says', kept.length === stopped.result.stdoutBytes);
  check('stored is a beginning', digestOf(kept) === digestOf(beginning(kept.length)));
  // 3. A quota.
  const total = Math.max(4 * QUOTA_BYTES, Math.min(bytes, 64 * QUOTA_BYTES));
  const limited = await submit('--output-quota', '1MiB', '--', process.execPath, '-e', writer(total));
  const cutShort = await finish(limited);
  const [gap] = cutShort.result.gaps;
  const short = storedOf(limited, 'stdout');
  const all = beginning(total);
  check(
    'one gap by quota',
    cutShort.result.gaps.length === 1 && gap?.reason === 'quota',
    JSON.stringify(cutShort.result.gaps),
  );
  if (gap !== undefined) {
    check(
      'stored as the gap says',
      digestOf(short) === digestOf(Buffer.concat([all.subarray(0, gap.fromByte), all.subarray(gap.toByte)])),
    );
    check(
      'the end is kept',
      total - gap.toByte <= TAIL_BYTES && total > gap.toByte,
      `${total - gap.toByte} bytes`,
    );
    const shown = await run(['logs', '--stdout', limited]);
    check(
      'logs say the gap',
      /^\[flopd: [\d.]+ MB of stdout left out here by its quota of 1\.00 MiB\]$/m.test(shown.stderr),
      shown.stderr,
    );
    check('logs show what is kept', digestOf(shown.stdout) === digestOf(short));
  }
  const plainSeconds = plainCopySeconds(bytes);
  proxy.close();
  return { bytes, cuts, seconds, plainSeconds, ratio: seconds / plainSeconds };
}

function beginning(length) {
  const parts = [];
  for (let index = 0, left = length; left > 0; index += 1) {
    const part = piece(index).subarray(0, left);
    parts.push(part);
    left -= part.length;
  }
  return Buffer.concat(parts);
}

const isAlive = (child) => child.exitCode === null && child.signalCode === null;

/** Ends what was started here; jobs that were left running work in this folder. */
async function clean() {
  for (const child of started.toReversed()) if (isAlive(child)) child.kill('SIGTERM');
  await Promise.race([
    Promise.all(
      started.filter(isAlive).map((child) => new Promise((resolve) => child.once('exit', resolve))),
    ),
    pause(10_000),
  ]);
  for (const child of started) if (isAlive(child)) child.kill('SIGKILL');
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(folder))
        process.kill(Number(name), 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

let figures = null;
try {
  figures = await campaign();
} catch (error) {
  problems.push(error.stack);
}
await clean();
if (values.json) console.log(JSON.stringify({ ...figures, problems }));
else {
  if (figures !== null) {
    const { seconds, plainSeconds, ratio } = figures;
    console.log(`${bytes} bytes through ${cuts} cuts and a killed scheduler in ${seconds.toFixed(1)} s`);
    console.log(
      `the same writer through a pipe into a file: ${plainSeconds.toFixed(1)} s; ratio ${ratio.toFixed(1)}`,
    );
  }
  console.log(problems.length === 0 ? 'every byte is there' : problems.join('\n'));
}
process.exitCode = problems.length === 0 ? 0 : 1;
