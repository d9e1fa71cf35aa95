// A scheduler on loopback with a state directory of its own, and a client with its token.
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, createClock } from '../../../src/base/clock.ts';
import { createSilentLog, type Log } from '../../../src/base/log.ts';
import type { JobView, NodeView } from '../../../src/protocol/api.ts';
import { followKind } from '../../../src/protocol/api.ts';
import type { JobSpecInput } from '../../../src/protocol/spec.ts';
import { type Scheduler, type SchedulerOptions, startScheduler } from '../../../src/scheduler/scheduler.ts';

export interface Bed {
  readonly scheduler: Scheduler;
  readonly stateDir: string;
  readonly url: string;
  readonly token: string;
  readonly logged: { level: string; fields: object; message: string }[];
  call(
    method: string,
    path: string,
    body?: unknown,
    token?: string | null,
  ): Promise<{ status: number; body: unknown }>;
  submit(spec?: Partial<JobSpecInput>): Promise<JobView>;
  job(id: string): Promise<JobView>;
  node(id: string): Promise<NodeView>;
  /** Polls until the job is as wished; rejects after 20 s. */
  until(id: string, fits: (job: JobView) => boolean): Promise<JobView>;
  /** What the disk holds now, as a crash would leave it, in a folder of its own. */
  crashImage(): string;
  close(): Promise<void>;
}

export function freshFolder(): string {
  return mkdtempSync(join(tmpdir(), 'flopd-scheduler-'));
}

export async function startBed(
  stateDir = freshFolder(),
  dashboardFolder: string | null = null,
  startWriter: SchedulerOptions['startWriter'] = undefined,
  clock: Clock = createClock(),
  retention: SchedulerOptions['retention'] = undefined,
): Promise<Bed> {
  const logged: { level: string; fields: object; message: string }[] = [];
  const keep = (level: string) => (fields: object, message: string) => {
    logged.push({ level, fields, message });
  };
  const log: Log = {
    ...createSilentLog(),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
    child: () => log,
  };
  const scheduler = await startScheduler({
    stateDir,
    listen: { host: '127.0.0.1', port: 0 },
    clock,
    log,
    version: '0.1.0',
    dashboardFolder,
    startWriter,
    ...(retention === undefined ? {} : { retention }),
  });
  const token = readFileSync(scheduler.tokenFile, 'utf8').trim();
  const { url } = scheduler;
  const bed: Bed = {
    scheduler,
    stateDir,
    url,
    token,
    logged,
    async call(method, path, body, given = token) {
      const headers: Record<string, string> = given === null ? {} : { authorization: `Bearer ${given}` };
      const text = body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body);
      const response = await fetch(`${url}${path}`, { method, headers, body: text });
      const answer = await response.text();
      const isJson = response.headers.get('content-type')?.startsWith('application/json') === true;
      return { status: response.status, body: isJson ? JSON.parse(answer) : answer };
    },
    async submit(spec = {}) {
      const { status, body } = await bed.call('POST', '/v1/jobs', { version: 1, command: ['true'], ...spec });
      if (status !== 201) throw new Error(`submission answered ${status}: ${JSON.stringify(body)}`);
      return body as JobView;
    },
    async job(id) {
      return (await bed.call('GET', `/v1/jobs/${id}`)).body as JobView;
    },
    async node(id) {
      return (await bed.call('GET', `/v1/nodes/${id}`)).body as NodeView;
    },
    async until(id, fits) {
      const deadline = performance.now() + 50_000;
      for (;;) {
        const job = await bed.job(id);
        if (fits(job)) return job;
        if (performance.now() > deadline) throw new Error(`job stays ${JSON.stringify(job)}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    crashImage() {
      const image = freshFolder();
      cpSync(stateDir, image, { recursive: true, filter: (path) => !path.endsWith('.lock') });
      return image;
    },
    async close() {
      await scheduler.close();
      rmSync(stateDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
  return bed;
}

export interface Followed {
  readonly jobs: JobView[];
  readonly stdout: string;
  readonly stderr: string;
}

/** Follows to the end of the response. */
export async function followJob(bed: Bed, id: string, query = ''): Promise<Followed> {
  const response = await fetch(`${bed.url}/v1/jobs/${id}/follow${query}`, {
    headers: { authorization: `Bearer ${bed.token}` },
  });
  return readFollowed(response);
}

/** The records of a follow response, read to its end. */
export async function readFollowed(response: Response): Promise<Followed> {
  const bytes = Buffer.from(await response.arrayBuffer());
  const jobs: JobView[] = [];
  const text = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes.readUInt8(at);
    const payload = bytes.subarray(at + 5, at + 5 + bytes.readUInt32BE(at + 1));
    at += 5 + payload.length;
    if (kind === followKind.job) jobs.push(JSON.parse(payload.toString()) as JobView);
    if (kind === followKind.stdout) text.stdout.push(payload);
    if (kind === followKind.stderr) text.stderr.push(payload);
  }
  return {
    jobs,
    stdout: Buffer.concat(text.stdout).toString(),
    stderr: Buffer.concat(text.stderr).toString(),
  };
}
