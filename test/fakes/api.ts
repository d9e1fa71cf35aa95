// A scheduler's HTTP API (protocol/api.ts) on a real socket, whose jobs do what a script says: for tests of clients.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { followKind, type JobView, type NodeView } from '../../src/protocol/api.ts';
import { isFinalState, type JobResult } from '../../src/protocol/result.ts';
import { jobSpecSchema } from '../../src/protocol/spec.ts';
import { totalsOfNodes } from '../../src/scheduler/fleet-totals.ts';

export const TOKEN = 'fake-token-0123456789';

/** What a fake job does once it has been submitted; returns its end. Everything goes through the handle. */
export type JobScript = (job: FakeJob) => Promise<Partial<JobResult> & Pick<JobResult, 'state'>>;

export interface FakeJob {
  readonly id: string;
  readonly view: () => JobView;
  change(part: Partial<JobView>): void;
  write(stream: 'stdout' | 'stderr', bytes: string | Uint8Array): void;
  /** Resolves when somebody has asked for cancellation. */
  readonly cancelled: Promise<void>;
}

interface HeldJob extends FakeJob {
  readonly output: { stdout: Buffer; stderr: Buffer };
  readonly followers: Set<() => void>;
}

export interface FakeApi {
  readonly url: string;
  readonly port: number;
  /** Requests so far, as `METHOD path`. */
  readonly requests: string[];
  readonly jobs: ReadonlyMap<string, FakeJob>;
  nodes: NodeView[];
  /** Cuts every connection, as a kill -9 does; the port refuses until `reopen`. */
  cut(): Promise<void>;
  reopen(): Promise<void>;
  /** Ends each follow stream after this many bytes of body; null never. */
  breakFollowAfterBytes: number | null;
  /** Answers every request with this status instead. */
  failWith: { status: number; body: string } | null;
  close(): Promise<void>;
}

export function sampleResult(part: Partial<JobResult> & Pick<JobResult, 'state'>, jobId: string): JobResult {
  return {
    version: 1,
    jobId,
    epoch: 1,
    nodeId: 'node-fake',
    endKind: 'exited',
    exitCode: part.state === 'COMPLETED' ? 0 : null,
    signal: null,
    stoppedBy: null,
    cause: 'because the script says so',
    startedAtMs: 1_700_000_000_000,
    endedAtMs: 1_700_000_001_500,
    usage: {
      durationMs: 1500,
      cpuUserSeconds: 1,
      cpuSystemSeconds: 0.1,
      maxResidentBytes: 1024 * 1024,
      memoryPeakBytes: null,
      processesPeak: null,
      deviceSeconds: null,
      energyJoules: null,
      energyMethod: null,
      flop: null,
      achievedFlops: null,
      flopMethod: null,
      absent: { energyJoules: 'no power source on this host', flop: 'the job counted none' },
    },
    limits: { memory: 'none' },
    isolation: {},
    outOfMemory: null,
    gaps: [],
    outputs: [],
    workspace: null,
    stdoutBytes: 0,
    stderrBytes: 0,
    ...part,
  };
}

export async function startFakeApi(script: JobScript, requestedPort = 0): Promise<FakeApi> {
  const jobs = new Map<string, HeldJob>();
  const requests: string[] = [];
  const sockets = new Set<{ destroy(): void }>();
  let server: Server;

  const api: FakeApi = {
    url: '',
    port: 0,
    requests,
    jobs,
    nodes: [],
    breakFollowAfterBytes: null,
    failWith: null,
    async cut() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    async reopen() {
      server = await listen(api.port);
    },
    close: () => (server.listening ? api.cut() : Promise.resolve()),
  };

  function listen(port: number): Promise<Server> {
    const made = createServer((request, response) => {
      handle(request, response).catch((error: unknown) => {
        answer(response, 500, { error: { code: 'FAKE', message: String(error), field: null, remedy: null } });
      });
    });
    made.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => {});
    });
    return new Promise((resolve, reject) => {
      made.on('error', reject);
      made.listen(port, '127.0.0.1', () => resolve(made));
    });
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake');
    requests.push(`${request.method} ${url.pathname}`);
    const body = await readBody(request);
    if (api.failWith !== null) {
      response.writeHead(api.failWith.status, { 'content-type': 'text/plain' }).end(api.failWith.body);
      return;
    }
    if (url.pathname === '/healthz') return void response.end('ok');
    if (request.headers.authorization !== `Bearer ${TOKEN}`)
      return problem(response, 401, 'API_UNAUTHENTICATED', 'no such token');
    const [, , kind, id, verb] = url.pathname.split('/');
    if (kind === 'nodes') {
      if (id === undefined)
        return answer(response, 200, { nodes: api.nodes, fleet: totalsOfNodes(api.nodes) });
      const node = api.nodes.find((one) => one.id === id || one.name === id);
      return node === undefined
        ? problem(response, 404, 'NODE_UNKNOWN', `no node ${id}`)
        : answer(response, 200, node);
    }
    if (kind !== 'jobs') return problem(response, 404, 'API_UNKNOWN', 'no such path');
    if (id === undefined && request.method === 'POST') return submit(response, body);
    if (id === undefined) {
      const state = url.searchParams.get('state');
      const all = [...jobs.values()].map((job) => job.view()).reverse();
      const limit = Number(url.searchParams.get('limit') ?? '1000');
      return answer(response, 200, {
        jobs: all.filter((job) => state === null || job.state === state).slice(0, limit),
      });
    }
    const job = [...jobs.values()].find((one) => one.id.startsWith(id));
    if (job === undefined) return problem(response, 404, 'JOB_UNKNOWN', `no job ${id}`);
    if (verb === undefined) return answer(response, 200, job.view());
    if (verb === 'cancel') {
      job.change({ cancelRequested: true });
      return answer(response, 200, job.view());
    }
    if (verb === 'outputs') {
      const { stdoutBytes, stderrBytes, epoch, outputRemoved } = job.view();
      const since = url.searchParams.has('since') ? { stdout: 0, stderr: 0 } : null;
      return answer(response, 200, {
        attempt: epoch,
        stdoutBytes,
        stderrBytes,
        since,
        removed: outputRemoved,
      });
    }
    if (verb === 'output') {
      const stream = url.searchParams.get('stream') === 'stderr' ? 'stderr' : 'stdout';
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      response.end(job.output[stream].subarray(Number(url.searchParams.get('offset') ?? '0')));
      return;
    }
    follow(
      job,
      response,
      Number(url.searchParams.get('stdout') ?? '0'),
      Number(url.searchParams.get('stderr') ?? '0'),
    );
  }

  function submit(response: ServerResponse, body: string): void {
    const parsed = jobSpecSchema.safeParse(JSON.parse(body));
    if (!parsed.success) {
      problem(response, 400, 'SPEC_INVALID', parsed.error.issues[0]?.message ?? '', 'spec');
      return;
    }
    const id = `job-fake${jobs.size}`;
    let wakeCancelled = (): void => {};
    const cancelled = new Promise<void>((resolve) => (wakeCancelled = resolve));
    let view: JobView = {
      id,
      name: parsed.data.name,
      state: 'RUNNING',
      reason: 'runs on fake',
      spec: parsed.data,
      hidden: false,
      owner: 'local',
      node: { id: 'node-fake', name: 'fake' },
      epoch: 1,
      devices: [],
      cancelRequested: false,
      submittedAt: '2026-01-01T00:00:00.000Z',
      startedAt: '2026-01-01T00:00:01.000Z',
      endedAt: null,
      result: null,
      array: null,
      members: null,
      retries: 0,
      attempts: [],
      notBefore: null,
      stdoutBytes: 0,
      stderrBytes: 0,
      outputRemoved: null,
      dataRule: null,
    };
    const job: HeldJob = {
      id,
      output: { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) },
      followers: new Set(),
      cancelled,
      view: () => ({ ...view, stdoutBytes: job.output.stdout.length, stderrBytes: job.output.stderr.length }),
      change(part) {
        view = { ...view, ...part };
        if (part.cancelRequested === true) wakeCancelled();
        for (const wake of job.followers) wake();
      },
      write(stream, bytes) {
        job.output[stream] = Buffer.concat([job.output[stream], Buffer.from(bytes)]);
        for (const wake of job.followers) wake();
      },
    };
    jobs.set(id, job);
    answer(response, 201, job.view());
    // After the answer, as a real queue does.
    setImmediate(async () => {
      const end = await script(job);
      const result = sampleResult(
        { ...end, stdoutBytes: job.output.stdout.length, stderrBytes: job.output.stderr.length },
        id,
      );
      job.change({ state: result.state, result, reason: result.cause, endedAt: '2026-01-01T00:00:02.500Z' });
    });
  }

  function follow(job: HeldJob, response: ServerResponse, stdoutFrom: number, stderrFrom: number): void {
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    const sent = { stdout: stdoutFrom, stderr: stderrFrom };
    let bytesLeft = api.breakFollowAfterBytes ?? Number.POSITIVE_INFINITY;
    let lastState = '';
    const send = (kind: number, payload: Uint8Array): void => {
      const record = Buffer.alloc(5 + payload.length);
      record[0] = kind;
      record.writeUInt32BE(payload.length, 1);
      record.set(payload, 5);
      if (record.length > bytesLeft) {
        response.write(record.subarray(0, bytesLeft), () => response.destroy());
        bytesLeft = 0;
        return;
      }
      bytesLeft -= record.length;
      if (!response.destroyed) response.write(record);
    };
    const update = (): void => {
      const view = job.view();
      const pump = (stream: 'stdout' | 'stderr'): void => {
        const bytes = job.output[stream].subarray(sent[stream]);
        sent[stream] += bytes.length;
        if (bytes.length > 0) send(followKind[stream], bytes);
      };
      if (!isFinalState(view.state) && view.state !== lastState)
        send(followKind.job, Buffer.from(JSON.stringify(view)));
      lastState = view.state;
      pump('stdout');
      pump('stderr');
      if (!isFinalState(view.state) || response.destroyed || response.writableEnded) return;
      send(followKind.job, Buffer.from(JSON.stringify(view)));
      if (bytesLeft > 0) response.end();
    };
    job.followers.add(update);
    response.on('close', () => job.followers.delete(update));
    send(followKind.keepAlive, Buffer.alloc(0));
    update();
  }

  server = await listen(requestedPort);
  const port = (server.address() as AddressInfo).port;
  return Object.assign(api, { port, url: `http://127.0.0.1:${port}` });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function answer(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

function problem(
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
  field: string | null = null,
): void {
  answer(response, status, { error: { code, message, field, remedy: null } });
}
