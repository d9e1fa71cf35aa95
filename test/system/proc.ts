// The machine as /proc tells it, for comparison with what flopd says.
import { readFileSync } from 'node:fs';

export interface ProcReading {
  readonly wallMs: number;
  /** Seconds since boot per mode. */
  readonly cpuSeconds: Readonly<Record<string, number>>;
  readonly memory: Readonly<Record<string, number>>;
  readonly receiveBytes: Readonly<Record<string, number>>;
  readonly transmitBytes: Readonly<Record<string, number>>;
  readonly readBytes: Readonly<Record<string, number>>;
  readonly writtenBytes: Readonly<Record<string, number>>;
  readonly load1: number;
}

const modes = ['user', 'nice', 'system', 'idle', 'iowait', 'irq', 'softirq', 'steal'];
const TICKS_PER_SECOND = 100;
const SECTOR_BYTES = 512;

export function readProc(): ProcReading {
  const read = (name: string): string => readFileSync(`/proc/${name}`, 'utf8');
  const cpu = (read('stat').split('\n')[0] ?? '').trim().split(/\s+/).slice(1).map(Number);
  const memory: Record<string, number> = {};
  for (const line of read('meminfo').split('\n')) {
    const [name, kib] = line.split(/:\s+/);
    if (name !== undefined && kib !== undefined) memory[name] = Number.parseInt(kib, 10) * 1024;
  }
  const receiveBytes: Record<string, number> = {};
  const transmitBytes: Record<string, number> = {};
  for (const line of read('net/dev').split('\n').slice(2)) {
    const [name, rest] = line.trim().split(/:\s*/);
    const fields = rest?.split(/\s+/).map(Number);
    if (name === undefined || fields === undefined) continue;
    receiveBytes[name] = fields[0] ?? Number.NaN;
    transmitBytes[name] = fields[8] ?? Number.NaN;
  }
  const readBytes: Record<string, number> = {};
  const writtenBytes: Record<string, number> = {};
  for (const line of read('diskstats').trim().split('\n')) {
    const fields = line.trim().split(/\s+/);
    const name = fields[2] ?? '';
    readBytes[name] = Number(fields[5]) * SECTOR_BYTES;
    writtenBytes[name] = Number(fields[9]) * SECTOR_BYTES;
  }
  return {
    wallMs: Date.now(),
    cpuSeconds: Object.fromEntries(
      modes.map((mode, at) => [mode, (cpu[at] ?? Number.NaN) / TICKS_PER_SECOND]),
    ),
    memory,
    receiveBytes,
    transmitBytes,
    readBytes,
    writtenBytes,
    load1: Number(read('loadavg').split(' ')[0]),
  };
}

/** Share of CPU time between two readings that was neither idle nor waiting for I/O. */
export function busyBetween(before: ProcReading, after: ProcReading): number {
  let all = 0;
  let idle = 0;
  for (const [mode, seconds] of Object.entries(after.cpuSeconds)) {
    const spent = seconds - (before.cpuSeconds[mode] ?? 0);
    all += spent;
    if (mode === 'idle' || mode === 'iowait') idle += spent;
  }
  return 1 - idle / all;
}
