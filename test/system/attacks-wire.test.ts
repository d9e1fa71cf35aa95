// Attacks A01 to A06 and A34 against the built program, without TLS and with it: what comes over the wire before anybody
// has proven who he is.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ask,
  closeCodeOf,
  type Door,
  declared,
  doorOf,
  frame,
  openLink,
  openStranger,
  type Stranger,
  upgradeRequest,
} from '../fakes/wire.ts';
import { type Bed, createBed, type Daemon, isAlive, until } from './bed.ts';

/** Of the refusal log (src/base/refusal-log.ts): lines of one period, and the one that counts the rest. */
const LINES_PER_PERIOD = 21;
const PERIOD_MS = 10_000;
const MEBI = 1024 * 1024;

function rssBytes(pid: number): number {
  const [, kib] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

describe.each([
  ['without TLS', 'off'],
  ['with TLS', 'on'],
])('strangers at the port %s', (_, mode) => {
  let bed: Bed;
  let daemon: Daemon;
  let door: Door;
  let beforeBytes = 0;
  let startedMs = 0;
  let quiet: Stranger;
  let silent: Stranger[];
  let slow: Stranger;

  beforeAll(async () => {
    bed = createBed();
    daemon = await bed.start(['scheduler', '--tls', mode]);
    door = doorOf(daemon.endpoint);
    beforeBytes = rssBytes(daemon.pid);
    startedMs = performance.now();
    // They stand there while the other tests go on. Well below the limit of one address.
    quiet = await openLink(door);
    silent = await Promise.all(Array.from({ length: 300 }, () => openStranger({ ...door, ca: null })));
    slow = await openStranger({ ...door, ca: null });
    slow.send(mode === 'on' ? Buffer.from('160301020001000', 'hex') : 'GET / HTTP/1.1\r\nHo');
  });
  afterAll(() => bed.close());

  /** What a client that does everything right is answered meanwhile. */
  const healthy = (): Promise<number> =>
    ask(door, `GET /healthz HTTP/1.1\r\nHost: ${door.host}:${door.port}\r\nConnection: close\r\n\r\n`);

  /** Close code of a session in which these bytes are sent. */
  async function codeAfter(...frames: readonly Buffer[]): Promise<number | null> {
    const link = await openLink(door);
    link.send(Buffer.concat(frames));
    return closeCodeOf(await link.closed);
  }

  it.each([
    ['an unmasked frame', frame(0x81, 'hi', false), 1002],
    ['a reserved opcode', frame(0x83, 'hi'), 1002],
    ['a reserved bit', frame(0xa1, 'hi'), 1002],
    ['text that is not UTF-8', frame(0x81, Buffer.from([0xc3, 0x28])), 1007],
    ['a ping of 126 bytes', frame(0x89, Buffer.alloc(126)), 1002],
    ['a fragmented ping', frame(0x09, 'x'), 1002],
    ['a stray continuation', frame(0x80, 'hi'), 1002],
    ['a close code that must not be sent', frame(0x88, Buffer.from([0x03, 0xed])), 1002],
    ['a close frame of one byte', frame(0x88, Buffer.from([0x03])), 1002],
    ['a frame of 2 GiB that does not come (A02)', declared(2n ** 31n), 1009],
    ['a frame of 1 TiB that does not come (A02)', declared(2n ** 40n), 1009],
    ['a frame one byte above the limit (A02)', declared(BigInt(MEBI) + 1n), 1009],
    ['a message that is none', frame(0x81, '{"type":"hello"}'), 4400],
  ])('%s ends its own session (A01)', async (_what, bytes, code) => {
    const other = await openLink(door);
    expect(await codeAfter(bytes)).toBe(code);
    // On a machine that is busy enough it may be gone, for its own silence.
    if (other.socket.destroyed) expect(closeCodeOf(await other.closed)).toBe(4408);
    other.end();
  });

  it('compression is not agreed to, and a compressed frame is refused (A03)', async () => {
    const link = await openLink(door, ['Sec-WebSocket-Extensions: permessage-deflate']);
    expect(link.received().toString('latin1')).not.toMatch(/permessage-deflate/i);
    link.send(frame(0xc1, Buffer.from('cb48cdc9c90700', 'hex')));
    expect(closeCodeOf(await link.closed)).toBe(1002);
  });

  it('140 000 empty fragments are too many (A04)', async () => {
    const link = await openLink(door);
    link.send(frame(0x01));
    link.send(Buffer.concat(new Array<Buffer>(140_000).fill(frame(0x00))));
    expect(closeCodeOf(await link.closed)).toBe(1008);
  });

  it('a message in pieces of one byte costs no more than its bytes (A04)', async () => {
    const link = await openLink(door);
    link.send(Buffer.concat([Buffer.from([0x81, 0x80 | 126, 0x40, 0]), Buffer.alloc(4)]));
    let isOpen = true;
    const closed = link.closed.finally(() => {
      isOpen = false;
    });
    // One at a time, so that each is a segment of its own, and a record of its own with TLS.
    while (isOpen) await new Promise<void>((resolve) => link.socket.write('x', () => setImmediate(resolve)));
    const code = closeCodeOf(await closed);
    // Pieces that the kernel joined again may be fewer than the limit: then the message comes whole, and is none.
    expect([1008, 4400]).toContain(code);
  });

  it('of thousands of silent connections those above the limit are dropped at once (A05)', async () => {
    const held: Stranger[] = [];
    let dropped = 0;
    for (let round = 0; round < 30; round += 1) {
      const some = await Promise.allSettled(
        Array.from({ length: 50 }, () => openStranger({ ...door, ca: null })),
      );
      for (const each of some) if (each.status === 'fulfilled') held.push(each.value);
    }
    await until('connections above the limit are dropped', () => {
      dropped = held.filter(({ socket }) => socket.destroyed).length;
      return dropped >= 1500 - 1024;
    });
    for (const each of held) each.end();
    await until('an honest client is served', async () => (await healthy().catch(() => 0)) === 200);
  });

  const head = (): string => `GET / HTTP/1.1\r\nHost: ${door.host}:${door.port}\r\n`;
  it('requests that no client of ours sends are answered with 4xx (A06)', async () => {
    const many = Array.from({ length: 2000 }, (_, at) => `X-${at}: 1\r\n`).join('');
    const wrong: [string, string, number][] = [
      ['2 000 headers', `${head()}${many}\r\n`, 431],
      ['2 000 headers of an upgrade', upgradeRequest(door, [many.trimEnd()]), 431],
      ['a header of 64 KiB', `${head()}X-Long: ${'x'.repeat(65_536)}\r\n\r\n`, 431],
      ['a path of 64 KiB', `GET /${'x'.repeat(65_536)} HTTP/1.1\r\n\r\n`, 431],
      ['no HTTP', '\u0000\u0001\u0002\r\n\r\n', 400],
      ['another version', 'GET / HTTP/9.9\r\n\r\n', 400],
      ['two lengths', `${head()}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`, 400],
      ['length and chunks', `${head()}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
      ['a header with a line in it', `${head()}X: a\rb\r\n\r\n`, 400],
      ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
      ['another Host', 'GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n', 403],
      [
        'an upgrade for another Host',
        upgradeRequest(door).replace(/Host: [^\r]+/, 'Host: evil.example'),
        403,
      ],
      ['an upgrade of another origin', upgradeRequest(door, ['Origin: https://evil.example']), 403],
      ['h2c', upgradeRequest(door).replace('Upgrade: websocket', 'Upgrade: h2c'), 400],
      ['a list of upgrades', upgradeRequest(door).replace('Upgrade: websocket', 'Upgrade: , websocket'), 400],
      ['no key', upgradeRequest(door).replace(/Sec-WebSocket-Key: [^\r]+\r\n/, ''), 400],
      ['a short key', upgradeRequest(door).replace(/(Sec-WebSocket-Key: )[^\r]+/, '$1AAAA'), 400],
      ['an old version', upgradeRequest(door).replace('Version: 13', 'Version: 7'), 400],
      ['another subprotocol', upgradeRequest(door).replace('flopd.v1', 'chat'), 400],
      // CVE-2021-32640: quadratic time in the blanks.
      ['blanks', upgradeRequest(door).replace('flopd.v1', `x,${' '.repeat(15_000)}y`), 400],
      ['another path', upgradeRequest(door).replace('/v1/link', '/v1/other'), 404],
      ['exec without a token', upgradeRequest(door).replace('/v1/link', '/v1/jobs/job-a/exec'), 401],
    ];
    for (const [what, request, status] of wrong)
      expect([what, await ask(door, request)]).toEqual([what, status]);
    expect(await healthy()).toBe(200);
  });

  it.runIf(mode === 'on')('what is no TLS, or an older one, is refused at the handshake', async () => {
    expect(await ask({ ...door, ca: null }, `${head()}\r\n`)).toBe(0);
    expect(await ask({ ...door, ca: null }, Buffer.alloc(4096, 0x41))).toBe(0);
    expect(await healthy()).toBe(200);
  });

  it('who says no hello is gone after five seconds, and so is who says nothing at all (A05)', async () => {
    expect(await healthy()).toBe(200);
    expect(closeCodeOf(await quiet.closed)).toBe(4408);
    await Promise.all([...silent, slow].map((each) => each.closed));
  });

  it('after all that the process is up, small, and has said little, without secrets', () => {
    expect(isAlive(daemon.pid)).toBe(true);
    expect(rssBytes(daemon.pid) - beforeBytes).toBeLessThan(96 * MEBI);
    const log = daemon.stdout() + daemon.stderr();
    const lines = log.split('\n').filter((line) => line.includes('"level":"warn"'));
    expect(lines.length).toBeGreaterThan(3);
    const periods = Math.ceil((performance.now() - startedMs) / PERIOD_MS) + 1;
    expect(lines.length).toBeLessThanOrEqual(periods * LINES_PER_PERIOD);
    expect(log).not.toContain('"level":"error"');
    for (const name of ['token', 'join-token'])
      expect(log).not.toContain(
        readFileSync(join(daemon.endpoint.stateDir, 'scheduler', name), 'utf8').trim(),
      );
  });
});

describe('a default start', () => {
  it('listens on loopback alone, and starts nothing without a token (A34)', async () => {
    const bed = createBed();
    try {
      const up = await bed.start(['up']);
      expect(listening(up.pid)).not.toEqual([]);
      for (const address of listening(up.pid)) expect(['0100007F', loopback6]).toContain(address);
      const door = doorOf(up.endpoint);
      const post = (path: string, body: string, more = ''): Promise<number> =>
        ask(
          door,
          `POST ${path} HTTP/1.1\r\nHost: ${door.host}:${door.port}\r\nContent-Length: ${body.length}\r\n${more}Connection: close\r\n\r\n${body}`,
        );
      const spec = '{"command":["true"]}';
      expect(await post('/v1/jobs', spec)).toBe(401);
      expect(await post('/v1/jobs', spec, 'Authorization: Bearer x\r\n')).toBe(401);
      expect(await post('/v1/jobs', spec, 'Authorization: Basic YTpi\r\nCookie: token=x\r\n')).toBe(401);
      expect(await post('/v1/jobs?token=x', spec)).toBe(401);
      expect(await post('/v1/jobs/job-a/cancel', '{}')).toBe(401);
      expect(await post('/v1/nodes/x/drain', '{}')).toBe(401);
      expect(await post('/v1/authorities/rotate', '{}')).toBe(401);
      const key = { version: 1, token: 'wrong', publicKey: 'AAAA', name: 'evil' };
      expect(await post('/v1/enrol', JSON.stringify(key))).toBe(401);
      expect(await ask(door, upgradeRequest(door).replace('/v1/link', '/v1/jobs/job-a/exec'))).toBe(401);
      expect((await bed.run(['jobs', '-o', 'json'])).stdout).toContain('"jobs": []');
    } finally {
      await bed.close();
    }
  });

  it('refuses to listen beyond loopback without TLS, and says what to do', async () => {
    const bed = createBed();
    try {
      const ended = await bed.run(['scheduler', '--listen', '0.0.0.0:0', '--tls', 'off']);
      expect(ended.code).not.toBe(0);
      expect(ended.stderr).toMatch(/refusing to listen on 0\.0\.0\.0 without TLS; leave --tls away/);
    } finally {
      await bed.close();
    }
  });
});

const loopback6 = '00000000000000000000000001000000';

/** Local addresses, as /proc writes them, on which a process takes connections or packets. */
function listening(pid: number): string[] {
  const inodes = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? [];
      if (inode !== undefined) inodes.add(inode);
    } catch {
      // Closed meanwhile.
    }
  }
  const LISTEN = '0A';
  const UNCONNECTED = '07';
  return ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((field) => inodes.has(field[9] ?? '') && [LISTEN, UNCONNECTED].includes(field[3] ?? ''))
      .map((field) => (field[1] ?? '').split(':')[0] ?? ''),
  );
}
