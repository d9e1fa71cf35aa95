// How a host becomes a node: it makes a key, sends the public half with a join token, and remembers the name that
// the scheduler gave it. node.json is written only after the scheduler's acknowledgement, and atomically: a host is
// enrolled or it is not.
import { renameSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { describeError, errnoOf, Fault } from '../base/fault.ts';
import { type KeyOwner, publicKeyText, takeKey } from '../base/key-file.ts';
import { isLoopbackName } from '../base/loopback.ts';
import { splitPin } from '../base/token-text.ts';
import { prepareStateFolder } from '../daemon/state-folder.ts';
import type { Dialer } from '../dial/dialer.ts';
import { isTrustFault } from '../dial/failure.ts';
import { KEYS_FILE, writeSchedulerKeys } from '../job/trust.ts';
import { printable } from '../link/message.ts';
import { type EnrolRequest, enrolRequestSchema } from '../protocol/api.ts';
import { credentialSchema } from '../protocol/control.ts';
import { MAX_STATEMENTS } from '../protocol/keys.ts';
import { type Signed, signedSchema } from '../protocol/signed.ts';
import { findWay, keepAuthorities } from './authorities.ts';
import { postJson } from './http-post.ts';

/** From connecting to the last byte of the answer. */
export const ENROL_DEADLINE_MS = 10_000;

const id = z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/);
/** Of a scheduler from before there were credentials there is none. */
const credential = credentialSchema.nullable().default(null);
/** With the place of the node; of a scheduler that speaks version 1 alone there is none. */
const signedCredential = signedSchema.nullable().default(null);
const answerSchema = z.object({
  nodeId: id,
  schedulerId: id,
  credential,
  signedCredential,
  keys: z.array(signedSchema).max(MAX_STATEMENTS).default([]),
});
const refusalSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), remedy: z.string().nullable().optional() }),
});
const enrolmentSchema = z.object({
  version: z.literal(1),
  nodeId: id,
  schedulerId: id,
  schedulerUrl: z.string().max(2048),
  name: z.string().max(253),
  credential,
  signedCredential,
  /** File that the join token was read from; null where it was given in another way. */
  tokenFile: z.string().max(4096).nullable().default(null),
  /** It joined together with a job runner: an agent that is told of none would start jobs with rights of its own. */
  withRunner: z.boolean().default(false),
  /** The name that it was given when it joined; null: it goes by the host's, also when that changes. */
  givenName: z.string().max(253).nullable().default(null),
});
/** What this host knows of its membership. */
export type Enrolment = z.output<typeof enrolmentSchema>;

export interface EnrolOptions {
  /** Told what the scheduler answers of the keys that it signs with. */
  readonly learned?: (keys: readonly Signed[]) => void;
  /** The scheduler's base URL. */
  readonly url: string;
  /** With or without the pin of a private authority, which is never sent. */
  readonly token: string;
  readonly stateDir: string;
  /** What people call this host. */
  readonly name: string;
  /** Whether somebody chose that name, and it is not the host's own. */
  readonly isNamed?: boolean;
  /** File that the token was read from, to read it again when the scheduler has lost this node. */
  readonly tokenFile?: string | null;
  /** Enrols a host again that is enrolled already: with the same key, and if possible under the same id. */
  readonly again?: boolean;
  /** File with the scheduler's authorities (PEM); null: those that its pin names, that are known already, or the system's. */
  readonly caFile?: string | null;
  /** The way to a scheduler that is known already, whatever pin the token carries; without it, one is made for `caFile` or the pin. */
  readonly dialer?: Dialer;
  /** With a key made anew, for a host whose key was revoked. */
  readonly newKey?: boolean;
  /** Whether it joins together with a job runner; without it, as it did before. */
  readonly withRunner?: boolean;
}

export const nodeKey: KeyOwner = {
  code: 'AGENT',
  what: 'the node key',
  exposedRemedy: 'enrol this host anew',
  damagedRemedy: 'restore it, or remove the folder it is in and enrol this host anew',
};

/** Enrols this host. Safe to repeat after a failure; an enrolled host is refused (AGENT_ENROLLED) unless `again`. */
export async function enrol(options: EnrolOptions): Promise<Enrolment> {
  const { url, stateDir, name } = options;
  const { token, pin } = splitPin(options.token.trim());
  requireSafeUrl(url);
  const folder = prepareStateFolder(stateDir);
  const known = await readEnrolment(stateDir);
  if (known !== null && options.again !== true) {
    throw new Fault(
      'AGENT_ENROLLED',
      `this host is already ${known.nodeId} of the scheduler at ${known.schedulerUrl}`,
      {
        field: 'stateDir',
        remedy: `stop the agent and remove ${folder} to leave that scheduler, or name another --state-dir`,
      },
    );
  }
  // A new key lies beside the present one until the scheduler has it: asked for again, it is the same.
  const keyFile = join(folder, options.newKey === true ? 'key.next.pem' : 'key.pem');
  const publicKey = publicKeyText(takeKey(keyFile, nodeKey));
  const request = enrolRequestSchema.safeParse({
    version: 1,
    token,
    publicKey,
    name,
    ...(known === null ? {} : { nodeId: known.nodeId }),
  } satisfies EnrolRequest);
  if (!request.success) throw unfitRequest(request.error.issues[0]?.path[0]);
  const { dialer, authorities } = await findWay(options, folder, pin);
  const { keys, ...answer } = await ask(url, request.data, dialer);
  writeSchedulerKeys(join(folder, KEYS_FILE), answer.schedulerId, keys);
  options.learned?.(keys);
  if (options.newKey === true) renameSync(keyFile, join(folder, 'key.pem'));
  const tokenFile = options.tokenFile ?? known?.tokenFile ?? null;
  const withRunner = options.withRunner ?? known?.withRunner ?? false;
  const givenName = options.isNamed === true ? name : (known?.givenName ?? null);
  const also = { name, tokenFile, withRunner, givenName };
  const enrolment: Enrolment = { version: 1, ...answer, schedulerUrl: url, ...also };
  if (authorities !== null) keepAuthorities(folder, authorities);
  writeEnrolment(folder, enrolment);
  return enrolment;
}

/** `folder`: `agent` of the state directory. */
export function writeEnrolment(folder: string, enrolment: Enrolment): void {
  writeFileAtomic(join(folder, 'node.json'), `${JSON.stringify(enrolment, null, 2)}\n`, 0o600);
}

/** The enrolment in a state directory, or null. Throws AGENT_ENROLMENT_DAMAGED. */
export async function readEnrolment(stateDir: string): Promise<Enrolment | null> {
  const path = join(stateDir, 'agent', 'node.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return null;
    throw new Fault('AGENT_STATE_DIR', `cannot read ${path}: ${describeError(error)}`, {
      field: 'stateDir',
      remedy: 'make it readable for this user, or name another folder with --state-dir',
      cause: error,
    });
  }
  try {
    return enrolmentSchema.parse(JSON.parse(text));
  } catch {
    throw new Fault('AGENT_ENROLMENT_DAMAGED', `${path} is not an enrolment`, {
      remedy: 'restore it, or remove it and join the scheduler anew',
    });
  }
}

/**
 * Without TLS whoever sits between could read the token and, later, send orders. Only this machine is near enough
 * to do without. Throws AGENT_URL.
 */
export function requireSafeUrl(url: string): void {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new Fault('AGENT_URL', 'the scheduler is not named by a URL', {
      field: 'scheduler',
      remedy: 'write one like https://scheduler.example:7070',
    });
  }
  if (parsed.protocol === 'https:' || parsed.protocol === 'wss:') return;
  const isPlain = parsed.protocol === 'http:' || parsed.protocol === 'ws:';
  const host = parsed.hostname;
  if (isPlain && isLoopbackName(host)) return;
  throw new Fault('AGENT_URL', `${parsed.protocol}//${parsed.host} is not a safe way to a scheduler`, {
    field: 'scheduler',
    remedy: 'use https:// (plain http:// is for a scheduler on this machine alone)',
  });
}

/** Whether a host that has joined there keeps to TLS for good. */
export function isTlsUrl(url: string): boolean {
  return url.startsWith('https:') || url.startsWith('wss:');
}

async function ask(
  url: string,
  request: EnrolRequest,
  dialer: Dialer,
): Promise<z.output<typeof answerSchema>> {
  const { status, body } = await postJson(
    `${url.replace(/\/+$/, '')}/v1/enrol`,
    request,
    ENROL_DEADLINE_MS,
    dialer,
  ).catch((error: unknown) => {
    if (isTrustFault(error)) throw error;
    throw new Fault(
      'ENROL_UNREACHABLE',
      `cannot enrol with the scheduler at ${url}: ${describeError(error)}`,
      {
        field: 'scheduler',
        remedy: 'start the scheduler there, or check the address',
        cause: error,
      },
    );
  });
  if (status === 200 || status === 201) {
    const answer = answerSchema.safeParse(body);
    if (answer.success) return answer.data;
  }
  const refusal = refusalSchema.safeParse(body);
  const said = refusal.success ? printable(refusal.data.error.message) : `HTTP ${status}`;
  throw new Fault('ENROL_REFUSED', `the scheduler at ${url} refused to enrol this host: ${said}`, {
    field: status === 401 || status === 403 ? 'token' : 'scheduler',
    remedy:
      (refusal.success && refusal.data.error.remedy && printable(refusal.data.error.remedy)) ||
      'check the join token and the address',
  });
}

function unfitRequest(field: PropertyKey | undefined): Fault {
  return field === 'token'
    ? new Fault('ENROL_TOKEN', 'the join token is empty or too long', {
        field: 'token',
        remedy: 'give the token that the scheduler wrote to scheduler/join-token',
      })
    : new Fault('ENROL_NAME', 'the name of this node is empty or longer than 253 characters', {
        field: 'node.name',
        remedy: 'give it another name',
      });
}
