// What `flopd devices -o json` prints: this host, how each vendor is read, and its accelerators.
import * as z from 'zod';
import { deviceViewSchema } from './device-view.ts';

const number = z.number().nullable();
const numbers = z.record(z.string(), number);
const groups = z.record(z.string(), numbers);

/** As `HostView` of api.ts, with static facts that cost nothing to read. */
const hostSchema = z.strictObject({
  sampledAt: z.string(),
  cpu: z.strictObject({
    busyRatio: number,
    coreBusyRatio: numbers,
    secondsTotal: numbers,
    load1: number,
    load5: number,
    load15: number,
    clockHertz: number,
  }),
  memory: z.strictObject({
    totalBytes: number,
    usedBytes: number,
    availableBytes: number,
    freeBytes: number,
    swapTotalBytes: number,
    swapFreeBytes: number,
  }),
  disks: groups,
  network: groups,
  storage: groups,
  pressure: groups,
  powerWatts: number,
  energyJoulesTotal: number,
  sensors: groups,
  absent: z.record(z.string(), z.string()),
  inventory: z.strictObject({
    hostname: z.string(),
    kernel: z.string(),
    architecture: z.string(),
    cpuModel: z.string().nullable(),
    cpuThreads: z.number(),
    memoryBytes: z.number(),
    /** What this process may use: the least of the machine, its affinity and its cgroups. */
    usableCpus: z.number(),
    usableMemoryBytes: z.number(),
  }),
});

/** How a vendor's devices are read; null where it has none here, or they cannot be read. */
export const backendsSchema = z.record(z.string(), z.enum(['native', 'cli', 'simulated']).nullable());
export type Backends = z.output<typeof backendsSchema>;

export const devicesDocumentSchema = z.strictObject({
  host: hostSchema,
  backends: backendsSchema,
  devices: z.array(deviceViewSchema),
});
export type DevicesDocument = z.output<typeof devicesDocumentSchema>;
