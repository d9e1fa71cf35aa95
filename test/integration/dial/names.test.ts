import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { createNames, type Names } from '../../../src/dial/names.ts';
import { type NameServer, startNameServer } from '../../fakes/name-server.ts';
import { createKeptLog, type KeptLog } from '../../unit/link/parts.ts';

let server: NameServer;
let folder = '';
let log: KeptLog;
beforeEach(async () => {
  server = await startNameServer();
  folder = mkdtempSync(join(tmpdir(), 'flopd-names-'));
  log = createKeptLog();
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** `deadlineMs`: long for servers that answer, on a busy machine as well. */
function names(hosts = '', resolv = '', deadlineMs = 20_000): Names {
  writeFileSync(join(folder, 'hosts'), hosts);
  writeFileSync(join(folder, 'resolv.conf'), resolv);
  return createNames({
    clock: createClock(),
    log,
    servers: [server.address],
    hostsFile: join(folder, 'hosts'),
    resolvFile: join(folder, 'resolv.conf'),
    deadlineMs,
  });
}

const addressesOf = async (of: Names, name: string): Promise<string[]> =>
  (await of.resolve(name)).map(({ address }) => address);

describe('a name', () => {
  test('has the addresses of its server, those of version 4 in front', async () => {
    server.names.set('s.test', ['2001:db8::7', '10.0.0.1', '10.0.0.2']);
    expect(await addressesOf(names(), 'S.test')).toEqual(['10.0.0.1', '10.0.0.2', '2001:db8::7']);
  });

  test('that has moved is found at the next connection', async () => {
    const here = names();
    server.names.set('s.test', ['10.0.0.1']);
    expect(await addressesOf(here, 's.test')).toEqual(['10.0.0.1']);
    server.names.set('s.test', ['10.0.0.9']);
    expect(await addressesOf(here, 's.test')).toEqual(['10.0.0.9']);
  });

  test('of the hosts file, of this machine, or that is an address, asks no server', async () => {
    const here = names('10.1.1.1 s.test\n');
    expect(await addressesOf(here, 's.test')).toEqual(['10.1.1.1']);
    expect(await addressesOf(here, 'localhost')).toEqual(['127.0.0.1', '::1']);
    expect(await addressesOf(here, '::1')).toEqual(['::1']);
    expect(server.questions).toEqual([]);
  });

  test('that is short is looked for in the domains of resolv.conf', async () => {
    server.names.set('s.b.test', ['10.0.0.3']);
    expect(await addressesOf(names('', 'search a.test b.test\n'), 's')).toEqual(['10.0.0.3']);
    expect(server.questions[0]).toMatch(/^s\.a\.test /);
  });

  test('that does not exist is refused as such, also when it once did', async () => {
    const here = names();
    server.names.set('s.test', ['10.0.0.1']);
    await here.resolve('s.test');
    server.names.delete('s.test');
    await expect(here.resolve('s.test')).rejects.toMatchObject({ code: 'DIAL_NAME_UNKNOWN' });
  });
});

describe('name servers that fail', () => {
  test.each(['SERVFAIL', 'silent'] as const)(
    '(%s) leave the last address in use, and that is told once',
    async (how) => {
      const here = names('', '', 1500);
      server.names.set('s.test', ['10.0.0.1']);
      await here.resolve('s.test');
      server.names.set('s.test', how);
      expect(await addressesOf(here, 's.test')).toEqual(['10.0.0.1']);
      expect(await addressesOf(here, 's.test')).toEqual(['10.0.0.1']);
      expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
      server.names.set('s.test', ['10.0.0.5']);
      expect(await addressesOf(here, 's.test')).toEqual(['10.0.0.5']);
    },
  );

  test('are named where there is no last address', async () => {
    server.names.set('s.test', 'SERVFAIL');
    await expect(names().resolve('s.test')).rejects.toMatchObject({ code: 'DIAL_NAMES_SILENT' });
  });

  test('take no thread from the process: files are read while twenty questions wait', async () => {
    const here = names('', '', 3000);
    server.names.set('s.test', 'silent');
    const waiting = Array.from({ length: 20 }, () => here.resolve('s.test').catch((error: unknown) => error));
    let answered = 0;
    for (const one of waiting) void one.then(() => (answered += 1));
    const { readFile } = await import('node:fs/promises');
    for (let n = 0; n < 20; n += 1) await readFile('/proc/self/stat');
    expect(answered).toBe(0);
    await Promise.all(waiting);
  });
});

describe('a connection by name', () => {
  test('goes to the next address where one does not take it', async () => {
    const listening = createServer((socket) => socket.end('here'));
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
    const { port } = listening.address() as AddressInfo;
    // Nobody listens on the first two.
    server.names.set('s.test', ['127.0.0.7', '127.0.0.8', '127.0.0.1']);
    const socket = connect({ host: 's.test', port, lookup: names().lookup, autoSelectFamily: true });
    const text = await new Promise<string>((resolve, reject) => {
      socket.on('data', (chunk: Buffer) => resolve(chunk.toString()));
      socket.on('error', reject);
    });
    expect(text).toBe('here');
    socket.destroy();
    await new Promise((resolve) => listening.close(resolve));
  });
});
