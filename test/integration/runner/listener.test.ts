// The runner's door: who may knock is asked of the kernel, not of the peer.
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Log } from '../../../src/base/log.ts';
import { loadNative, nativePaths } from '../../../src/native.ts';
import { findUser, type Listener, listenOnSocket } from '../../../src/runner/listener.ts';
import { root } from './bed.ts';

const { native } = loadNative(nativePaths(root).addon);
const isRoot = process.getuid?.() === 0;
let folder: string;
let path: string;
let listener: Listener | null = null;
let came: Socket[];
const lines: object[] = [];
const log: Log = {
  ...{ debug() {}, info() {}, error() {} },
  warn: (fields) => void lines.push(fields),
  child: () => log,
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-door-'));
  chmodSync(folder, 0o755);
  path = join(folder, 'run', 'runner.sock');
  came = [];
});
afterEach(async () => {
  for (const socket of came) socket.destroy();
  await listener?.close();
  listener = null;
  rmSync(folder, { recursive: true, force: true });
});

async function listen(user: { uid: number; gid: number } | null): Promise<void> {
  const connected = (socket: Socket): void => void came.push(socket.on('error', () => {}));
  listener = await listenOnSocket({
    path,
    user,
    native,
    connected,
    monotonicMs: () => performance.now(),
    log,
  });
}

async function until(is: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; !is(); await new Promise((done) => setTimeout(done, 5)))
    if (performance.now() > end) throw new Error('waited for too long');
}

/** Connects as this user from a process of its own, and waits for the end of the connection. */
const knock = async (uid: number, gid: number): Promise<string> => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      '-e',
      `const s = require('net').connect(process.argv[1]);
       s.on('error', (e) => console.log(e.code)).on('connect', () => console.log('in')).on('close', () => console.log('closed'))`,
      path,
    ],
    { uid, gid, encoding: 'utf8', timeout: 20_000 },
  );
  return stdout;
};

test.skipIf(native === null)(
  'lets its own user in, and takes over what a killed runner has left',
  async () => {
    await listen(null);
    await listener?.close();
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`,
      path,
    ]);
    expect(statSync(path).isSocket()).toBe(true);
    await listen(null);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const socket = connect(path);
    came.push(socket);
    await until(() => came.length === 2);
  },
);

test.skipIf(native === null || !isRoot)(
  'lets the agent of its user in, and nobody else, whatever the mode says',
  async () => {
    const nobody = findUser('nobody');
    await listen(nobody);
    expect(statSync(path)).toMatchObject({ uid: 0, gid: nobody.gid });
    expect(statSync(path).mode & 0o777).toBe(0o660);
    const knocking = knock(nobody.uid, nobody.gid);
    await until(() => came.length === 1);
    came[0]?.destroy();
    expect(await knocking).toBe('in\nclosed\n');
    expect(await knock(12_345, 12_345)).toBe('EACCES\nclosed\n');
    // Of the group, or with a mode that somebody has opened: the kernel still says who it is.
    chmodSync(path, 0o666);
    expect(await knock(12_345, 12_345)).toBe('in\nclosed\n');
    expect(came).toHaveLength(1);
    expect(lines).toContainEqual(expect.objectContaining({ code: 'RUNNER_PEER', uid: 12_345 }));
  },
);

test.skipIf(!isRoot)("says at once where the agent's user cannot enter the folder", async () => {
  const nobody = findUser('nobody');
  lines.length = 0;
  await listen(nobody);
  expect(lines).not.toContainEqual(expect.objectContaining({ code: 'RUNNER_FOLDER' }));
  await listener?.close();
  chmodSync(folder, 0o700);
  await listen(nobody);
  expect(lines).toContainEqual({ code: 'RUNNER_FOLDER', folder, uid: nobody.uid });
});

test('refuses a place that is taken, and a path that is too long', async () => {
  path = join(folder, 'file');
  writeFileSync(path, 'mine');
  await expect(listen(null)).rejects.toMatchObject({ code: 'RUNNER_SOCKET' });
  path = join(folder, 'x'.repeat(120));
  await expect(listen(null)).rejects.toMatchObject({ code: 'RUNNER_SOCKET' });
});

test.skipIf(native === null)(
  'a peer is known by its socket, and by nothing that is no such socket',
  async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const file = openSync('/dev/null', 'r');
    expect(native?.peerUser(file)).toBeLessThan(0);
    closeSync(file);
    const address = server.address();
    const socket = connect(typeof address === 'object' && address !== null ? address.port : 0);
    await new Promise((resolve) => socket.once('connect', resolve));
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    expect(native?.peerUser(fd)).toBeLessThan(0);
    socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  },
);

test('finds a user by name and by number', () => {
  const file = join(folder, 'passwd');
  writeFileSync(file, 'root:x:0:0::/:/bin/sh\nflopd:x:980:970::/:/bin/false\n');
  expect(findUser('flopd', file)).toEqual({ uid: 980, gid: 970 });
  expect(findUser('980', file)).toEqual({ uid: 980, gid: 970 });
  expect(() => findUser('flop', file)).toThrow(expect.objectContaining({ code: 'RUNNER_USER' }));
});
