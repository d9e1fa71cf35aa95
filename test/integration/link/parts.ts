// A real link over a real socket to the fake scheduler, with jobs' output held in memory.
import { createClock } from '../../../src/base/clock.ts';
import type { LinkHandlers } from '../../../src/link/handlers.ts';
import { createLink, type Link } from '../../../src/link/link.ts';
import type { SocketFactory } from '../../../src/link/socket.ts';
import { type LinkTiming, linkTiming } from '../../../src/link/timing.ts';
import type { HeldJob, JobReport } from '../../../src/protocol/control.ts';
import { createKeptLog, helloOf, type KeptLog, noExec } from '../../unit/link/parts.ts';

export const fastTiming: LinkTiming = {
  ...linkTiming,
  minBackoffMs: 5,
  maxBackoffMs: 40,
  refusedWaitMs: 60,
  resendMs: 200,
};

export interface TestLink {
  readonly link: Link;
  readonly log: KeptLog;
  readonly acknowledged: string[];
  readonly delivered: Map<string, { stdout: number; stderr: number }>;
  /** Bytes per `jobId.epoch.stream`. */
  readonly files: Map<string, Buffer>;
  readonly jobs: HeldJob[];
  /** Monotonic times since when leases count, as the link told them. */
  readonly contacts: number[];
  readonly reports: Map<string, JobReport>;
  /** Puts bytes at the end of a file and tells the link. */
  write(jobId: string, stream: 'stdout' | 'stderr', bytes: Buffer): void;
}

export function openTestLink(
  url: string,
  order?: LinkHandlers['order'],
  timing: LinkTiming = fastTiming,
  connect?: SocketFactory,
): TestLink {
  const log = createKeptLog();
  const files = new Map<string, Buffer>();
  const jobs: HeldJob[] = [];
  const acknowledged: string[] = [];
  const contacts: number[] = [];
  const reports: TestLink['reports'] = new Map();
  const delivered: TestLink['delivered'] = new Map();
  const sizeOf = (jobId: string, stream: string): number => files.get(`${jobId}.1.${stream}`)?.length ?? 0;
  const link = createLink({
    url,
    hello: async () => helloOf(jobs),
    handlers: {
      order: order ?? (async () => ({ outcome: 'accepted', code: null, message: null })),
      contact: (sinceMs) => void contacts.push(sinceMs),
      report: (jobId, epoch) => reports.get(`${jobId}.${epoch}`) ?? null,
      acknowledged: (jobId, epoch) => void acknowledged.push(`${jobId}.${epoch}`),
      delivered: (jobId, epoch, stdout, stderr) =>
        void delivered.set(`${jobId}.${epoch}`, { stdout, stderr }),
      async readOutput(jobId, epoch, stream, offset, limit) {
        await new Promise((resolve) => setImmediate(resolve));
        return files.get(`${jobId}.${epoch}.${stream}`)?.subarray(offset, offset + limit) ?? null;
      },
      exec: noExec,
    },
    clock: createClock(),
    log,
    random: Math.random,
    timing,
    ...(connect === undefined ? {} : { connect }),
  });
  link.open();
  return {
    link,
    log,
    acknowledged,
    delivered,
    contacts,
    reports,
    files,
    jobs,
    write(jobId, stream, bytes) {
      const key = `${jobId}.1.${stream}`;
      files.set(key, Buffer.concat([files.get(key) ?? Buffer.alloc(0), bytes]));
      link.outputGrew(jobId, 1, sizeOf(jobId, 'stdout'), sizeOf(jobId, 'stderr'));
    },
  };
}
