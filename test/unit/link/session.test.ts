import { describe, expect, test } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import {
  type LiveMessage,
  MAX_UNSENT_BYTES,
  OPEN_DEADLINE_MS,
  type Session,
  type SessionEnd,
  startSession,
  WELCOME_DEADLINE_MS,
} from '../../../src/link/session.ts';
import type { SignedHead } from '../../../src/protocol/audit.ts';
import type { Hello, Welcome } from '../../../src/protocol/control.ts';
import {
  challenge,
  createHandClock,
  createHandSockets,
  type HandSocket,
  helloOf,
  startOrderOf,
  welcome,
} from './parts.ts';

interface Bench {
  readonly session: Session;
  readonly socket: HandSocket;
  readonly clock: ReturnType<typeof createHandClock>;
  readonly ends: SessionEnd[];
  readonly messages: LiveMessage[];
  readonly welcomes: Welcome[];
  readonly contacts: number[];
  readonly heads: SignedHead[];
  /** Brings the session to live. */
  greet(): Promise<void>;
}

function bench(hello: () => Promise<Hello> = async () => helloOf()): Bench {
  const clock = createHandClock();
  const { connect, sockets } = createHandSockets();
  const ends: SessionEnd[] = [];
  const messages: LiveMessage[] = [];
  const frames: Uint8Array[] = [];
  const welcomes: Welcome[] = [];
  const contacts: number[] = [];
  const heads: SignedHead[] = [];
  const session = startSession({
    url: 'http://127.0.0.1:7070/below/',
    connect,
    clock,
    hello,
    live: (message) => void welcomes.push(message),
    contact: (sinceMs) => void contacts.push(sinceMs),
    schedulerHead: (head) => void heads.push(head),
    ignored() {},
    message: (message) => void messages.push(message),
    frame: (frame) => void frames.push(frame),
    drained: () => {},
    ended: (end) => void ends.push(end),
  });
  const socket = sockets[0] as HandSocket;
  return {
    session,
    socket,
    clock,
    ends,
    messages,
    welcomes,
    contacts,
    heads,
    async greet() {
      socket.events.open();
      socket.say(challenge);
      await clock.advance(0);
      socket.say(welcome);
    },
  };
}

describe('a session', () => {
  test('asks for the path of the link below the base URL', () => {
    expect(bench().socket.url).toBe('ws://127.0.0.1:7070/below/v1/link');
  });

  test('answers the challenge with the hello and is live after the welcome', async () => {
    const { socket, session, welcomes, greet } = bench();
    await greet();
    expect(JSON.parse(socket.texts[0] ?? '')).toMatchObject({ type: 'hello', nodeId: 'node-1' });
    expect(session.isLive()).toBe(true);
    expect(welcomes).toHaveLength(1);
  });

  test('hands live messages on and keeps heartbeats to itself', async () => {
    const { socket, messages, greet } = bench();
    await greet();
    socket.say({ type: 'heartbeat' });
    socket.say({ type: 'ack', sequence: 3 });
    expect(messages).toEqual([{ type: 'ack', sequence: 3 }]);
  });

  test('hands on how far the audit log of the scheduler has come, where a heartbeat tells it', async () => {
    const { socket, heads, greet } = bench();
    await greet();
    const auditHead = { publicKey: `${'A'.repeat(58)}==`, body: '{}', signature: `${'A'.repeat(86)}==` };
    socket.say({ type: 'heartbeat' });
    socket.say({ type: 'heartbeat', auditHead });
    expect(heads).toEqual([auditHead]);
  });

  test('ends when the connection, the challenge or the welcome does not come in time', async () => {
    const never = bench();
    await never.clock.advance(OPEN_DEADLINE_MS);
    expect(never.ends[0]).toMatchObject({ code: null, fault: 'LINK_TIMEOUT', wasLive: false });
    expect(never.socket.terminated).toBe(true);
    const mute = bench();
    mute.socket.events.open();
    await mute.clock.advance(5000);
    expect(mute.ends[0]).toMatchObject({ code: 4408, reason: 'the scheduler sent no challenge' });
    const rude = bench();
    rude.socket.events.open();
    rude.socket.say(challenge);
    await rude.clock.advance(WELCOME_DEADLINE_MS);
    expect(rude.ends[0]).toMatchObject({ code: 4408, reason: 'the scheduler did not answer the hello' });
  });

  test('ends with the words of the fault when the hello is refused to this scheduler', async () => {
    const { socket, clock, ends } = bench(async () => {
      throw new Fault('AGENT_OTHER_SCHEDULER', 'this node belongs to another');
    });
    socket.events.open();
    socket.say(challenge);
    await clock.advance(0);
    expect(ends[0]).toMatchObject({ fault: 'AGENT_OTHER_SCHEDULER', reason: 'this node belongs to another' });
    expect(socket.texts).toEqual([]);
  });

  test('does not wait for ever for its own hello', async () => {
    const { socket, clock, ends } = bench(() => new Promise(() => {}));
    socket.events.open();
    socket.say(challenge);
    await clock.advance(5000);
    expect(ends[0]?.reason).toContain('could not make its hello');
  });

  test('sends a numbered heartbeat with each interval, whatever else is sent', async () => {
    const { socket, session, clock, greet } = bench();
    await greet();
    const beats = () =>
      socket.texts.filter((text) => text.includes('heartbeat')).map((text) => JSON.parse(text));
    expect(beats()).toEqual([{ type: 'heartbeat', sequence: 1 }]);
    await clock.advance(600);
    session.send('"something else"');
    socket.say({ type: 'heartbeat' });
    await clock.advance(400);
    socket.say({ type: 'heartbeat' });
    await clock.advance(1000);
    expect(beats().map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
    session.ask();
    expect(beats()).toHaveLength(4);
  });

  test('counts from when it sent what came back, not from when it came back', async () => {
    const { socket, clock, contacts, greet } = bench();
    await greet();
    const helloMs = clock.monotonicMs();
    expect(contacts).toEqual([helloMs]);
    await clock.advance(1000);
    await clock.advance(900);
    socket.say({ type: 'heartbeat', echo: 2 });
    expect(contacts).toEqual([helloMs, helloMs + 1000]);
    // What was heard before it is heard; what was never sent is nothing.
    socket.say({ type: 'heartbeat', echo: 1 });
    socket.say({ type: 'heartbeat', echo: 2 });
    socket.say({ type: 'heartbeat', echo: 77 });
    socket.say({ type: 'heartbeat', echo: null });
    expect(contacts).toHaveLength(2);
  });

  test('does not pile up heartbeats behind bytes that the peer does not take', async () => {
    const { socket, clock, greet } = bench();
    await greet();
    socket.buffered = 10;
    for (let at = 0; at < 20; at += 1) {
      socket.say({ type: 'heartbeat' });
      await clock.advance(1000);
    }
    expect(socket.texts.filter((text) => text.includes('heartbeat'))).toHaveLength(4);
  });

  test('gives up on a scheduler that is silent for three heartbeats', async () => {
    const { socket, clock, ends, greet } = bench();
    await greet();
    await clock.advance(2500);
    socket.events.sign();
    await clock.advance(3000);
    expect(ends).toEqual([]);
    await clock.advance(1000);
    expect(ends[0]).toMatchObject({ code: 4460, fault: 'LINK_SILENT', wasLive: true });
    expect(socket.closedWith?.code).toBe(4460);
  });

  test('ends when the peer lets more than the bound pile up', async () => {
    const { socket, session, ends, greet } = bench();
    await greet();
    socket.buffered = MAX_UNSENT_BYTES + 1;
    session.send('one more');
    expect(ends[0]?.reason).toBe('the scheduler does not read what is sent to it');
  });

  test('drops a connection that does not close', async () => {
    const { socket, session, clock, greet } = bench();
    await greet();
    session.close(1001, 'the agent stops');
    expect(socket.terminated).toBe(false);
    await clock.advance(1000);
    expect(socket.terminated).toBe(true);
    await session.gone;
    expect(clock.pending()).toBe(0);
  });

  test('tells its end once, and nothing afterwards', async () => {
    const { socket, session, ends, messages, greet } = bench();
    await greet();
    socket.say('nonsense');
    socket.say({ type: 'ack', sequence: 1 });
    socket.events.failed(new Error('late'), null);
    socket.events.closed(1006, '');
    socket.events.closed(1006, '');
    session.close(1000, 'again');
    expect(ends).toHaveLength(1);
    expect(messages).toEqual([]);
    expect(session.send('x')).toBe(false);
  });

  test('explains a close by the peer in clean words', async () => {
    const said = bench();
    await said.greet();
    said.socket.events.closed(4409, 'another\nagent\u001b[31m');
    expect(said.ends[0]?.reason).toBe('the scheduler closed the session (4409): another agent [31m');
    const lost = bench();
    await lost.greet();
    lost.socket.events.failed(new Error('read ECONNRESET'), null);
    lost.socket.events.closed(1006, '');
    expect(lost.ends[0]?.reason).toBe('the connection was lost: read ECONNRESET');
    const error = bench();
    await error.greet();
    error.socket.say({ type: 'error', code: 'FLEET_X', message: 'no place' });
    error.socket.events.closed(4400, '');
    expect(error.ends[0]?.reason).toBe('the scheduler closed the session (4400): FLEET_X: no place');
  });

  test('notes how long a scheduler that shuts down wants to be left alone', async () => {
    const { socket, ends, greet } = bench();
    await greet();
    socket.events.closed(4503, 'retry-after 20');
    expect(ends[0]?.retryAfterMs).toBe(20_000);
    const other = bench();
    await other.greet();
    other.socket.events.closed(4400, 'retry-after 20');
    expect(other.ends[0]?.retryAfterMs).toBeNull();
  });

  test("keeps the remedy of this host's own reasons, and cuts what a peer says", async () => {
    const own = bench();
    const remedy = `${'join again with a token that carries the pin '.repeat(6)}and this is the end`;
    own.socket.events.failed(new Fault('DIAL_AUTHORITY_UNKNOWN', 'not trusted', { remedy }), null);
    own.socket.events.closed(1006, '');
    expect(own.ends[0]?.reason).toBe(`not trusted; ${remedy}`);
    const theirs = bench();
    await theirs.greet();
    theirs.socket.say({ type: 'error', code: 'FLEET_X', message: 'x'.repeat(400) });
    theirs.socket.events.closed(4400, '');
    expect(theirs.ends[0]?.reason.length).toBeLessThan(300);
  });

  test('names the causes behind an error that says nothing itself', () => {
    const { socket, ends } = bench();
    const tried = [
      new Error('connect ECONNREFUSED ::1:7070'),
      new Error('connect ECONNREFUSED 127.0.0.1:7070'),
    ];
    socket.events.failed(new AggregateError(tried), null);
    socket.events.failed(new Error('closed before the connection was established'), null);
    socket.events.closed(1006, '');
    expect(ends[0]?.reason).toBe('connect ECONNREFUSED ::1:7070, connect ECONNREFUSED 127.0.0.1:7070');
  });
});

describe('a message is legal in one state only', () => {
  const texts = {
    challenge,
    welcome,
    start: startOrderOf('job-1'),
    ack: { type: 'ack', sequence: 1 },
    heartbeat: { type: 'heartbeat' },
  };
  const states: Record<string, { legal: string[]; enter(bench: Bench): Promise<void> | void }> = {
    waiting: { legal: ['challenge'], enter: ({ socket }) => socket.events.open() },
    greeting: {
      legal: ['welcome'],
      async enter({ socket, clock }) {
        socket.events.open();
        socket.say(challenge);
        await clock.advance(0);
      },
    },
    live: { legal: ['start', 'ack', 'heartbeat'], enter: ({ greet }) => greet() },
  };
  for (const [state, { legal, enter }] of Object.entries(states)) {
    for (const [type, text] of Object.entries(texts)) {
      const isLegal = legal.includes(type);
      test(`${type} while ${state} ${isLegal ? 'is taken' : 'ends the session'}`, async () => {
        const made = bench();
        await enter(made);
        made.socket.say(text);
        await made.clock.advance(0);
        expect(made.ends.map((end) => end.code)).toEqual(isLegal ? [] : [4400]);
        if (!isLegal) expect(made.messages).toEqual([]);
      });
    }
  }
});
