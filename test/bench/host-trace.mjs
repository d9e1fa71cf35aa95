// Windows of this very host for the benches: from the native reader where the addon is built, else from the same
// files of /proc, read at 10 Hz by a few lines of script. Says which of the two it was.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const WINDOW_MS = 1000;
const TICKS = 10;
const addon = fileURLToPath(new URL('../../native/build/flopd.node', import.meta.url));

/** Records `count` windows of one second; `load(window)` is called after each, to make the host do something. */
export async function recordTrace(count, load = () => {}) {
  const native = loadReader();
  if (native === null) {
    return {
      source: '/proc, read at 10 Hz by the bench (the addon is not built)',
      windows: await fromProc(count, load),
    };
  }
  return { source: 'the native reader at 10 Hz', windows: await fromReader(native, count, load) };
}

function loadReader() {
  try {
    const native = createRequire(import.meta.url)(addon);
    return typeof native.openReader === 'function' ? native : null;
  } catch {
    return null;
  }
}

async function fromReader(native, count, load) {
  native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: WINDOW_MS / TICKS });
  const windows = [];
  let columns = [];
  let generation = -1;
  try {
    while (windows.length < count) {
      await sleep(WINDOW_MS);
      const header = new Float64Array(8);
      const values = new Float64Array(columns.length * 4);
      const reasons = new Uint8Array(columns.length);
      const written = native.takeWindow(header, values, reasons);
      if (written !== columns.length || header[0] !== generation) {
        columns = native.readerColumns().map(({ family, label }) => ({ family, owner: 'host', label }));
        generation = header[0];
        windows.length = 0;
        continue;
      }
      const [, sequence, ticks, startNs, endNs] = header;
      windows.push({
        generation,
        columns,
        sequence,
        endMs: Date.now(),
        durationMs: (endNs - startNs) / 1e6,
        ticks,
        values,
        reasons,
      });
      load(windows.length);
    }
  } finally {
    native.closeReader();
  }
  return windows;
}

async function fromProc(count, load) {
  const windows = [];
  let columns = null;
  const before = new Map();
  let due = performance.now();
  let start = due;
  while (windows.length < count) {
    let sums = null;
    for (let tick = 0; tick < TICKS; tick += 1) {
      due += WINDOW_MS / TICKS;
      await sleep(Math.max(0, due - performance.now()));
      const row = readProc(before);
      if (columns === null)
        columns = [...row.keys()].map((key) => ({
          family: key.split('{')[0],
          owner: 'host',
          label: /\{(.*)\}/.exec(key)?.[1] ?? null,
        }));
      const list = [...row.values()];
      sums ??= list.map(() => ({ min: Infinity, max: -Infinity, sum: 0, last: 0 }));
      for (let at = 0; at < sums.length; at += 1) {
        const one = sums[at];
        const value = list[at] ?? Number.NaN;
        one.min = Math.min(one.min, value);
        one.max = Math.max(one.max, value);
        one.sum += value;
        one.last = value;
      }
    }
    const end = performance.now();
    const values = new Float64Array(columns.length * 4);
    columns.forEach(({ family }, at) => {
      const counter = family.endsWith('Total');
      const { min, max, sum, last } = sums[at];
      values.set(
        counter ? [Number.NaN, Number.NaN, Number.NaN, last] : [min, sum / TICKS, max, last],
        at * 4,
      );
    });
    windows.push({
      generation: 1,
      columns,
      sequence: windows.length + 1,
      endMs: Date.now(),
      durationMs: end - start,
      ticks: TICKS,
      values,
      reasons: new Uint8Array(columns.length),
    });
    start = end;
    load(windows.length);
  }
  return windows;
}

function readProc(before) {
  const row = new Map();
  const modes = ['user', 'nice', 'system', 'idle', 'iowait', 'irq', 'softirq', 'steal'];
  for (const line of readFileSync('/proc/stat', 'latin1').split('\n')) {
    const [name, ...rest] = line.split(/\s+/);
    const numbers = rest.map(Number);
    if (name?.startsWith('cpu')) {
      const total = numbers.slice(0, 8).reduce((sum, one) => sum + one, 0);
      const busy = total - numbers[3] - numbers[4];
      const [lastTotal, lastBusy, lastRatio] = before.get(name) ?? [0, 0, 0];
      const ratio = total > lastTotal ? (busy - lastBusy) / (total - lastTotal) : lastRatio;
      before.set(name, [total, busy, ratio]);
      if (name === 'cpu') {
        row.set('cpu.busyRatio', ratio);
        for (const [at, mode] of modes.entries()) row.set(`cpu.secondsTotal{${mode}}`, numbers[at] / 100);
      } else row.set(`cpu.coreBusyRatio{${name.slice(3)}}`, ratio);
    } else if (name === 'ctxt') row.set('cpu.contextSwitchesTotal', numbers[0]);
    else if (name === 'procs_running') row.set('cpu.runnableTasks', numbers[0]);
    else if (name === 'procs_blocked') row.set('cpu.blockedTasks', numbers[0]);
  }
  const loads = readFileSync('/proc/loadavg', 'latin1').split(' ').map(Number);
  for (const [at, name] of ['load1', 'load5', 'load15'].entries()) row.set(`cpu.${name}`, loads[at]);
  const memory = Object.fromEntries(
    readFileSync('/proc/meminfo', 'latin1')
      .split('\n')
      .map((line) => [line.split(':')[0], Number(line.split(/\s+/)[1]) * 1024]),
  );
  row.set('memory.totalBytes', memory.MemTotal);
  row.set('memory.usedBytes', memory.MemTotal - memory.MemAvailable);
  row.set('memory.availableBytes', memory.MemAvailable);
  row.set('memory.freeBytes', memory.MemFree);
  row.set('memory.cachedBytes', memory.Cached);
  row.set('memory.buffersBytes', memory.Buffers);
  row.set('memory.swapTotalBytes', memory.SwapTotal);
  row.set('memory.swapFreeBytes', memory.SwapFree);
  for (const line of readFileSync('/proc/diskstats', 'latin1').split('\n')) {
    const f = line.trim().split(/\s+/);
    if (f.length < 14 || /^(loop|ram|zram)/.test(f[2])) continue;
    const set = (name, value) => row.set(`disk.${name}{${f[2]}}`, value);
    set('readBytesTotal', f[5] * 512);
    set('writtenBytesTotal', f[9] * 512);
    set('readsTotal', Number(f[3]));
    set('writesTotal', Number(f[7]));
    set('busySecondsTotal', f[12] / 1000);
  }
  for (const line of readFileSync('/proc/net/dev', 'latin1').split('\n').slice(2)) {
    const [name, rest] = line.split(':');
    if (rest === undefined) continue;
    const f = rest.trim().split(/\s+/).map(Number);
    const set = (key, value) => row.set(`network.${key}{${name.trim()}}`, value);
    for (const [at, key] of ['Bytes', 'Packets', 'Errors', 'Drops'].entries()) {
      set(`receive${key}Total`, f[at]);
      set(`transmit${key}Total`, f[8 + at]);
    }
  }
  return row;
}
