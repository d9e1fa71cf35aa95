// Bytes per window on the wire against what the trace carries in information and against JSON, and the time that
// encoding and decoding take. Usage: node test/bench/frame.mjs [windows of a second, default 300]
//
// The entropy is an estimate from outside the codec: per statistic of each family, the empirical entropy (order 0)
// of the cheapest of three residual sequences (the value, its change, the change of its change), in the resolution
// of the family, pooled over the columns of the family. It takes no account of what the columns tell about each other,
// and of a short trace it says too little: nearly every value is new, and costs more than the estimate knows.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';
import { rolldown } from 'rolldown';
import { recordTrace } from './host-trace.mjs';

const count = Number(process.argv[2] ?? 300);
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'flopd-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const frame = await load('src/protocol/frame.ts');
const { columnFamilies } = await load('src/protocol/columns.ts');

// Half of the trace idle, half with work: what a node sees.
const busy = (sequence) => {
  if (sequence < count / 2 || sequence % 5 > 1) return;
  for (const until = performance.now() + 300; performance.now() < until; );
};
const { source, windows } = process.env.TRACE ? v8load(process.env.TRACE) : await recordTrace(count, busy);
const columns = windows[0].columns.length;
const encoder = frame.createFrameEncoder();
const frames = windows.map((window) => encoder.encode(window));
const steady = frames.slice(1);
const bytes = mean(steady.map((each) => each.length));
const entropyBytes = entropyBits(windows) / 8 / (windows.length - 1);
const jsonBytes = mean(windows.slice(1).map((window) => Buffer.byteLength(json(window))));
const yardstick = brotliBytes(windows) / windows.length;

print('trace', `${windows.length} windows of ${columns} columns, ${source}`);
if (windows.length < 300) print('note', 'so few windows make the entropy look smaller than it is');
print('key frame', `${frames[0].length} bytes`);
print('frame', `${bytes.toFixed(1)} bytes a window (median ${median(steady.map((each) => each.length))})`);
print(
  'entropy estimate',
  `${entropyBytes.toFixed(1)} bytes a window; frame is ${(bytes / entropyBytes).toFixed(2)} x (goal 1.2)`,
);
print(
  'whole trace as changes, by column, brotli 11',
  `${yardstick.toFixed(1)} bytes a window; frame is ${(bytes / yardstick).toFixed(2)} x`,
);
print(
  'JSON of present values',
  `${jsonBytes.toFixed(0)} bytes a window; frame is 1/${(jsonBytes / bytes).toFixed(1)} (goal 1/20)`,
);

const dictionary = frame.dictionaryOf(windows[0]);
const encodeNs = timeNs(() => {
  const one = frame.createFrameEncoder();
  for (const window of windows) one.encode(window);
});
const scratch = frame.createFrameScratch();
const decodeNs = timeNs(() => {
  const one = frame.createFrameDecoder(dictionary, scratch);
  for (const each of frames) one.decode(each);
});
const jsonNs = timeNs(() => {
  for (const window of windows) JSON.parse(json(window));
});
print('encode', `${encodeNs.toFixed(0)} ns a window`);
print(
  'decode',
  `${decodeNs.toFixed(0)} ns a window; JSON there and back is ${(jsonNs / (encodeNs + decodeNs)).toFixed(1)} x both`,
);

async function load(path) {
  const bundle = await rolldown({ input: `${root}${path}`, platform: 'node' });
  const file = join(folder, `${path.replaceAll('/', '-')}.mjs`);
  await bundle.write({ file, format: 'esm' });
  await bundle.close();
  return import(pathToFileURL(file).href);
}

function json(window) {
  const values = {};
  window.columns.forEach(({ family, label }, at) => {
    const name = label === null ? family : `${family}{${label}}`;
    const [min, avg, max, last] = window.values.subarray(at * 4, at * 4 + 4);
    if (window.reasons[at] !== 0) values[name] = null;
    else values[name] = Number.isNaN(min) ? last : [min, avg, max, last];
  });
  return JSON.stringify({
    sequence: window.sequence,
    endMs: window.endMs,
    durationMs: window.durationMs,
    ticks: window.ticks,
    values,
  });
}

/** Integers of one statistic of one column over the trace. */
function series(column, at) {
  const { resolution } = columnFamilies[windows[0].columns[column].family];
  return windows.map((window) => Math.round(window.values[column * 4 + at] / resolution));
}

function changes(values) {
  return values.slice(1).map((value, at) => value - values[at]);
}

function entropyBits() {
  const pools = new Map();
  windows[0].columns.forEach(({ family }, column) => {
    for (let at = columnFamilies[family].kind === 'gauge' ? 0 : 3; at < 4; at += 1) {
      const key = `${family} ${at}`;
      const values = series(column, at);
      const pool = pools.get(key) ?? [[], [], []];
      pools.set(key, pool);
      pool[0].push(...values.slice(1));
      pool[1].push(...changes(values));
      pool[2].push(0, ...changes(changes(values)));
    }
  });
  let bits =
    orderZero(changes(changes(windows.map((window) => Math.round(window.endMs))))) +
    orderZero(changes(windows.map((window) => Math.round(window.durationMs))));
  const detail = [];
  for (const [key, pool] of pools) {
    const b = Math.min(...pool.map(orderZero));
    bits += b;
    detail.push([key, b]);
  }
  if (process.env.DETAIL)
    for (const [k, b] of detail.sort((a, z) => z[1] - a[1]).slice(0, 25))
      console.log(k, (b / 8 / (windows.length - 1)).toFixed(2));
  return bits;
}

/** Bits of the sequence under its own frequencies. */
function orderZero(sequence) {
  const counts = new Map();
  for (const one of sequence) counts.set(one, (counts.get(one) ?? 0) + 1);
  let bits = 0;
  for (const many of counts.values()) bits -= many * Math.log2(many / sequence.length);
  return bits;
}

function brotliBytes() {
  const all = [];
  windows[0].columns.forEach(({ family }, column) => {
    for (let at = columnFamilies[family].kind === 'gauge' ? 0 : 3; at < 4; at += 1)
      all.push(...changes(series(column, at)));
  });
  const bytes = Buffer.alloc(all.length * 8);
  all.forEach((value, at) => {
    bytes.writeDoubleLE(Number.isNaN(value) ? 0 : value, at * 8);
  });
  return brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 },
  }).length;
}

/** Fastest of many runs over the trace, per window: the machine is shared. */
function timeNs(run) {
  let best = Infinity;
  const until = performance.now() + 1500;
  while (performance.now() < until) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  return (best * 1e6) / windows.length;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

function print(name, text) {
  console.log(`${name.padEnd(46)} ${text}`);
}
