// A runner in this process, over a real socket, with its real job room; keys of a scheduler that nobody runs; and raw
// peers that say whatever a test wants.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClock } from '../../../src/base/clock.ts';
import type { Log } from '../../../src/base/log.ts';
import { createGrantRules } from '../../../src/device/told-grant.ts';
import { KEYS_FILE, writeSchedulerKeys } from '../../../src/job/trust.ts';
import { signedCredentialText } from '../../../src/protocol/credential.ts';
import { ORDER_LIFE_MS } from '../../../src/protocol/order.ts';
import { type SealText, type StartFields, sealStart } from '../../../src/protocol/order-seal.ts';
import { nowhere } from '../../../src/protocol/place.ts';
import { keyIdOf, type Signed, signText } from '../../../src/protocol/signed.ts';
import { createFrameReader, decodeBody, encodeFrame } from '../../../src/runner/framing.ts';
import { writeMembership } from '../../../src/runner/membership.ts';
import { type Runner, type RunnerOptions, startRunner } from '../../../src/runner/runner.ts';

export const root = fileURLToPath(new URL('../../..', import.meta.url));
export const schedulerId = 'scheduler-1';
export const nodeId = 'node-1';

export interface Keys {
  readonly seal: SealText;
  readonly publicKey: string;
  readonly privateKey: KeyObject;
}

export function makeKeys(): Keys {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const text = publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
  return {
    publicKey: text,
    privateKey,
    seal: (body) => ({ keyId: keyIdOf(text), body, signature: signText(privateKey, 'flopd.v2 order', body) }),
  };
}

const nodePublicKey = makeKeys().publicKey;

export function statementOf({ publicKey, privateKey }: Keys, serial = 1): Signed {
  const keys = [{ publicKey, notBeforeMs: 0, notAfterMs: null }];
  const body = JSON.stringify({ version: 1, schedulerId, serial, keys });
  return { keyId: keyIdOf(publicKey), body, signature: signText(privateKey, 'flopd.v2 keys', body) };
}

/** That this node stands in Guangdong. */
export function credentialOf({ publicKey, privateKey }: Keys, serial: number): Signed {
  const body = signedCredentialText({
    version: 2,
    schedulerId,
    nodeId,
    publicKey: nodePublicKey,
    enrolledAtMs: 0,
    place: { ...nowhere, jurisdiction: 'CN-GD' },
    labels: {},
    serial,
  });
  return { keyId: keyIdOf(publicKey), body, signature: signText(privateKey, 'flopd.v2 node', body) };
}

/** A start order for this node that is good for ten minutes, but for what is changed. */
export function signedStart(seal: SealText, jobId: string, spec: object, change: Partial<StartFields> = {}) {
  const nowMs = Date.now();
  const fields: StartFields = {
    schedulerId,
    nodeId,
    orderId: 'order-1',
    jobId,
    epoch: 1,
    issuedAtMs: nowMs,
    expiresAtMs: nowMs + ORDER_LIFE_MS,
    submitter: null,
    array: null,
    devices: [],
    submittedAtMs: nowMs,
    ...change,
  };
  return sealStart(seal, fields, JSON.stringify({ version: 1, ...spec }), null);
}

export interface Peer {
  readonly socket: Socket;
  say(message: object): void;
  raw(bytes: Uint8Array): void;
  /** Everything that came, as messages; answers of output as `{type: 'output', …}`. */
  readonly heard: readonly (Record<string, unknown> & { readonly type: string })[];
  /** The first message of this type, maybe with this request. */
  next(type: string, request?: number): Promise<Record<string, unknown>>;
  /** How a job ended. */
  ended(jobId: string): Promise<{ readonly state: string; readonly cause: string }>;
  /** How a command beside a job ended. */
  execEnd(execId: string): Promise<Record<string, unknown>>;
  readonly closed: Promise<void>;
  close(): void;
}

export function openPeer(path: string): Promise<Peer> {
  const socket = connect(path);
  const heard: (Record<string, unknown> & { readonly type: string })[] = [];
  const waiters = new Set<() => void>();
  const reader = createFrameReader((body) => {
    const incoming = decodeBody(Uint8Array.from(body));
    if (incoming.kind === 'message') heard.push(JSON.parse(incoming.text));
    else if (incoming.kind === 'output')
      heard.push({ type: 'output', request: incoming.request, bytes: incoming.bytes });
    for (const waiter of waiters) waiter();
  });
  socket.on('data', (chunk: Buffer) => reader.push(chunk));
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const peer: Peer = {
    socket,
    say: (message) => void socket.write(encodeFrame(JSON.stringify(message))),
    raw: (bytes) => void socket.write(bytes),
    heard,
    closed,
    close: () => void socket.destroy(),
    next: (type, request) =>
      first(type, (one) => one.type === type && (request === undefined || one.request === request)),
    execEnd: (execId) => first(`end of ${execId}`, (one) => one.type === 'execEnd' && one.execId === execId),
    async ended(jobId) {
      const isIt = ({ type, result }: Record<string, unknown>): boolean =>
        type === 'ended' && (result as { jobId: string }).jobId === jobId;
      return (await first(`end of ${jobId}`, isIt)).result as { state: string; cause: string };
    },
  };

  function first(
    what: string,
    isIt: (one: Record<string, unknown>) => boolean,
  ): Promise<Record<string, unknown>> {
    const find = () => heard.find(isIt);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no message "${what}" came`)), 20_000);
      const look = (): void => {
        const found = find();
        if (found === undefined) return;
        clearTimeout(timer);
        waiters.delete(look);
        resolve(found);
      };
      waiters.add(look);
      look();
    });
  }

  return new Promise((resolve, reject) => {
    socket.once('connect', () => resolve(peer));
    socket.once('error', reject);
  });
}

export interface LogLine {
  readonly fields: Record<string, unknown>;
  readonly message: string;
}

export interface RunnerBed {
  readonly folder: string;
  readonly socket: string;
  readonly keys: Keys;
  readonly lines: readonly LogLine[];
  start(): Promise<Runner>;
  /** A peer that has said hello and was told all. */
  agent(): Promise<Peer>;
  close(): Promise<void>;
}

export function createRunnerBed(): RunnerBed {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-runner-'));
  // Jobs are users of their own.
  chmodSync(folder, 0o777);
  const stateDir = join(folder, 'state');
  const socket = join(folder, 'runner.sock');
  mkdirSync(join(stateDir, 'runner'), { recursive: true, mode: 0o700 });
  const keys = makeKeys();
  writeMembership(join(stateDir, 'runner'), { nodeId, schedulerId, signedCredential: null });
  writeSchedulerKeys(join(stateDir, 'runner', KEYS_FILE), schedulerId, [statementOf(keys)]);
  const lines: LogLine[] = [];
  const line = (fields: object, message: string): void =>
    void lines.push({ fields: fields as Record<string, unknown>, message });
  const log: Log = { debug() {}, info: line, warn: line, error: line, child: () => log };
  const runners: Runner[] = [];
  const peers: Peer[] = [];
  const config: RunnerOptions['config'] = {
    jobs: {
      sandbox: 'auto',
      seccomp: 'auto',
      limits: 'auto',
      user: 'auto',
      userRange: { from: 2_000_000_000, to: 2_000_065_535 },
      processes: 4096,
      readPaths: [],
      writePaths: [folder],
      containerRuntime: 'none',
      pull: 'missing',
      registries: ['public'],
      pullTimeoutMs: 60_000,
      outputQuotaBytes: 1024 ** 3,
      cacheBytes: 1024 ** 3,
    },
    orders: { signatures: 'require', submitters: null },
    policy: { classes: ['public', 'internal'], corridors: new Map() },
    runner: { socket, user: null },
    tokenFile: null,
  };
  return {
    folder,
    socket,
    keys,
    lines,
    async start() {
      const runner = await startRunner({
        root,
        stateDir,
        config,
        capacity: { cpus: 4, memoryBytes: 4 * 1024 ** 3 },
        grants: createGrantRules(),
        clock: createClock(),
        log,
      });
      runners.push(runner);
      return runner;
    },
    async agent() {
      const peer = await openPeer(socket);
      peers.push(peer);
      peer.say({ type: 'hello', version: 1 });
      await peer.next('told');
      return peer;
    },
    async close() {
      for (const peer of peers) peer.close();
      for (const runner of runners.splice(0)) await runner.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
}
