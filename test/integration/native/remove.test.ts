// Removing what a job left: everything in the folder goes, nothing beyond it does.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { addon, isBuilt, title } from './addon.ts';

const folder = mkdtempSync(join(tmpdir(), 'flopd-remove-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let number = 0;
const newFolder = (): string => {
  const path = join(folder, `tree-${number++}`);
  mkdirSync(path);
  return path;
};
/** Runs a script in a Node whose current folder may be changed. */
const inFolder = (path: string, script: string): void => {
  execFileSync(process.execPath, ['-e', `const fs = require('node:fs'); ${script}`], { cwd: path });
};
const openFiles = (): number => readdirSync('/proc/self/fd').length;

describe.skipIf(!isBuilt)(title('removeTree'), () => {
  it('removes files, folders, sockets, pipes and links of every kind', async () => {
    const path = newFolder();
    mkdirSync(join(path, 'workspace/a/b'), { recursive: true });
    for (const name of ['spec', 'workspace/x', 'workspace/a/y', 'workspace/a/b/z', 'workspace/ \n"é'])
      writeFileSync(join(path, name), 'text');
    execFileSync('mkfifo', [join(path, 'workspace/pipe')]);
    symlinkSync('nowhere', join(path, 'workspace/dangling'));
    symlinkSync('.', join(path, 'workspace/round'));
    const server = createServer().listen(join(path, 'control'));
    await once(server, 'listening');
    await addon().removeTree(path);
    expect(existsSync(path)).toBe(false);
    server.close();
  });

  it('leaves what links point to', async () => {
    const path = newFolder();
    const outside = newFolder();
    writeFileSync(join(outside, 'kept'), 'kept');
    symlinkSync(outside, join(path, 'to-folder'));
    symlinkSync(join(outside, 'kept'), join(path, 'to-file'));
    linkSync(join(outside, 'kept'), join(path, 'same-file'));
    await addon().removeTree(path);
    expect(existsSync(path)).toBe(false);
    expect(readFileSync(join(outside, 'kept'), 'utf8')).toBe('kept');
  });

  it('removes a link or a file in place of the folder, not what it points to', async () => {
    const outside = newFolder();
    writeFileSync(join(outside, 'kept'), 'kept');
    const link = join(folder, 'link');
    symlinkSync(outside, link);
    await addon().removeTree(link);
    writeFileSync(join(folder, 'file'), '');
    await addon().removeTree(join(folder, 'file'));
    expect(readdirSync(outside)).toEqual(['kept']);
    expect(existsSync(join(folder, 'file'))).toBe(false);
    expect(readdirSync(folder)).not.toContain('link');
  });

  it('takes a missing folder as removed', async () => {
    await expect(addon().removeTree(join(folder, 'missing'))).resolves.toBeUndefined();
  });

  it('removes folders far deeper than a path can name, with few descriptors', async () => {
    const path = newFolder();
    inFolder(
      path,
      `for (let i = 0; i < 3000; i++) { fs.mkdirSync('deep'); fs.writeFileSync('file', ''); fs.writeFileSync('.moved-0', ''); process.chdir('deep'); }`,
    );
    const before = openFiles();
    const work = addon().removeTree(path);
    expect(openFiles()).toBeLessThan(before + 45);
    await work;
    expect(existsSync(path)).toBe(false);
    expect(openFiles()).toBe(before);
  });

  it('removes a folder of many entries', async () => {
    const path = newFolder();
    for (let i = 0; i < 3000; i++) writeFileSync(join(path, `file-with-a-long-name-${i}`), '');
    for (let i = 0; i < 300; i++) mkdirSync(join(path, `folder-${i}`));
    await addon().removeTree(path);
    expect(existsSync(path)).toBe(false);
  });

  it('opens up folders that the job has closed to their owner', async () => {
    const path = newFolder();
    mkdirSync(join(path, 'closed/in'), { recursive: true });
    writeFileSync(join(path, 'closed/in/file'), '');
    mkdirSync(join(path, 'fixed'));
    writeFileSync(join(path, 'fixed/file'), '');
    chmodSync(join(path, 'closed/in'), 0o000);
    chmodSync(join(path, 'closed'), 0o000);
    chmodSync(join(path, 'fixed'), 0o500);
    await addon().removeTree(path);
    expect(existsSync(path)).toBe(false);
  });

  it('rejects with the code of what the system refuses', async () => {
    const problem = await addon()
      .removeTree('/proc/self/fdinfo')
      .then(
        () => null,
        (error: NodeJS.ErrnoException) => error,
      );
    expect(problem?.code).toMatch(/^(EPERM|EACCES)$/);
    expect(problem?.message).toContain('could not be removed');
  });

  it('is never led out by links that are exchanged while it walks', async () => {
    const outside = newFolder();
    for (let i = 0; i < 20; i++) writeFileSync(join(outside, `kept-${i}`), '');
    const path = newFolder();
    const racer = spawn(
      process.execPath,
      [
        '-e',
        `const fs = require('node:fs');
         const attempt = (step) => { try { step(); } catch {} };
         for (;;) {
           attempt(() => fs.mkdirSync('tree/a', { recursive: true }));
           attempt(() => fs.writeFileSync('tree/a/file', ''));
           attempt(() => fs.symlinkSync(${JSON.stringify(outside)}, 'tree/link'));
           for (let i = 0; i < 20; i++) {
             attempt(() => fs.renameSync('tree/a', 'aside'));
             attempt(() => fs.renameSync('tree/link', 'tree/a'));
             attempt(() => fs.renameSync('tree/a', 'tree/link'));
             attempt(() => fs.renameSync('aside', 'tree/a'));
           }
         }`,
      ],
      { cwd: path, stdio: 'ignore' },
    );
    const gone = once(racer, 'close');
    // So often and for so long at least, however little of the machine the two are given.
    const endMs = performance.now() + 1500;
    for (let round = 0; round < 60 || performance.now() < endMs; round++)
      await addon()
        .removeTree(join(path, 'tree'))
        .catch(() => {});
    racer.kill('SIGKILL');
    await gone;
    expect(readdirSync(outside)).toHaveLength(20);
    await addon().removeTree(path);
    expect(existsSync(path)).toBe(false);
  });
});
