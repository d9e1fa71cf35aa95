// What reading the host costs, beside its floor: a C program that does the same reads at the same pace and nothing
// more (test/bench/floor/reader.c). Both run at the same time, on the same machine, for the same while.
//
//   node test/bench/agent-cost.mjs [--seconds N] [--period MS] [--agent PID] [--json]
//
// Without --agent a bare Node opens the reader and takes a window each second; with it a running agent is measured.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const CPU_GOAL = 2;
const RSS_GOAL_BYTES = 55e6;

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '20' },
    period: { type: 'string', default: '100' },
    agent: { type: 'string' },
    json: { type: 'boolean', default: false },
    // How the script calls itself, as the process that is measured.
    role: { type: 'string' },
  },
});
const seconds = Number(options.seconds);
const periodMs = Number(options.period);
if (!(seconds > 0) || !Number.isInteger(periodMs)) {
  console.error('usage: agent-cost.mjs [--seconds N] [--period MS] [--agent PID] [--json]');
  process.exit(2);
}
const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * CPU seconds of a process and its resident bytes. /proc/PID/stat counts in steps of 10 ms, too coarse for what costs
 * 2 ms a second; the threads' schedstat counts nanoseconds, but forgets threads that ended, so it holds only where the two agree.
 */
function costOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    steppedSeconds: (Number(fields[11]) + Number(fields[12])) / 100,
    exactSeconds: exactCpuSeconds(pid),
    rssBytes: Number(/VmRSS:\s*(\d+)/.exec(status)?.[1] ?? Number.NaN) * 1024,
  };
}

function exactCpuSeconds(pid) {
  let ns = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const path = `/proc/${pid}/task/${thread}/schedstat`;
    if (existsSync(path)) ns += Number(readFileSync(path, 'utf8').split(' ')[0]);
  }
  return ns / 1e9;
}

function cpuBetween(before, after) {
  const stepped = after.steppedSeconds - before.steppedSeconds;
  const exact = after.exactSeconds - before.exactSeconds;
  return exact > stepped - 0.03 ? exact : stepped;
}

async function openReaderAndTakeWindows() {
  const { createRequire } = await import('node:module');
  const native = createRequire(import.meta.url)(join(root, 'native/build/flopd.node'));
  native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs });
  let columns = native.readerColumns().length;
  let values = new Float64Array(columns * 4);
  let reasons = new Uint8Array(columns);
  const header = new Float64Array(8);
  let generation = 0;
  let busyNs = 0;
  let ticks = 0;
  setInterval(() => {
    const count = native.takeWindow(header, values, reasons);
    busyNs += header[5];
    ticks += header[2];
    if (count === columns && (generation === 0 || header[0] === generation)) {
      generation = header[0];
      return;
    }
    columns = native.readerColumns().length;
    values = new Float64Array(columns * 4);
    reasons = new Uint8Array(columns);
    generation = header[0];
  }, 1000);
  process.on('message', () => process.send({ tickMicros: busyNs / ticks / 1000, columns }));
  process.send('ready');
}

/** Compiles and starts the floor; resolves to its own figures when it ends. */
async function runFloor(folder) {
  const program = join(folder, 'floor');
  const source = join(root, 'test/bench/floor/reader.c');
  execFileSync(process.env.CC ?? 'cc', ['-O2', source, '-o', program]);
  return () => {
    const child = spawn(program, [String(seconds), String(periodMs)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    return once(child, 'close').then(() =>
      Object.fromEntries(
        text
          .trim()
          .split(' ')
          .map((pair) => pair.split('=')),
      ),
    );
  };
}

const self = fileURLToPath(import.meta.url);
function startNode(role) {
  const args = [self, '--role', role, '--period', String(periodMs)];
  return spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}

async function main() {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-bench-'));
  const bare = startNode('bare');
  const reader = options.agent === undefined ? startNode('reader') : null;
  try {
    await once(bare, 'message');
    if (reader !== null) await once(reader, 'message');
    const startFloor = await runFloor(folder);
    const pid = options.agent ?? reader?.pid;
    await sleep(2000); // past the start
    const before = { subject: costOf(pid), bare: costOf(bare.pid) };
    const floor = await startFloor();
    const after = { subject: costOf(pid), bare: costOf(bare.pid) };
    let inside = null;
    if (reader !== null) {
      reader.send('how much');
      [inside] = await once(reader, 'message');
    }
    const cpuSeconds = cpuBetween(before.subject, after.subject);
    report({
      seconds,
      periodMs,
      subject: options.agent === undefined ? 'node with the reader' : `agent ${pid}`,
      cpuSeconds,
      floorCpuSeconds: Number(floor.cpuSeconds),
      ratio: cpuSeconds / Number(floor.cpuSeconds),
      bareNodeCpuSeconds: cpuBetween(before.bare, after.bare),
      tickMicros: inside?.tickMicros ?? null,
      floorTickMicros: (Number(floor.cpuSeconds) / Number(floor.ticks)) * 1e6,
      columns: inside?.columns ?? null,
      rssBytes: after.subject.rssBytes,
      bareNodeRssBytes: after.bare.rssBytes,
      floorRssBytes: Number(floor.rssBytes),
    });
  } finally {
    bare.kill('SIGKILL');
    reader?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

function report(figures) {
  if (options.json) {
    console.log(JSON.stringify(figures));
    return;
  }
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  const micros = (value) => (value === null ? '-' : `${value.toFixed(0)} µs`);
  const perSecond = (cpu) => `${((cpu / seconds) * 100).toFixed(2)} %`;
  const rows = [
    ['', figures.subject, 'floor in C', 'bare node'],
    [
      'CPU seconds',
      figures.cpuSeconds.toFixed(3),
      figures.floorCpuSeconds.toFixed(3),
      figures.bareNodeCpuSeconds.toFixed(3),
    ],
    [
      'of one core',
      perSecond(figures.cpuSeconds),
      perSecond(figures.floorCpuSeconds),
      perSecond(figures.bareNodeCpuSeconds),
    ],
    ['a tick', micros(figures.tickMicros), micros(figures.floorTickMicros), ''],
    [
      'RSS',
      megabytes(figures.rssBytes),
      megabytes(figures.floorRssBytes),
      megabytes(figures.bareNodeRssBytes),
    ],
  ];
  console.log(`${figures.seconds} s at ${figures.periodMs} ms`);
  for (const row of rows)
    console.log(row.map((cell, i) => (i === 0 ? cell.padEnd(12) : cell.padStart(22))).join(''));
  console.log(
    `CPU ratio to the floor ${figures.ratio.toFixed(2)} (goal ${CPU_GOAL.toFixed(1)}), RSS goal ${megabytes(RSS_GOAL_BYTES)}`,
  );
}

if (options.role === 'reader') await openReaderAndTakeWindows();
else if (options.role === 'bare') {
  setInterval(() => {}, 1000);
  process.on('message', () => {});
  process.send('ready');
} else await main();
