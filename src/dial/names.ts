// Names to addresses without the threads of libuv: getaddrinfo blocks one of four threads for as long as a name server
// is silent, and four of them stop every file access of the process. c-ares waits on sockets instead.
//
//   localhost -> loopback    /etc/hosts    name servers -> remembered    silent or failing servers -> what is remembered
//
// Nothing is cached while the servers answer: a name that has moved is found at the next connection. What they said
// last is kept for the time when they do not answer (F18).

import type { LookupAddress } from 'node:dns';
import { Resolver } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { readText } from '../base/text-file.ts';
import { hostsAddresses, namesToAsk } from './name-files.ts';

/** For one name, all servers and both kinds of addresses together. */
const ANSWER_DEADLINE_MS = 4000;
/** For one question to one server; it grows with each round of them. */
const QUESTION_MS = 1000;
const TRIES = 2;
/** How long one kind of address is waited for when the other is there (RFC 8305 calls it the resolution delay). */
const OTHER_KIND_MS = 250;
/** Addresses of one name that are tried. */
const ADDRESSES_MAX = 8;
/** Names remembered; a process dials one scheduler and perhaps a proxy. */
const REMEMBERED_MAX = 32;

const loopback: readonly LookupAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
];

export interface Names {
  /** All addresses of a name, the one to try first in front. Rejects with DIAL_NAME_UNKNOWN or DIAL_NAMES_SILENT. */
  resolve(name: string): Promise<readonly LookupAddress[]>;
  /** The same in the form that `net.connect` takes. */
  readonly lookup: LookupFunction;
}

export interface NamesParts {
  readonly clock: Clock;
  readonly log: Log;
  /** Name servers (`ADDRESS:PORT`) in place of those of resolv.conf; for tests. */
  readonly servers?: readonly string[];
  readonly hostsFile?: string;
  readonly resolvFile?: string;
  /** For one name, ms. */
  readonly deadlineMs?: number;
}

/** What the servers said: addresses, that there are none, or nothing that counts. */
type Answer = { readonly kind: 'none' | 'silent'; readonly code: string } | readonly LookupAddress[];

export function createNames(parts: NamesParts): Names {
  const { clock, log, servers } = parts;
  const hostsFile = parts.hostsFile ?? '/etc/hosts';
  const resolvFile = parts.resolvFile ?? '/etc/resolv.conf';
  const remembered = new Map<string, readonly LookupAddress[]>();
  /** Names whose remembered addresses are in use. */
  const stale = new Set<string>();

  async function resolve(name: string): Promise<readonly LookupAddress[]> {
    const family = isIP(name);
    if (family !== 0) return [{ address: name, family }];
    const plain = name.toLowerCase().replace(/\.$/, '');
    // RFC 6761: never asked of anybody.
    if (plain === 'localhost' || plain.endsWith('.localhost')) return loopback;
    const written = hostsAddresses(readText(hostsFile) ?? '', plain);
    if (written.length > 0) return written.map((address) => ({ address, family: isIP(address) }));
    const answer = await askServers(name.toLowerCase());
    if (isAddresses(answer)) {
      remember(plain, answer);
      return answer;
    }
    if (answer.kind === 'none') {
      throw new Fault('DIAL_NAME_UNKNOWN', `there is no host named ${name} (${answer.code})`, {
        remedy: 'check the name, or the name servers in /etc/resolv.conf',
      });
    }
    const last = remembered.get(plain);
    if (last === undefined) {
      throw new Fault('DIAL_NAMES_SILENT', `the name ${name} cannot be resolved (${answer.code})`, {
        remedy: 'check the name servers in /etc/resolv.conf and the way to them',
      });
    }
    if (!stale.has(plain))
      log.warn({ name, code: answer.code }, 'the name servers do not answer; the last address is used');
    stale.add(plain);
    return last;
  }

  function remember(name: string, addresses: readonly LookupAddress[]): void {
    if (stale.delete(name)) log.info({ name }, 'the name servers answer again');
    remembered.delete(name);
    remembered.set(name, addresses);
    const oldest = remembered.keys().next().value;
    if (remembered.size > REMEMBERED_MAX && oldest !== undefined) remembered.delete(oldest);
  }

  async function askServers(name: string): Promise<Answer> {
    // A fresh one reads resolv.conf as it is now.
    const resolver = new Resolver({ timeout: QUESTION_MS, tries: TRIES });
    if (servers !== undefined) resolver.setServers([...servers]);
    let isOver = false;
    const deadline = clock.after(parts.deadlineMs ?? ANSWER_DEADLINE_MS, () => {
      isOver = true;
      resolver.cancel();
    });
    try {
      let last: Answer = { kind: 'none', code: 'ENOTFOUND' };
      for (const one of namesToAsk(readText(resolvFile) ?? '', name)) {
        last = await askBoth(resolver, one);
        if (isAddresses(last)) return last;
        if (last.kind === 'silent' || isOver)
          return { kind: 'silent', code: isOver ? 'ETIMEOUT' : last.code };
      }
      return last;
    } finally {
      deadline.cancel();
    }
  }

  /** Addresses of version 4 and 6 at once; the slower kind has little time when the other is there. */
  function askBoth(resolver: Resolver, name: string): Promise<Answer> {
    return new Promise((resolve) => {
      const answers: Answer[] = [];
      const settle = (): void => {
        grace?.cancel();
        resolve(merge(answers));
      };
      let grace: ReturnType<Clock['after']> | null = null;
      const take = (family: 4 | 6) => (error: Error | null, addresses: string[]) => {
        answers.push(error === null ? addresses.map((address) => ({ address, family })) : kindOf(error));
        if (answers.length === 2) settle();
        else if (error === null && addresses.length > 0) grace = clock.after(OTHER_KIND_MS, settle);
      };
      resolver.resolve4(name, take(4));
      resolver.resolve6(name, take(6));
    });
  }

  return {
    resolve,
    lookup(name, options, callback) {
      resolve(name).then(
        (addresses) => {
          const family = options.family === 'IPv4' ? 4 : options.family === 'IPv6' ? 6 : options.family;
          const fit = family ? addresses.filter((one) => one.family === family) : addresses;
          const [first] = fit;
          if (first === undefined) callback(noAddress(name, family ?? 0), '');
          else if (options.all === true) callback(null, [...fit]);
          else callback(null, first.address, first.family);
        },
        (error: NodeJS.ErrnoException) => callback(error, ''),
      );
    },
  };
}

function isAddresses(answer: Answer): answer is readonly LookupAddress[] {
  return Array.isArray(answer) && answer.length > 0;
}

/** Version 4 first: of two ways that both have a name, it is the one that more networks carry. */
function merge(answers: readonly Answer[]): Answer {
  const found = answers.flatMap((answer) => (isAddresses(answer) ? answer : []));
  if (found.length > 0) return found.sort((a, b) => a.family - b.family).slice(0, ADDRESSES_MAX);
  const refusals = answers.flatMap((answer) => ('kind' in answer ? [answer] : []));
  // "No such host" for one kind counts only where the other kind was answered as well.
  return refusals.find(({ kind }) => kind === 'silent') ?? refusals[0] ?? { kind: 'none', code: 'ENODATA' };
}

function kindOf(error: Error): Answer {
  const code = errnoOf(error) ?? 'ESERVFAIL';
  return { kind: code === 'ENOTFOUND' || code === 'ENODATA' ? 'none' : 'silent', code };
}

function noAddress(name: string, family: number): Fault {
  return new Fault('DIAL_NAME_UNKNOWN', `${name} has no address of version ${family}`);
}
