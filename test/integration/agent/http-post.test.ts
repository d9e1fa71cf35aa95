import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { postJson } from '../../../src/agent/http-post.ts';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createDialer } from '../../../src/dial/dialer.ts';

const dialer = createDialer({ authorities: () => null, clock: createClock(), log: createSilentLog() });
const post = (url: string, value: object, deadlineMs: number) => postJson(url, value, deadlineMs, dialer);

const servers: { server: Server; sockets: Socket[] }[] = [];
afterEach(async () => {
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** A server that answers every connection with these bytes, and how often it was asked. */
async function answering(bytes: string | null): Promise<{ url: string; asked: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.once('data', () => bytes !== null && socket.write(bytes));
  });
  servers.push({ server, sockets });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/enrol`, asked: sockets };
}

describe('a JSON request', () => {
  test('gives status and body, and null for a body that is not JSON', async () => {
    const json = await answering('HTTP/1.1 401 No\r\nContent-Length: 7\r\n\r\n{"a":1}');
    expect(await post(json.url, {}, 20_000)).toEqual({ status: 401, body: { a: 1 } });
    const page = await answering('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>');
    expect(await post(page.url, {}, 20_000)).toEqual({ status: 200, body: null });
  });

  test('ends at its deadline, before the answer and in the middle of it', async () => {
    const mute = await answering(null);
    await expect(post(mute.url, {}, 100)).rejects.toThrow('no answer within 0.1 s');
    const half = await answering('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a"');
    await expect(post(half.url, {}, 100)).rejects.toThrow();
  });

  test('does not take in an answer without end, nor follow a redirect', async () => {
    const long = await answering(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(200_000)}`);
    await expect(post(long.url, {}, 20_000)).rejects.toThrow('too long');
    const away = await answering(
      'HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n',
    );
    expect((await post(away.url, { token: 't' }, 20_000)).status).toBe(307);
    expect(away.asked).toHaveLength(1);
  });

  test('to nobody says so', async () => {
    await expect(post('http://127.0.0.1:1/', {}, 20_000)).rejects.toThrow('ECONNREFUSED');
  });
});
