import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { keepDoor } from '../../../src/scheduler/front-door.ts';
import { authority, serverPair } from '../../fakes/certificates.ts';
import { type Door, openStranger, type Stranger } from '../../fakes/wire.ts';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

describe.each(['without TLS', 'with TLS'])('the door of a server %s', (kind) => {
  async function open(limits: { silent: number; silentPerAddress: number }) {
    const by = kind === 'with TLS' ? await authority() : null;
    const server: Server =
      by === null ? createServer() : createTlsServer({ ...(await serverPair(by)), minVersion: 'TLSv1.3' });
    const refusals: string[] = [];
    keepDoor(server, { refused: (_, message) => void refusals.push(message) }, limits);
    server.on('request', (_, response) => void response.end('hello'));
    server.on('upgrade', (_, socket: Socket) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 101 X\r\n\r\n');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    ends.push(() => {
      server.close();
      server.closeAllConnections();
    });
    const door: Door = { host: '127.0.0.1', port, ca: by?.certificate ?? null };
    return { door, refusals };
  }
  async function enter(door: Door, text: string, answer: string): Promise<Stranger> {
    const stranger = await openStranger(door);
    ends.push(stranger.end);
    stranger.send(text);
    await new Promise<void>((resolve) => {
      stranger.socket.on('data', () => stranger.received().includes(answer) && resolve());
    });
    return stranger;
  }
  /** Silent below TLS as well. */
  async function standSilent(door: Door): Promise<Stranger> {
    const stranger = await openStranger({ ...door, ca: null });
    ends.push(stranger.end);
    return stranger;
  }

  it('does not count who has asked for something, as long as that stays', async () => {
    const { door, refusals } = await open({ silent: 2, silentPerAddress: 2 });
    const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    const upgrade = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n';
    for (let count = 0; count < 3; count += 1) {
      await enter(door, request, 'hello');
      await enter(door, upgrade, '101');
    }
    expect(refusals).toEqual([]);
    const silent = [await standSilent(door), await standSilent(door)];
    await (await standSilent(door)).closed;
    expect(silent.map(({ socket }) => socket.destroyed)).toEqual([false, false]);
    expect(refusals).toEqual(['too many connections say nothing']);
  });

  it('has a limit for each address below that of all', async () => {
    const { door } = await open({ silent: 10, silentPerAddress: 1 });
    const first = await standSilent(door);
    await (await standSilent(door)).closed;
    expect(first.socket.destroyed).toBe(false);
  });
});
