// Connections over which the runner fetches and brings files: it has no network, so the agent carries them. For each the
// runner asks its agent, which comes with another connection to the runner's socket and a ticket, and from there on
// serves HTTP on it (agent/file-relay.ts). The runner never opens a path that an agent chose.
import { randomBytes } from 'node:crypto';
import { type Agent, type ClientRequestArgs, Agent as PlainAgent } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { FileWay } from '../files/transfer.ts';

/** How long the agent may take to come with a connection. */
export const FILES_CONNECT_MS = 10_000;
const TICKET_BYTES = 18;
const WAITING_MAX = 64;

/** What requests for files name as their host; nobody looks it up. */
export const RELAY_URL = 'http://agent.flopd';

export interface FileConnections {
  readonly way: FileWay;
  /** A connection that came with this ticket; false where nobody waits for it. */
  give(ticket: string, socket: Duplex): boolean;
}

/** `ask` tells the agent; false where there is none. */
export function createFileConnections(ask: (ticket: string) => boolean, clock: Clock): FileConnections {
  const waiting = new Map<string, (socket: Duplex | null) => void>();

  function connect(done: (error: Error | null, socket: Duplex) => void): void {
    const fail = (why: string): void => done(new Fault('FILES_AWAY', why), undefined as unknown as Duplex);
    if (waiting.size >= WAITING_MAX) {
      fail('the agent of this node is slow to carry files');
      return;
    }
    const ticket = randomBytes(TICKET_BYTES).toString('base64url');
    const timer = clock.after(FILES_CONNECT_MS, () => waiting.get(ticket)?.(null));
    waiting.set(ticket, (socket) => {
      timer.cancel();
      waiting.delete(ticket);
      if (socket === null) fail('the agent of this node does not carry files');
      else done(null, socket);
    });
    if (!ask(ticket)) waiting.get(ticket)?.(null);
  }

  class Carried extends PlainAgent {
    override createConnection(
      _: ClientRequestArgs,
      callback?: (error: Error | null, stream: Duplex) => void,
    ): undefined {
      if (callback !== undefined) connect(callback);
    }
  }

  return {
    way: {
      options: () => ({}),
      pool: (_, { maxSockets, idleMs }): Agent =>
        new Carried({ keepAlive: true, maxSockets, timeout: idleMs }),
      explain: (_, error) => (error instanceof Error ? error : new Error(String(error))),
    },
    give(ticket, socket) {
      const take = waiting.get(ticket);
      take?.(socket);
      return take !== undefined;
    },
  };
}
