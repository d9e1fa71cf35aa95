// What a broken or hostile scheduler may send. Each input costs the agent its session and nothing else: the peer is
// told the right code, one log line is written, and the link comes back.
import { createHash } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { startFakeScheduler, until } from '../../fakes/scheduler.ts';
import { challenge, startOrderOf, welcome } from '../../unit/link/parts.ts';
import { openTestLink, type TestLink } from './parts.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const part of open.splice(0).reverse()) await part.close();
});

interface RawPeer {
  readonly url: string;
  readonly sockets: Socket[];
  /** When each connection came, monotonic ms. */
  readonly times: number[];
  /** Bytes that the agent sent on each connection. */
  readonly received: Buffer[];
}

/** A TCP server that answers the upgrade by `answer` and then sends `bytes`. */
async function rawPeer(
  bytes: (socket: Socket) => void,
  answer: (key: string) => string = upgraded,
): Promise<RawPeer> {
  const sockets: Socket[] = [];
  const times: number[] = [];
  const received: Buffer[] = [];
  const server: Server = createServer((socket) => {
    const at = sockets.push(socket) - 1;
    times.push(performance.now());
    received.push(Buffer.alloc(0));
    socket.on('error', () => {});
    let head = '';
    socket.on('data', (chunk: Buffer) => {
      if (head.endsWith('\r\n\r\n')) {
        received[at] = Buffer.concat([received[at] as Buffer, chunk]);
        return;
      }
      head += chunk.toString('latin1');
      if (!head.endsWith('\r\n\r\n')) return;
      socket.write(answer(/sec-websocket-key: (\S+)/i.exec(head)?.[1] ?? ''));
      bytes(socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets, times, received };
}

function upgraded(key: string, more = 'Sec-WebSocket-Protocol: flopd.v1\r\n'): string {
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${more}\r\n`;
}

/** The code of the first close frame among a client's (masked, short) frames; null where there is none. */
function closeCodeIn(bytes: Buffer): number | null {
  for (let at = 0; at + 6 <= bytes.length; ) {
    const length = (bytes[at + 1] ?? 0) & 0x7f;
    if (bytes[at] === 0x88 && bytes.length >= at + 8) {
      const byte = (index: number): number => (bytes[at + 6 + index] ?? 0) ^ (bytes[at + 2 + index] ?? 0);
      return (byte(0) << 8) | byte(1);
    }
    at += 6 + length;
  }
  return null;
}

function connect(url: string): TestLink {
  const opened = openTestLink(url);
  open.push(opened.link);
  return opened;
}

const text = (payload: string, opcode = 0x81): Buffer => {
  const body = Buffer.from(payload);
  const head =
    body.length < 126
      ? Buffer.from([opcode, body.length])
      : Buffer.from([opcode, 126, body.length >> 8, body.length & 255]);
  return Buffer.concat([head, body]);
};

describe('a frame that is not one', () => {
  const cases: Record<string, { bytes: Buffer; code: number }> = {
    'a masked frame from a server': { bytes: Buffer.from([0x81, 0x81, 1, 2, 3, 4, 5]), code: 1002 },
    'a reserved opcode': { bytes: Buffer.from([0x83, 0]), code: 1002 },
    'reserved bits': { bytes: Buffer.from([0xf1, 0]), code: 1002 },
    'text that is not UTF-8': { bytes: Buffer.from([0x81, 2, 0xc3, 0x28]), code: 1007 },
    'a control frame over 125 bytes': { bytes: Buffer.from([0x89, 126, 0, 200]), code: 1002 },
    'a continuation of nothing': { bytes: Buffer.from([0x80, 0]), code: 1002 },
    'a close code that nobody may send': { bytes: Buffer.from([0x88, 2, 0x03, 0xed]), code: 1002 },
    'a declared length of 2^31': { bytes: Buffer.from([0x82, 127, 0, 0, 0, 0, 0x80, 0, 0, 0]), code: 1009 },
    'a declared length of 2^40': { bytes: Buffer.from([0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]), code: 1009 },
    'a compressed frame though nobody agreed to it': { bytes: Buffer.from([0xc1, 1, 0]), code: 1002 },
    '140 000 empty fragments': {
      bytes: Buffer.concat([Buffer.from([0x01, 0]), Buffer.alloc(280_000)]),
      code: 1008,
    },
  };
  for (const [name, { bytes, code }] of Object.entries(cases)) {
    test(`${name} ends this session alone, with ${code}`, async () => {
      const peer = await rawPeer((socket) => void socket.write(bytes));
      const { link, log } = connect(peer.url);
      await until(() => closeCodeIn(peer.received[0] ?? Buffer.alloc(0)) !== null, 'the close frame');
      expect(closeCodeIn(peer.received[0] as Buffer)).toBe(code);
      peer.sockets[0]?.destroy();
      await until(() => peer.sockets.length >= 2, 'the next attempt');
      expect(link.state().connected).toBe(false);
      expect(link.state().error).toMatch(/./);
      expect(log.lines.filter((line) => line.level === 'error')).toEqual([]);
    });
  }

  test('one byte at a time is still a message', async () => {
    const peer = await rawPeer((socket) => {
      socket.setNoDelay(true);
      let at = 0;
      const bytes = text(JSON.stringify(challenge));
      const timer = setInterval(() => {
        if (at < bytes.length && !socket.destroyed) socket.write(bytes.subarray(at, ++at));
        else clearInterval(timer);
      }, 1);
    });
    connect(peer.url);
    await until(() => (peer.received[0]?.length ?? 0) > 300, 'the hello');
  });

  test('a ping is answered, a flood of pings from a peer that does not read costs no memory', async () => {
    const ping = Buffer.concat([Buffer.from([0x89, 125]), Buffer.alloc(125, 7)]);
    const flood = Buffer.concat(Array.from({ length: 2000 }, () => ping));
    const peer = await rawPeer((socket) => {
      socket.write(ping);
      setTimeout(() => {
        socket.pause();
        const pour = (): void => {
          while (!socket.destroyed && socket.write(flood));
        };
        socket.on('drain', pour);
        pour();
      }, 50);
    });
    const before = process.memoryUsage().rss;
    const { link } = connect(peer.url);
    await until(() => (peer.received[0]?.length ?? 0) > 125, 'the pong');
    await until(() => peer.sockets.length >= 2, 'the end of it');
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
    expect(link.state().connected).toBe(false);
  });
});

describe('an answer to the upgrade that is not one', () => {
  const cases: Record<string, { answer: (key: string) => string; says: RegExp }> = {
    'another subprotocol': {
      answer: (key) => upgraded(key, 'Sec-WebSocket-Protocol: mqtt\r\n'),
      says: /subprotocol/,
    },
    'no subprotocol': { answer: (key) => upgraded(key, ''), says: /subprotocol/ },
    'compression that was not asked for': {
      answer: (key) =>
        upgraded(key, 'Sec-WebSocket-Protocol: flopd.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n'),
      says: /Extensions/,
    },
    'a wrong accept key': { answer: () => upgraded('x'), says: /Accept/ },
    'a redirect elsewhere': {
      answer: () => 'HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n',
      says: /302/,
    },
    'a page': { answer: () => 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', says: /200/ },
    'two thousand headers': {
      answer: (key) => upgraded(key, `Sec-WebSocket-Protocol: flopd.v1\r\n${'X-A: b\r\n'.repeat(20_000)}`),
      says: /./,
    },
    'something else entirely': { answer: () => 'SSH-2.0-OpenSSH_9.2\r\n', says: /Parse Error/ },
  };
  for (const [name, { answer, says }] of Object.entries(cases)) {
    test(`(${name}) is refused with the reason, and tried again`, async () => {
      const peer = await rawPeer(() => {}, answer);
      const { link } = connect(peer.url);
      await until(() => peer.sockets.length >= 2, 'the next attempt');
      expect(link.state()).toMatchObject({ connected: false, sessions: 0 });
      expect(link.state().error).toMatch(says);
    });
  }

  test('(503 with a time) is respected', async () => {
    const peer = await rawPeer(
      () => {},
      () => 'HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n',
    );
    connect(peer.url);
    await until(() => peer.sockets.length === 2, 'the second attempt');
    const [first = 0, second = 0] = peer.times;
    expect(second - first).toBeGreaterThan(900);
  });
});

describe('a message that is legal JSON and not ours', () => {
  const live: Record<string, string | Buffer> = {
    'an unknown type': '{"type":"mkfs","disk":"sda"}',
    'a type of the other side': '{"type":"orderAck","orderId":"order-1"}',
    'a field that must be understood and is not': '{"type":"ack","sequence":1,"mkfs":1,"critical":["mkfs"]}',
    'a second welcome': JSON.stringify(welcome),
    'a second challenge': JSON.stringify(challenge),
    'a deep nest': `{"type":${'['.repeat(100_000)}`,
    'a wrong type of field': '{"type":"ack","sequence":"1"}',
    'a prototype': '{"type":"ack","sequence":1,"__proto__":{"polluted":true}}',
    'a number beyond all numbers': '{"type":"ack","sequence":1e999}',
    'a shell in a job id': JSON.stringify({ ...startOrderOf('job-1'), jobId: '$(reboot)' }),
    'no JSON at all': 'hello?',
    nothing: '',
    'a binary frame': Buffer.from([1, 2, 3]),
  };
  for (const [name, payload] of Object.entries(live)) {
    test(`(${name}) ends the session with 4400, takes no effect, and is not repeated`, async () => {
      const fake = await startFakeScheduler();
      open.push(fake);
      const orders: object[] = [];
      const opened = openTestLink(fake.url, async (order) => {
        orders.push(order);
        return { outcome: 'accepted', code: null, message: null };
      });
      open.push(opened.link);
      await opened.link.connected(30_000);
      const session = await fake.session(0);
      session.socket.send(payload);
      const { code, reason } = await session.closed;
      expect(code).toBe(4400);
      const error = session.messages.find((message) => message.type === 'error');
      expect(error?.code).toMatch(/^LINK_/);
      expect(orders).toEqual([]);
      const words = JSON.stringify([reason, error, opened.log.lines, opened.link.state()]);
      for (const own of ['mkfs', 'sda', 'polluted', 'reboot', '[[[', 'hello?'])
        expect(words).not.toContain(own);
      expect(opened.log.lines.filter((line) => line.level === 'warn')).toHaveLength(1);
      await until(() => opened.link.state().sessions === 2, 'service again');
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    });
  }

  test('does not fill the log, however often it comes', async () => {
    const fake = await startFakeScheduler();
    open.push(fake);
    const opened = openTestLink(fake.url);
    open.push(opened.link);
    for (let at = 0; at < 8; at += 1) {
      const session = await fake.session(at);
      await session.waitFor('hello');
      session.sendText(`{"type":"nonsense${at}"}`);
      await session.closed;
    }
    await until(() => fake.sessions.length > 8, 'the next session');
    expect(opened.log.lines.filter((line) => line.level !== 'info')).toHaveLength(1);
  });

  test('before its time is refused: orders before the welcome', async () => {
    const fake = await startFakeScheduler({ mute: true });
    open.push(fake);
    const orders: object[] = [];
    const opened = openTestLink(fake.url, async (order) => {
      orders.push(order);
      return { outcome: 'accepted', code: null, message: null };
    });
    open.push(opened.link);
    const session = await fake.session(0);
    await session.waitFor('hello');
    session.send(startOrderOf('job-1'));
    expect((await session.closed).code).toBe(4400);
    expect(orders).toEqual([]);
  });

  test('of a newer protocol only is refused as such', async () => {
    const fake = await startFakeScheduler({ silent: true });
    open.push(fake);
    const opened = openTestLink(fake.url);
    open.push(opened.link);
    const session = await fake.session(0);
    session.send({ ...challenge, versions: { min: 3, max: 4 } });
    expect((await session.closed).code).toBe(4426);
    expect(session.hello).toBeNull();
    expect(opened.link.state().error).toContain('versions 3 to 4');
  });
});
