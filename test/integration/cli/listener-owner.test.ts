// The token of a state directory is not sent to another user who took the scheduler's port while it was away.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { requireOwnListener } from '../../../src/cli/listener-owner.ts';

let folder = '';
let tokenFile = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-listener-'));
  tokenFile = join(folder, 'token');
  writeFileSync(tokenFile, 'secret', { mode: 0o600 });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const stranger = expect.objectContaining({ code: 'TOKEN_STRANGER' });

test('one that this user or the owner of the token started is believed, and so is a port where nobody listens', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  requireOwnListener(url, tokenFile);
  await new Promise((resolve) => server.close(resolve));
  requireOwnListener(url, tokenFile);
});

test.runIf(process.getuid?.() === 0)(
  'one of another user is not, whichever address of this machine it has',
  async () => {
    for (const host of ['127.0.0.1', '0.0.0.0', '::']) {
      const script = `require('net').createServer().listen(0, '${host}', function () { console.log(this.address().port) })`;
      const child = spawn(process.execPath, ['-e', script], { uid: 4242, gid: 4242, cwd: '/' });
      try {
        const port = await new Promise<string>((resolve, reject) => {
          child.once('error', reject);
          child.stdout.once('data', (text) => resolve(String(text).trim()));
        });
        expect(() => requireOwnListener(`http://127.0.0.1:${port}`, tokenFile)).toThrow(stranger);
        // What speaks TLS is told by its certificate.
        requireOwnListener(`https://127.0.0.1:${port}`, tokenFile);
      } finally {
        child.kill('SIGKILL');
        await new Promise((resolve) => child.once('close', resolve));
      }
    }
  },
);
