// What a node-sample costs on the wire: an agent with its default telemetry, whose connection to a scheduler goes through
// a relay of ours. Without TLS the relay reads the WebSocket frames themselves; with TLS it counts records and bytes.
//   node test/bench/wire.mjs [--seconds 30] [--json]
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { numberFlag, pause } from './network.mjs';

const root = join(import.meta.dirname, '..', '..');
const program = join(root, 'dist', 'flopd.js');
const READY_DEADLINE_MS = 30_000;
/** Ethernet, IPv4 and TCP with its timestamps, of each packet that carries bytes. */
const PACKET_HEAD_BYTES = 14 + 20 + 32;
const RECORD_HEAD_BYTES = 5;
/** Tag of the cipher, and the inner type. */
const RECORD_TAIL_BYTES = 17;

const seconds = numberFlag('seconds', 30);
const asJson = process.argv.includes('--json');

/** Passes connections on, and tells of the bytes that the agent sends on its longest connection. */
function startRelay(port) {
  const relay = { streams: [], server: null, port: 0 };
  const sockets = new Set();
  relay.server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    const stream = { chunks: [], packets: 0 };
    relay.streams.push(stream);
    near.on('data', (chunk) => {
      stream.chunks.push(chunk);
      stream.packets += 1;
    });
    near.pipe(far);
    far.pipe(near);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(one);
      one.on('error', () => one.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  relay.close = () => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => relay.server.close(resolve));
  };
  return new Promise((resolve) =>
    relay.server.listen(0, '127.0.0.1', () => {
      relay.port = relay.server.address().port;
      resolve(relay);
    }),
  );
}

async function untilReady(child, file) {
  for (const end = performance.now() + READY_DEADLINE_MS; !existsSync(file); await pause(10))
    if (child.exitCode !== null || performance.now() > end) throw new Error('a daemon did not become ready');
  return JSON.parse(readFileSync(file, 'utf8'));
}

function start(args, stateDir) {
  const child = spawn(process.execPath, [program, ...args, '--state-dir', stateDir, '--log-level', 'error'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  child.gone = new Promise((resolve) => child.once('exit', resolve));
  return child;
}

/** The frames of a WebSocket's client, after its request. */
function readFrames(bytes) {
  const frames = [];
  for (let at = bytes.indexOf('\r\n\r\n') + 4; at + 6 <= bytes.length; ) {
    const opcode = bytes[at] & 0x0f;
    let length = bytes[at + 1] & 0x7f;
    let head = 2;
    if (length === 126) {
      length = bytes.readUInt16BE(at + 2);
      head = 4;
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(at + 2));
      head = 10;
    }
    if (at + head + 4 + length > bytes.length) break;
    frames.push({ opcode, bytes: length, head: head + 4 });
    at += head + 4 + length;
  }
  return frames;
}

function readRecords(bytes) {
  const sizes = [];
  for (let at = 0; at + 5 <= bytes.length; ) {
    const length = bytes.readUInt16BE(at + 3);
    if (bytes[at] === 23) sizes.push(length);
    at += 5 + length;
  }
  return sizes;
}

async function measure(isTls) {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-wire-'));
  const stop = [];
  try {
    const scheduler = start(
      [
        'scheduler',
        '--listen',
        '127.0.0.1:0',
        '--ready-file',
        join(folder, 's.json'),
        '--tls',
        isTls ? 'on' : 'off',
      ],
      join(folder, 's'),
    );
    stop.push(scheduler);
    const { url } = await untilReady(scheduler, join(folder, 's.json'));
    const relay = await startRelay(Number(new URL(url).port));
    stop.push({ kill: () => {}, gone: null, relay });
    const through = `${new URL(url).protocol}//127.0.0.1:${relay.port}`;
    const ca = isTls ? ['--ca-file', join(folder, 's', 'scheduler', 'ca.pem')] : [];
    const token = join(folder, 's', 'scheduler', 'join-token');
    // The relay is in this process: it must go on meanwhile.
    await promisify(execFile)(process.execPath, [
      ...[program, 'join', through, '--token-file', token, '--state-dir', join(folder, 'a'), ...ca],
    ]);
    relay.streams.length = 0;
    const agent = start(
      ['agent', '--metrics-listen', '127.0.0.1:0', '--ready-file', join(folder, 'a.json')],
      join(folder, 'a'),
    );
    stop.push(agent);
    await untilReady(agent, join(folder, 'a.json'));
    // The inventory, the dictionary and the first full frames are of the start.
    await pause(10_000);
    const [stream] = relay.streams;
    const before = { chunks: stream.chunks.length, packets: stream.packets };
    await pause(seconds * 1000);
    const bytes = Buffer.concat(stream.chunks.slice(before.chunks));
    return {
      connections: relay.streams.length,
      bytes: bytes.length,
      packets: stream.packets - before.packets,
      // A frame may be cut at the beginning of what is looked at: the whole stream is read, and its tail taken.
      frames: isTls ? null : readFrames(Buffer.concat(stream.chunks)),
      records: isTls ? readRecords(Buffer.concat(stream.chunks)) : null,
    };
  } finally {
    for (const one of stop.reverse()) {
      one.kill('SIGTERM');
      await one.gone;
      await one.relay?.close();
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

const mean = (numbers) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
const plain = await measure(false);
const samples = plain.frames.filter(({ opcode }) => opcode === 2).slice(-seconds);
const texts = plain.frames.filter(({ opcode }) => opcode === 1).slice(-Math.floor(seconds / 2));
const frameBytes = mean(samples.map(({ bytes }) => bytes));
const headBytes = mean(samples.map(({ head }) => head));
const tls = await measure(true);
const result = {
  seconds,
  frameBytes,
  webSocketHeadBytes: headBytes,
  tlsBytes: RECORD_HEAD_BYTES + RECORD_TAIL_BYTES,
  sampleBytes: frameBytes + headBytes + RECORD_HEAD_BYTES + RECORD_TAIL_BYTES,
  heartbeatBytes: mean(texts.map(({ bytes, head }) => bytes + head)) + RECORD_HEAD_BYTES + RECORD_TAIL_BYTES,
  measuredPlainBytesPerSecond: plain.bytes / seconds,
  measuredTlsBytesPerSecond: tls.bytes / seconds,
  measuredTlsRecordsPerSecond: tls.records.length / (seconds + 10),
  measuredCableBytesPerSecond: (tls.bytes + tls.packets * PACKET_HEAD_BYTES) / seconds,
  connections: tls.connections,
};
if (asJson) console.log(JSON.stringify(result));
else {
  const one = (number) => number.toFixed(1);
  console.log(`a sample a second, over ${seconds} s, ${result.connections} connection`);
  console.log(
    `frame ${one(frameBytes)} B, in its WebSocket frame + ${one(headBytes)} B, in its TLS record + ${result.tlsBytes} B: ${one(result.sampleBytes)} B (${(result.sampleBytes / frameBytes).toFixed(2)} × the frame)`,
  );
  console.log(`a heartbeat every two seconds, of ${one(result.heartbeatBytes)} B likewise`);
  console.log(
    `measured, heartbeats and all: ${one(result.measuredPlainBytesPerSecond)} B/s without TLS, ${one(result.measuredTlsBytesPerSecond)} B/s with, ${one(result.measuredCableBytesPerSecond)} B/s with the heads of its packets`,
  );
}
