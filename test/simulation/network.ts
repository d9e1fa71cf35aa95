// The network of a simulation: connections between agents and the scheduler, each with delays of its own, in order
// within a connection and in no order between them. A path may be cut in one direction or in both: then nothing gets
// through and nobody is told, until it heals. A connection may be reset, and what was on the way may be lost.
import { EventEmitter } from 'node:events';
import type { LinkSocket, SocketEvents, SocketFactory } from '../../src/link/socket.ts';
import type { ServerSocket } from '../../src/scheduler/server-session.ts';
import type { Dice } from './seed.ts';
import type { Life, Time } from './time.ts';

export interface Path {
  /** Nothing gets from the agent to the scheduler, or the other way. */
  cutUp: boolean;
  cutDown: boolean;
}

/** Who takes connections at present; null: nobody listens. */
export interface Listener {
  readonly life: Life;
  accept(socket: ServerSocket): void;
}

/** What somebody sends, for the history. `text` is null for binary frames. */
export interface Wiretap {
  fromAgent(node: string, connection: number, text: string | null): void;
  fromScheduler(node: string, connection: number, text: string | null): void;
}

export interface Network {
  connector(node: string, life: Life): SocketFactory;
  path(node: string): Path;
  /** Breaks the connections of a node; with `half` only one side learns of it. */
  reset(node: string, half: boolean): void;
  /** What was held up gets through again. */
  heal(node: string): void;
  listener: Listener | null;
}

type Item =
  | { readonly kind: 'data'; readonly data: string | Uint8Array }
  | { readonly kind: 'close'; readonly code: number; readonly reason: string };

interface Side {
  readonly life: Life;
  /** The far end; itself until there is one. */
  other: Side;
  /** Nothing gets to this side at present. */
  isCut(): boolean;
  /** Takes an item; only while this side is open. */
  take(item: Item): void;
  /** The connection is over. */
  gone(code: number, reason: string): void;
  sent(): void;
  open: boolean;
  paused: boolean;
  /** What is on its way to this side, or waits because it is paused. */
  readonly incoming: { readonly item: Item; readonly atMs: number }[];
  incomingBytes: number;
  /** When the last of it arrives. */
  arrivalMs: number;
}

const sizeOf = (item: Item): number => (item.kind === 'data' ? Buffer.byteLength(item.data) : 0);

export function createNetwork(time: Time, dice: Dice, tap: Wiretap): Network {
  const paths = new Map<string, Path>();
  /** The agent's side of each connection of a node. */
  const connections = new Map<string, Set<Side>>();
  let made = 0;

  function path(node: string): Path {
    let known = paths.get(node);
    if (known === undefined) {
      known = { cutUp: false, cutDown: false };
      paths.set(node, known);
    }
    return known;
  }

  const network: Network = {
    listener: null,
    path,
    reset(node, half) {
      for (const agent of connections.get(node) ?? []) {
        const sides = half ? [dice.pick([agent, agent.other])] : [agent, agent.other];
        for (const side of sides) {
          // What was on the way may still arrive, up to some point.
          const lost = dice.between(0, side.incoming.length);
          for (const { item } of side.incoming.splice(side.incoming.length - lost))
            side.incomingBytes -= sizeOf(item);
          time.at(dice.between(1, 50), () => over(side, 1006, ''));
        }
      }
    },
    heal(node) {
      const known = path(node);
      known.cutUp = false;
      known.cutDown = false;
      for (const agent of connections.get(node) ?? [])
        for (const side of [agent, agent.other]) {
          arrive(side);
          // Whoever is gone meanwhile says so to the first that is sent to it.
          if (!side.other.open) time.at(dice.between(1, 40), () => over(side, 1006, ''));
        }
    },
    connector: (node, life) => (_url, events) => connect(node, life, events),
  };

  function over(side: Side, code: number, reason: string): void {
    if (!side.open) return;
    side.open = false;
    side.life.run(() => side.gone(code, reason));
    if (side.other.open) return;
    for (const all of connections.values()) {
      all.delete(side);
      all.delete(side.other);
    }
  }

  function connect(node: string, life: Life, events: SocketEvents): LinkSocket {
    made += 1;
    const id = made;
    const way = path(node);
    const delayMs = dice.between(1, 30);
    const emitter = new EventEmitter();
    const up: Side = {
      life,
      isCut: () => way.cutDown,
      take(item) {
        if (item.kind === 'data') events.text(Buffer.from(item.data as string));
      },
      gone: (code, reason) => events.closed(code, reason),
      sent: () => events.drained(),
      ...fresh(),
    };
    up.other = up;

    function opened(): void {
      if (!up.open || !life.isAlive()) return;
      if (way.cutUp || way.cutDown) {
        // Nothing comes back; the agent's own deadline ends it.
        return;
      }
      const listener = network.listener;
      if (listener === null || !listener.life.isAlive()) {
        life.run(() => events.failed(new Error('connect ECONNREFUSED'), null));
        over(up, 1006, '');
        return;
      }
      const server: Side = {
        life: listener.life,
        isCut: () => way.cutUp,
        take(item) {
          if (item.kind !== 'data') return;
          const isBinary = typeof item.data !== 'string';
          emitter.emit('message', Buffer.from(item.data as string), isBinary);
        },
        gone: (code, reason) => void emitter.emit('close', code, Buffer.from(reason)),
        sent() {},
        ...fresh(),
      };
      server.other = up;
      up.other = server;
      const all = connections.get(node) ?? new Set();
      connections.set(node, all.add(up));
      // A process that dies leaves its kernel to say so.
      for (const dying of [server, up])
        dying.life.onKill(() => {
          dying.open = false;
          if (!dying.other.isCut()) time.at(dice.between(1, 40), () => over(dying.other, 1006, ''));
        });
      life.run(() => events.open());
      listener.life.run(() => listener.accept(serverSocket(node, id, server, emitter)));
    }

    time.at(delayMs, opened);
    return {
      binding: () => '',
      send(data) {
        if (!life.isAlive() || !up.open || up.other === up) return;
        tap.fromAgent(node, id, typeof data === 'string' ? data : null);
        send(up.other, { kind: 'data', data });
      },
      bufferedBytes: () => (up.other === up ? 0 : up.other.incomingBytes),
      pause() {
        up.paused = true;
      },
      resume() {
        up.paused = false;
        time.at(0, () => arrive(up));
      },
      close(code, reason) {
        if (!life.isAlive() || !up.open) return;
        if (up.other !== up) send(up.other, { kind: 'close', code, reason });
        else time.at(0, () => over(up, 1006, ''));
      },
      terminate: () => terminate(up),
    };
  }

  function terminate(side: Side): void {
    if (!side.life.isAlive() || !side.open) return;
    time.at(0, () => over(side, 1006, ''));
    const { other } = side;
    if (other !== side && !other.isCut()) time.at(dice.between(1, 40), () => over(other, 1006, ''));
  }

  function serverSocket(node: string, id: number, own: Side, emitter: EventEmitter): ServerSocket {
    const socket = {
      on(event: string, listener: (...args: unknown[]) => void) {
        emitter.on(event, listener);
        return socket;
      },
      OPEN: 1,
      get readyState() {
        return own.open ? 1 : 3;
      },
      get bufferedAmount() {
        return own.other.incomingBytes;
      },
      ping() {
        const roundTripMs = dice.between(2, 60);
        // Whoever is stopped answers when it goes on.
        time.at(roundTripMs, () =>
          own.other.life.run(() => {
            if (own.open && own.other.open && !own.isCut() && !own.other.isCut())
              own.life.run(() => void emitter.emit('pong'));
          }),
        );
      },
      send(data: string) {
        if (!own.life.isAlive() || !own.open) return;
        tap.fromScheduler(node, id, data);
        send(own.other, { kind: 'data', data });
      },
      pause() {
        own.paused = true;
      },
      resume() {
        own.paused = false;
        time.at(0, () => arrive(own));
      },
      close(code: number, reason: string) {
        if (own.life.isAlive() && own.open) send(own.other, { kind: 'close', code, reason });
      },
      terminate: () => terminate(own),
    };
    return socket as unknown as ServerSocket;
  }

  /** Puts an item on its way to a side; it arrives after those before it. */
  function send(to: Side, item: Item): void {
    const delayMs = dice.chance(0.03) ? dice.between(50, 1500) : dice.between(1, 20);
    to.arrivalMs = Math.max(to.arrivalMs, time.nowMs() + delayMs);
    to.incoming.push({ item, atMs: to.arrivalMs });
    to.incomingBytes += sizeOf(item);
    time.at(to.arrivalMs - time.nowMs(), () => arrive(to));
  }

  /** Hands over what has arrived. */
  function arrive(to: Side): void {
    if (to.isCut()) return;
    to.life.run(() => {
      for (;;) {
        const [next] = to.incoming;
        if (next === undefined || next.atMs > time.nowMs() || !to.open || to.paused || !to.life.isAlive())
          return;
        to.incoming.shift();
        const { item } = next;
        to.incomingBytes -= sizeOf(item);
        const from = to.other;
        if (item.kind === 'close') {
          over(to, item.code, item.reason);
          // The other side hears its own close come back.
          time.at(dice.between(1, 20), () => over(from, item.code, item.reason));
          return;
        }
        to.take(item);
        if (from.open) from.life.run(() => from.sent());
      }
    });
  }

  return network;
}

function fresh(): Pick<Side, 'other' | 'open' | 'paused' | 'incoming' | 'incomingBytes' | 'arrivalMs'> {
  const nobody = null as unknown as Side;
  return { other: nobody, open: true, paused: false, incoming: [], incomingBytes: 0, arrivalMs: 0 };
}
