// What a refusal costs the scheduler, without TLS and with it: CPU from /proc/PID/stat and memory by each of some thousand,
// beside a bare `ws`/`http` server that refuses the same in the same run. Goal: under 1 ms of CPU and 1 MiB each.
//
//   node test/bench/refusals.mjs [--each N] [--in-flight N] [--json]
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { numberFlag } from './network.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const each = numberFlag('each', 2000);
const inFlight = numberFlag('in-flight', 16);
const folder = mkdtempSync(join(tmpdir(), 'flopd-bench-'));
const TICK_MS = 10;

/** The floor: nothing but the libraries, refusing the same. */
const bare = `
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTls } from 'node:https';
import { WebSocketServer } from 'ws';
const [ready, cert, key] = process.argv.slice(2);
const server = cert === undefined ? createServer() : createTls({ cert: readFileSync(cert), key: readFileSync(key), minVersion: 'TLSv1.3' });
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 1024 * 1024, maxFragments: 64, maxBufferedChunks: 4096 });
server.on('request', (request, response) => {
  const status = request.headers.host?.startsWith('127.0.0.1') ? 401 : 403;
  response.writeHead(status, { Connection: 'close' });
  response.end('{"error":{"code":"X"}}');
});
server.on('clientError', (error, socket) => socket.end('HTTP/1.1 431 X\\r\\nConnection: close\\r\\n\\r\\n'));
server.on('tlsClientError', (error, socket) => socket.destroy());
server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => {});
  sockets.handleUpgrade(request, socket, head, (link) => {
    link.on('error', () => {});
    link.on('message', () => link.close(4400));
    link.send('{"type":"challenge"}');
  });
});
server.listen(0, '127.0.0.1', () => writeFileSync(ready, String(server.address().port)));
`;

const masked = (first, text) => {
  const bytes = Buffer.from(text);
  const length =
    bytes.length < 126
      ? Buffer.from([0x80 | bytes.length])
      : bytes.length < 65_536
        ? Buffer.from([0xfe, bytes.length >> 8, bytes.length & 0xff])
        : Buffer.concat([
            Buffer.from([0xff, 0, 0, 0, 0]),
            Buffer.from(new Uint32Array([bytes.length]).buffer).swap32(),
          ]);
  return Buffer.concat([Buffer.from([first]), length, Buffer.alloc(4), bytes]);
};
const get = (path, more = '') => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${more}\r\n`;
const upgrade = get(
  '/v1/link',
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: flopd.v1\r\n',
);
/** Name, bytes, and what follows the challenge where it is a session. */
const cases = [
  ['a request without a token', get('/v1/jobs')],
  ['a request for another host', 'GET /v1/jobs HTTP/1.1\r\nHost: evil.example\r\n\r\n'],
  ['a header of 64 KiB', get('/', `X: ${'x'.repeat(65_536)}\r\n`)],
  ['an unmasked frame', upgrade, Buffer.from([0x81, 2, 0x68, 0x69])],
  ['a frame of 1 TiB', upgrade, Buffer.from([0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
  ['a message that is none', upgrade, masked(0x81, '{"type":"hello"}')],
  ['JSON nested 10 000 deep', upgrade, masked(0x81, '['.repeat(10_000))],
  ['no TLS', Buffer.alloc(512, 0x41)],
];

function start(args, readyFile) {
  const child = spawn(process.execPath, args, {
    stdio: 'ignore',
    cwd: root,
    env: { ...process.env, HOME: folder },
  });
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`ended with ${code}: ${args.join(' ')}`)));
    const look = setInterval(() => {
      if (!existsSync(readyFile)) return;
      clearInterval(look);
      child.removeAllListeners('exit');
      resolve({ child, ready: readFileSync(readyFile, 'utf8') });
    }, 20);
  });
}

const cpuMs = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
};
const rssBytes = (pid) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;

function one({ port, ca }, [, request, frame]) {
  return new Promise((resolve) => {
    const isTls = ca !== null && typeof request === 'string';
    const socket = isTls
      ? connectTls({ host: '127.0.0.1', port, ca, checkServerIdentity: () => undefined })
      : connect(port, '127.0.0.1');
    let told = false;
    socket.on('error', () => {});
    socket.on('close', resolve);
    socket.on(isTls ? 'secureConnect' : 'connect', () => socket.write(request));
    socket.on('data', (chunk) => {
      if (frame === undefined) return;
      if (!told && chunk.includes('challenge')) {
        told = true;
        socket.write(frame);
        // The close frame, or the error and then it.
      } else if (told && (chunk[0] === 0x88 || chunk.includes(Buffer.from([0x11, 0x30])))) socket.destroy();
    });
    socket.setTimeout(10_000, () => socket.destroy());
  });
}

async function measure(server, what) {
  const work = async (count) => {
    let left = count;
    const worker = async () => {
      while (left-- > 0) await one(server, what);
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
  };
  await work(200);
  const before = { cpu: cpuMs(server.pid), rss: rssBytes(server.pid) };
  await work(each);
  return {
    cpuMs: (cpuMs(server.pid) - before.cpu) / each,
    bytes: (rssBytes(server.pid) - before.rss) / each,
  };
}

const children = [];
/** Below the packages that it imports. */
const script = join(root, 'node_modules', `.flopd-bench-${process.pid}.mjs`);
const rows = [];
try {
  writeFileSync(script, bare);
  for (const mode of ['off', 'on']) {
    const stateDir = join(folder, mode);
    const readyFile = join(folder, `${mode}.json`);
    const own = await start(
      [
        'dist/flopd.js',
        'scheduler',
        '--state-dir',
        stateDir,
        '--listen',
        '127.0.0.1:0',
        '--tls',
        mode,
        '--log-level',
        'warn',
        '--ready-file',
        readyFile,
      ],
      readyFile,
    );
    children.push(own.child);
    const ca = mode === 'on' ? readFileSync(join(stateDir, 'scheduler', 'ca.pem'), 'utf8') : null;
    const scheduler = { pid: own.child.pid, port: Number(new URL(JSON.parse(own.ready).url).port), ca };
    const files = mode === 'on' ? makePair() : [];
    const floorReady = join(folder, `${mode}.port`);
    const other = await start([script, floorReady, ...files], floorReady);
    children.push(other.child);
    const floor = {
      pid: other.child.pid,
      port: Number(other.ready),
      ca: files[0] === undefined ? null : readFileSync(files[0], 'utf8'),
    };
    for (const what of cases) {
      if (what[0] === 'no TLS' && mode === 'off') continue;
      const ours = await measure(scheduler, what);
      const theirs = await measure(floor, what);
      rows.push({
        tls: mode,
        what: what[0],
        ...ours,
        floorCpuMs: theirs.cpuMs,
        ratio: ours.cpuMs / theirs.cpuMs,
      });
    }
  }
} finally {
  for (const child of children) child.kill('SIGKILL');
  rmSync(script, { force: true });
  rmSync(folder, { recursive: true, force: true });
}

/** A certificate for the floor: of the same kind of key as the scheduler's. */
function makePair() {
  const key = join(folder, 'key.pem');
  const cert = join(folder, 'cert.pem');
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
    ],
    { stdio: 'ignore' },
  );
  return [cert, key];
}

if (process.argv.includes('--json')) console.log(JSON.stringify(rows));
else
  for (const row of rows)
    console.log(
      `${row.tls === 'on' ? 'TLS  ' : 'plain'}  ${row.what.padEnd(28)} ${row.cpuMs.toFixed(3)} ms CPU  (bare ${row.floorCpuMs.toFixed(3)}, ${row.ratio.toFixed(2)} x)  ${(row.bytes / 1024).toFixed(1)} KiB`,
    );
