// One connection to the scheduler, from the handshake to its end, as a state machine without memory of other
// connections:
//
//   opening --open--> challenged? --challenge--> proving --hello sent--> greeted? --welcome--> live
//      any state --deadline, bad message, silence, close--> ended (once, for good)
//
// A message is legal in exactly one state; any other ends the session with badMessage, and nothing of it takes
// effect. Silence is counted in ticks of the heartbeat, not in elapsed time, so that an agent that was stopped for
// a minute reads what waits in its socket before it gives up on the scheduler.
import { type Clock, every, type Timer } from '../base/clock.ts';
import { describeError, Fault, isFault } from '../base/fault.ts';
import type { SignedHead } from '../protocol/audit.ts';
import {
  type AgentMessage,
  type Challenge,
  closeCode,
  HELLO_DEADLINE_MS,
  type Hello,
  LINK_PATH,
  type SchedulerMessage,
  type Welcome,
} from '../protocol/control.ts';
import { frameKind } from '../protocol/frame.ts';
import { LEASE_MIN_HEARTBEATS } from '../protocol/lease.ts';
import { nextFields } from '../protocol/next.ts';
import { chooseVersion, describeVersions, ownVersions, type VersionRange } from '../protocol/version.ts';
import { type Incoming, parseSchedulerMessage, printable, printableOwn, type UnfitOrder } from './message.ts';
import { createRoundTrips } from './round-trips.ts';
import { type LinkSocket, linkUrl, retryAfterSeconds, type SocketFactory } from './socket.ts';

/** TCP, TLS and upgrade together, however slowly the peer drips. */
export const OPEN_DEADLINE_MS = 15_000;
/** From hello to welcome; a scheduler that greets ten thousand agents may need a while. */
export const WELCOME_DEADLINE_MS = 20_000;
/** How many heartbeats without a sign from the scheduler end the session. */
export const SILENT_HEARTBEATS = LEASE_MIN_HEARTBEATS;
/** How long a closing connection may take before it is dropped. */
export const CLOSE_DEADLINE_MS = 1000;
/** Messages that wait in memory for a peer that does not read; beyond it the session ends. */
export const MAX_UNSENT_BYTES = 8 * 1024 * 1024;

/** Messages of a live session that are the link's business. */
export type LiveMessage =
  | Exclude<SchedulerMessage, { type: 'challenge' | 'welcome' | 'heartbeat' | 'error' }>
  | UnfitOrder;

export interface SessionEnd {
  /** Close code of either side, or null when there was never a session to close. */
  readonly code: number | null;
  /** Why, in words for a person: no control characters, no bytes of a bad message. */
  readonly reason: string;
  /** Stable code where this side ended it for a fault, or null. */
  readonly fault: string | null;
  readonly retryAfterMs: number | null;
  readonly wasLive: boolean;
}

export interface SessionParts {
  /** The scheduler's base URL. */
  readonly url: string;
  readonly connect: SocketFactory;
  readonly clock: Clock;
  readonly helloDeadlineMs?: number;
  /** That are spoken; without it, all that this build knows. */
  readonly versions?: VersionRange;
  /** Builds the signed hello for this challenge, bound to the TLS channel ('' without). A fault ends the session with its words. */
  hello(challenge: Challenge, binding: string): Promise<Hello>;
  live(welcome: Welcome): void;
  /** A round trip is complete that began at this monotonic time: the scheduler has heard us since. */
  contact(sinceMs: number): void;
  /** How far the scheduler's own audit log has come, in its welcome and now and then. */
  schedulerHead?(head: SignedHead): void;
  /** Fields or whole messages of a newer peer were left out. */
  ignored(what: readonly string[]): void;
  /** A fault of these two ends the session. */
  message(message: LiveMessage): void;
  frame(frame: Uint8Array): void;
  /** The socket's memory has room again. */
  drained(): void;
  /** Called exactly once. Nothing else is called afterwards. */
  ended(end: SessionEnd): void;
}

export interface Session {
  /** Sends while live; false otherwise. */
  send(data: string | Uint8Array): boolean;
  isLive(): boolean;
  bufferedBytes(): number;
  pause(): void;
  resume(): void;
  /** Begins a round trip now, not at the next heartbeat. */
  ask(): void;
  /** Ends the session. `reason` is told to the peer. */
  close(code: number, reason: string): void;
  /** Resolves when the connection is really gone. */
  readonly gone: Promise<void>;
}

type State = 'opening' | 'waiting' | 'proving' | 'greeting' | 'live' | 'ended';

export function startSession(parts: SessionParts): Session {
  const { clock } = parts;
  const helloDeadlineMs = parts.helloDeadlineMs ?? HELLO_DEADLINE_MS;
  const versions = parts.versions ?? ownVersions;
  let state: State = 'opening';
  let timers: Timer[] = [];
  let heartbeatMs = 0;
  let helloSentMs = 0;
  const trips = createRoundTrips(clock);
  let heard = false;
  let quietTicks = 0;
  let failure: string | null = null;
  let retryAfterMs: number | null = null;
  let finish: () => void = () => {};
  const gone = new Promise<void>((resolve) => {
    finish = resolve;
  });

  const socket: LinkSocket = parts.connect(linkUrl(parts.url, LINK_PATH), {
    open() {
      if (state !== 'opening') return;
      state = 'waiting';
      deadline(helloDeadlineMs, 'the scheduler sent no challenge');
    },
    text: onText,
    binary(frame) {
      heard = true;
      if (state === 'ended') return;
      try {
        if (state !== 'live' || frameKind(frame) !== 'exec')
          throw new Fault('LINK_MESSAGE_UNEXPECTED', 'a binary frame');
        parts.frame(frame);
      } catch (error) {
        if (!isFault(error)) throw error;
        refuse(error);
      }
    },
    sign() {
      heard = true;
    },
    drained() {
      if (state === 'live') parts.drained();
    },
    failed(error, seconds) {
      // The first is the cause; later ones come of the clean-up.
      failure ??= printableOwn(describeFailure(error));
      if (seconds !== null) retryAfterMs = seconds * 1000;
    },
    closed: onClosed,
  });
  deadline(OPEN_DEADLINE_MS, 'the connection was not made in time');

  /** Replaces whatever is timed at present by one deadline. */
  function deadline(delayMs: number, reason: string): void {
    cancelTimers();
    timers = [clock.after(delayMs, () => end(closeCode.helloTimeout, reason, 'LINK_TIMEOUT'))];
  }

  function cancelTimers(): void {
    for (const timer of timers) timer.cancel();
    timers = [];
  }

  function onText(bytes: Uint8Array): void {
    heard = true;
    if (state === 'ended') return;
    try {
      receive(parseSchedulerMessage(bytes));
    } catch (error) {
      if (!isFault(error)) throw error;
      refuse(error);
    }
  }

  function receive({ message, ignored }: Incoming): void {
    if (ignored.length > 0) parts.ignored(ignored);
    if (message === null) return;
    if (message.type === 'error') {
      failure = printable(`${message.code}: ${message.message}`);
      return;
    }
    if (message.type === 'challenge' && state === 'waiting') {
      state = 'proving';
      prove(message).catch((error: unknown) =>
        end(closeCode.badMessage, printableOwn(describeError(error)), faultCode(error)),
      );
      return;
    }
    if (message.type === 'welcome' && state === 'greeting') {
      welcome(message);
      return;
    }
    if (message.type !== 'challenge' && message.type !== 'welcome' && state === 'live') {
      if (message.type === 'heartbeat') {
        echoed(message.echo);
        if (message.auditHead !== undefined) parts.schedulerHead?.(message.auditHead);
      } else parts.message(message);
      return;
    }
    throw new Fault('LINK_MESSAGE_UNEXPECTED', `the message "${message.type}" while ${state}`);
  }

  async function prove(challenge: Challenge): Promise<void> {
    cancelTimers();
    if (chooseVersion(versions, challenge.versions) === null) {
      const reason = `the scheduler speaks ${describeVersions(challenge.versions)}, this agent ${describeVersions(versions)}`;
      end(closeCode.version, reason, 'LINK_VERSION');
      return;
    }
    deadline(helloDeadlineMs, 'the agent could not make its hello in time');
    const hello = await parts.hello(challenge, socket.binding());
    if (state !== 'proving') return;
    state = 'greeting';
    helloSentMs = clock.monotonicMs();
    transmit(JSON.stringify({ ...hello, ...nextFields() }));
    deadline(WELCOME_DEADLINE_MS, 'the scheduler did not answer the hello');
  }

  function welcome(message: Welcome): void {
    const { version } = message;
    if (chooseVersion(versions, { min: version, max: version }) === null) {
      end(closeCode.version, `the scheduler chose version ${message.version}`, 'LINK_VERSION');
      return;
    }
    state = 'live';
    failure = null;
    heartbeatMs = message.heartbeatMs;
    cancelTimers();
    timers = [every(clock, heartbeatMs, onTick)];
    parts.live(message);
    parts.contact(helloSentMs);
    if (message.auditHead !== undefined) parts.schedulerHead?.(message.auditHead);
    beat();
  }

  function echoed(sequence: number | null): void {
    const sinceMs = sequence === null ? null : trips.echoed(sequence);
    if (sinceMs !== null) parts.contact(sinceMs);
  }

  function onTick(): void {
    quietTicks = heard ? 0 : quietTicks + 1;
    heard = false;
    if (quietTicks < SILENT_HEARTBEATS) {
      beat();
      return;
    }
    end(
      closeCode.silent,
      `nothing came from the scheduler for ${(quietTicks * heartbeatMs) / 1000} s`,
      'LINK_SILENT',
    );
  }

  /** Nothing is added to what a slow peer has not taken yet, once some heartbeats are on the way to it. */
  function beat(): void {
    const sequence = trips.begin(socket.bufferedBytes() > 0);
    if (sequence === null) return;
    transmit(JSON.stringify({ type: 'heartbeat', sequence, ...nextFields() } satisfies AgentMessage));
  }

  function transmit(data: string | Uint8Array): void {
    if (socket.bufferedBytes() > MAX_UNSENT_BYTES) {
      end(closeCode.silent, 'the scheduler does not read what is sent to it', 'LINK_SILENT');
      return;
    }
    socket.send(data);
  }

  /** Ends the session for a message that is not one; the peer learns the code, never its own bytes back. */
  function refuse(fault: Fault): void {
    const where = fault.field === null ? '' : ` (at ${fault.field})`;
    const text = `the scheduler sent ${fault.message}${where}`;
    const answer: AgentMessage = { type: 'error', code: fault.code, message: text };
    if (state !== 'ended') socket.send(JSON.stringify(answer));
    end(closeCode.badMessage, text, fault.code);
  }

  function end(code: number, reason: string, fault: string | null): void {
    if (state === 'ended') return;
    const wasLive = state === 'live';
    const wasOpen = state !== 'opening';
    state = 'ended';
    cancelTimers();
    socket.resume();
    if (wasOpen) socket.close(code, reason.slice(0, 120).replace(/[^\x20-\x7e]/g, '?'));
    else socket.terminate();
    timers = [clock.after(CLOSE_DEADLINE_MS, () => socket.terminate())];
    parts.ended({ code: wasOpen ? code : null, reason, fault, retryAfterMs, wasLive });
  }

  function onClosed(code: number, peerReason: string): void {
    cancelTimers();
    finish();
    if (state === 'ended') return;
    const wasLive = state === 'live';
    const wasOpen = state !== 'opening';
    state = 'ended';
    const seconds = code === closeCode.shuttingDown ? retryAfterSeconds(peerReason) : null;
    if (seconds !== null) retryAfterMs = seconds * 1000;
    parts.ended({
      code: wasOpen ? code : null,
      reason: describeClose(wasOpen, code, printable(peerReason), failure),
      fault: null,
      retryAfterMs,
      wasLive,
    });
  }

  return {
    send(data) {
      if (state !== 'live') return false;
      transmit(data);
      return true;
    },
    isLive: () => state === 'live',
    bufferedBytes: () => socket.bufferedBytes(),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    ask() {
      if (state === 'live') beat();
    },
    close: (code, reason) => end(code, reason, null),
    gone,
  };
}

/** Node tries all addresses of a name and wraps the failures in an error that says nothing itself. */
function describeFailure(error: Error): string {
  if (error instanceof AggregateError) return error.errors.map(describeError).join(', ');
  return describeError(error) || error.name;
}

function faultCode(error: unknown): string {
  return isFault(error) ? error.code : 'LINK_HELLO';
}

function describeClose(wasOpen: boolean, code: number, peerReason: string, failure: string | null): string {
  if (!wasOpen) return failure ?? 'the connection was refused';
  const said = peerReason === '' ? failure : peerReason;
  if (code === 1006) return said === null ? 'the connection was lost' : `the connection was lost: ${said}`;
  return said === null
    ? `the scheduler closed the session (${code})`
    : `the scheduler closed the session (${code}): ${said}`;
}
