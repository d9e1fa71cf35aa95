// A scheduler for tests of the link and the agent: a real HTTP and WebSocket server on loopback that keeps what an
// agent sends and does as it is told. It stores output and results across sessions like the real one, and can
// misbehave on purpose. It verifies the proof of an agent that has enrolled with it.
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { enrolRequestSchema } from '../../src/protocol/api.ts';
import type { Window } from '../../src/protocol/columns.ts';
import {
  type AgentMessage,
  agentMessageSchema,
  type Challenge,
  type Hello,
  helloProofText,
  LINK_PATH,
  MAX_FRAME_BYTES,
  type SchedulerMessage,
  SUBPROTOCOL,
} from '../../src/protocol/control.ts';
import {
  createFrameDecoder,
  decodeOutputChunk,
  type FrameDecoder,
  frameKind,
} from '../../src/protocol/frame.ts';
import type { JobResult } from '../../src/protocol/result.ts';
import type { Signed } from '../../src/protocol/signed.ts';

const WAIT_MS = 30_000;

export interface FakeOptions {
  readonly port?: number;
  readonly schedulerId?: string;
  readonly heartbeatMs?: number;
  readonly telemetryMs?: number;
  /** Subprotocol to choose; false takes none. Default flopd.v1. */
  readonly protocol?: string | false;
  /** Does not send a challenge by itself. */
  readonly silent?: boolean;
  /** Sends no welcome by itself. */
  readonly mute?: boolean;
  /** Turns every node away as unknown. */
  readonly forgetful?: boolean;
  /** False: heartbeats are heard and never answered. */
  readonly echo?: boolean;
  readonly acknowledgeResults?: boolean;
  readonly acknowledgeOutput?: boolean;
  readonly joinToken?: string;
  /** Statements of its keys: it speaks version 2 as well, and tells them at enrolment and in each welcome. */
  readonly keys?: readonly Signed[];
  /** Says nothing of its keys when a node enrols. */
  readonly enrolsWithoutKeys?: boolean;
  /** Key and certificate with its chain, PEM: it speaks TLS then. */
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface FakeSession {
  readonly socket: WebSocket;
  readonly messages: AgentMessage[];
  readonly windows: Window[];
  /** Why the fake could not understand something; a good agent leaves it empty. */
  readonly complaints: string[];
  /** Text of every jobStarted and jobResult as it came. */
  readonly facts: string[];
  readonly closed: Promise<{ code: number; reason: string }>;
  hello: Hello | null;
  frames: number;
  send(message: SchedulerMessage | object): void;
  sendText(text: string): void;
  welcome(): void;
  /** Resolves with the first message that fits, past or future. */
  waitFor<T extends AgentMessage['type']>(
    type: T,
    count?: number,
  ): Promise<Extract<AgentMessage, { type: T }>>;
}

export interface FakeScheduler {
  readonly url: string;
  readonly port: number;
  readonly schedulerId: string;
  readonly sessions: FakeSession[];
  readonly results: Map<string, JobResult>;
  /** Stored output by `jobId.epoch.stream`. */
  readonly output: Map<string, Buffer[]>;
  readonly stored: Map<string, number>;
  readonly publicKeys: Map<string, string>;
  enrolments: number;
  /** Changed at will; read at each use. */
  behaviour: FakeOptions;
  session(index: number): Promise<FakeSession>;
  close(): Promise<void>;
}

export async function startFakeScheduler(options: FakeOptions = {}): Promise<FakeScheduler> {
  const http = options.tls === undefined ? createServer() : createTlsServer(options.tls);
  http.on('tlsClientError', () => {});
  http.on('clientError', (_error, socket) => socket.destroy());
  http.on('request', onRequest);
  const sockets = new WebSocketServer({
    server: http,
    path: LINK_PATH,
    maxPayload: MAX_FRAME_BYTES,
    perMessageDeflate: false,
    handleProtocols: () => fake.behaviour.protocol ?? SUBPROTOCOL,
  });
  sockets.on('error', () => {});
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject);
    http.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const port = (http.address() as AddressInfo).port;
  const fake: FakeScheduler = {
    url: `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    schedulerId: options.schedulerId ?? 'scheduler-fake000001',
    sessions: [],
    results: new Map(),
    output: new Map(),
    stored: new Map(),
    publicKeys: new Map(),
    enrolments: 0,
    behaviour: options,
    async session(index) {
      await until(() => fake.sessions[index] !== undefined, `session ${index}`);
      return fake.sessions[index] as FakeSession;
    },
    async close() {
      for (const client of sockets.clients) client.terminate();
      http.closeAllConnections();
      await new Promise<void>((resolve) => sockets.close(() => http.close(() => resolve())));
    },
  };
  sockets.on('connection', (socket) => fake.sessions.push(createSession(fake, socket)));

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => enrol(fake, request, Buffer.concat(chunks).toString(), response));
  }
  return fake;
}

/** Polls until `check` holds; real time, for integration tests only. */
export async function until(check: () => boolean, what: string, timeoutMs = WAIT_MS): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!check()) {
    if (performance.now() > endMs) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function enrol(fake: FakeScheduler, request: IncomingMessage, body: string, response: ServerResponse): void {
  const [status, value] = answerEnrolment(fake, `${request.method} ${request.url}`, body);
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

function answerEnrolment(fake: FakeScheduler, target: string, body: string): [number, object] {
  if (target !== 'POST /v1/enrol') return [404, error('NOT_FOUND', 'no such page')];
  const parsed = enrolRequestSchema.safeParse(JSON.parse(body));
  if (!parsed.success) return [400, error('API_BODY', 'not an enrolment')];
  if (parsed.data.token !== (fake.behaviour.joinToken ?? 'join-token')) {
    return [401, error('ENROL_TOKEN', 'the join token is not valid')];
  }
  fake.enrolments += 1;
  const nodeId = parsed.data.nodeId ?? `node-fake${fake.enrolments}`;
  fake.publicKeys.set(nodeId, parsed.data.publicKey);
  const { keys = [], enrolsWithoutKeys = false } = fake.behaviour;
  return [200, { nodeId, schedulerId: fake.schedulerId, keys: enrolsWithoutKeys ? [] : keys }];
}

function error(code: string, message: string): object {
  return { error: { code, message, field: null, remedy: null } };
}

function versionsOf({ behaviour }: FakeScheduler): { min: number; max: number } {
  return { min: 1, max: behaviour.keys === undefined ? 1 : 2 };
}

function createSession(fake: FakeScheduler, socket: WebSocket): FakeSession {
  const nonce = randomBytes(32).toString('base64');
  let decoder: FrameDecoder | null = null;
  const session: FakeSession = {
    socket,
    messages: [],
    windows: [],
    complaints: [],
    facts: [],
    closed: new Promise((resolve) =>
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
    ),
    hello: null,
    frames: 0,
    send: (message) => session.sendText(JSON.stringify(message)),
    sendText: (text) => socket.send(text),
    welcome() {
      const outputs = (session.hello?.jobs ?? []).map(({ jobId, epoch }) => ({
        jobId,
        epoch,
        stdoutBytes: fake.stored.get(`${jobId}.${epoch}.stdout`) ?? 0,
        stderrBytes: fake.stored.get(`${jobId}.${epoch}.stderr`) ?? 0,
      }));
      const { heartbeatMs = 1000, telemetryMs = 100 } = fake.behaviour;
      session.send({
        type: 'welcome',
        version: versionsOf(fake).max,
        keys: fake.behaviour.keys ?? [],
        sessionId: 'session-fake1',
        heartbeatMs,
        telemetryMs,
        outputs,
      });
    },
    async waitFor(type, count = 1) {
      const found = () => session.messages.filter((message) => message.type === type);
      await until(
        () => found().length >= count,
        `${count} × ${type} (have ${session.messages.map((m) => m.type)})`,
      );
      return found()[count - 1] as never;
    },
  };
  socket.on('error', () => {});
  socket.on('message', (data: Buffer, isBinary) => {
    if (isBinary) onFrame(data);
    else onText(data.toString());
  });
  const challenge: Challenge = {
    type: 'challenge',
    schedulerId: fake.schedulerId,
    versions: versionsOf(fake),
    nonce,
  };
  if (fake.behaviour.silent !== true) session.send(challenge);

  function onText(text: string): void {
    const parsed = agentMessageSchema.safeParse(JSON.parse(text));
    if (!parsed.success) {
      session.complaints.push(
        `not a message: ${parsed.error.issues[0]?.path.join('.')} ${parsed.error.issues[0]?.message}`,
      );
      return;
    }
    const message = parsed.data;
    session.messages.push(message);
    if (message.type === 'hello') onHello(message);
    if (message.type === 'heartbeat' && fake.behaviour.echo !== false)
      session.send({ type: 'heartbeat', echo: message.sequence });
    if (message.type === 'dictionary') decoder = createFrameDecoder(message);
    if (message.type === 'jobStarted' || message.type === 'jobResult') session.facts.push(text);
    const { acknowledgeResults = true } = fake.behaviour;
    if (message.type === 'jobStarted' && acknowledgeResults)
      session.send({ type: 'ack', sequence: message.sequence });
    if (message.type === 'jobResult') {
      const key = `${message.result.jobId}.${message.result.epoch}`;
      const known = fake.results.get(key);
      if (known !== undefined && JSON.stringify(known) !== JSON.stringify(message.result)) {
        session.complaints.push(`two different results of ${key}`);
      }
      fake.results.set(key, message.result);
      if (acknowledgeResults) session.send({ type: 'ack', sequence: message.sequence });
    }
  }

  function onHello(hello: Hello): void {
    session.hello = hello;
    if (fake.behaviour.forgetful === true) {
      socket.close(4404, 'this scheduler does not know the node; join it again');
      return;
    }
    const key = fake.publicKeys.get(hello.nodeId);
    if (key !== undefined && !isProof(hello, key)) {
      socket.close(4401, 'the proof does not fit the key');
      return;
    }
    if (fake.behaviour.mute !== true) session.welcome();
  }

  function isProof(hello: Hello, key: string): boolean {
    const publicKey = createPublicKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'spki' });
    const challenged = { schedulerId: fake.schedulerId, nonce };
    const text = helloProofText(hello, challenged, versionsOf(fake).max, '');
    return verify(null, Buffer.from(text), publicKey, Buffer.from(hello.proof, 'base64'));
  }

  function onFrame(data: Buffer): void {
    session.frames += 1;
    try {
      if (frameKind(data) === 'telemetry') {
        if (decoder === null) session.complaints.push('telemetry before the dictionary');
        else session.windows.push(decoder.decode(data));
      } else onOutput(data);
    } catch (error) {
      session.complaints.push(String(error));
    }
  }

  function onOutput(data: Buffer): void {
    const { jobId, epoch, stream, offset, bytes } = decodeOutputChunk(data);
    const key = `${jobId}.${epoch}.${stream}`;
    const have = fake.stored.get(key) ?? 0;
    if (offset === have) {
      const list = fake.output.get(key) ?? [];
      list.push(Buffer.from(bytes));
      fake.output.set(key, list);
      fake.stored.set(key, have + bytes.length);
    }
    if (fake.behaviour.acknowledgeOutput === false) return;
    session.send({
      type: 'outputAck',
      jobId,
      epoch,
      stdoutBytes: fake.stored.get(`${jobId}.${epoch}.stdout`) ?? 0,
      stderrBytes: fake.stored.get(`${jobId}.${epoch}.stderr`) ?? 0,
    });
  }
  return session;
}
