// What the addon does with the system: starting programs, telling systemd, locks, the floating-point measurement.
import { execFileSync, spawn as nodeSpawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addon, isBuilt, paths, title, until } from './addon.ts';

const folder = mkdtempSync(join(tmpdir(), 'flopd-system-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!isBuilt)(title('spawn'), () => {
  let number = 0;
  /** Runs a shell script through `spawn`; resolves to what it wrote to $OUT. */
  const shell = async (script: string, environment: readonly string[] = []): Promise<string> => {
    const out = join(folder, `out-${number++}`);
    const whole = `{ ${script}; } > ${out}.tmp 2>&1; mv ${out}.tmp ${out}`;
    const pid = addon().spawn('/bin/sh', ['sh', '-c', whole], ['PATH=/usr/bin:/bin', ...environment]);
    expect(pid).toBeGreaterThan(1);
    await until(() => existsSync(out));
    return readFileSync(out, 'utf8');
  };

  it('runs the program with its arguments and environment, byte for byte', async () => {
    const out = join(folder, 'arguments');
    addon().spawn(
      '/bin/sh',
      [
        'name',
        '-c',
        'printf "%s|" "$0" "$@" "$A" > "$OUT".tmp; mv "$OUT".tmp "$OUT"',
        'zéro',
        'a b',
        '',
        '*',
      ],
      [`OUT=${out}`, 'A=x y=z', 'PATH=/bin:/usr/bin'],
    );
    await until(() => existsSync(out));
    expect(readFileSync(out, 'utf8')).toBe('zéro|a b||*|x y=z|');
  });

  it('gives it a session, no signals ignored or blocked, and /dev/null as standard streams', async () => {
    // Node ignores SIGPIPE, so that this is not true by chance.
    expect(/SigIgn:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]).not.toMatch(/^0*$/);
    const out = join(folder, 'status');
    const script = `exec cat /proc/self/status /proc/self/stat > ${out}`;
    addon().spawn('/bin/sh', ['sh', '-c', script], ['PATH=/usr/bin:/bin']);
    await until(() => addon().reap() === 0);
    const status = readFileSync(out, 'utf8');
    expect(/SigIgn:\s*(\w+)/.exec(status)?.[1]).toMatch(/^0+$/);
    expect(/SigBlk:\s*(\w+)/.exec(status)?.[1]).toMatch(/^0+$/);
    // pid (comm) state parent group session
    const [, pid, session] = /^(\d+) \(cat\) \S+ \d+ \d+ (\d+) /m.exec(status) ?? [];
    expect(session).toBe(pid);
    expect(await shell('readlink /proc/$$/fd/0')).toBe('/dev/null\n');
  });

  it('hands down no descriptor, not even one that would survive an exec', () => {
    const code = `
      const { readdirSync, readlinkSync, existsSync, readFileSync } = require('node:fs');
      const native = require(process.argv[1]);
      if (!existsSync('/proc/self/fd/7')) process.exit(3);
      native.spawn('/bin/sh', ['sh', '-c', 'exec ls /proc/self/fd > ' + process.argv[2]], ['PATH=/bin:/usr/bin']);
      while (native.reap() > 0);
      process.stdout.write(readFileSync(process.argv[2], 'utf8'));`;
    const extra = openSync('/dev/zero', 'r');
    const run = spawnSync(process.execPath, ['-e', code, paths.addon, join(folder, 'fds')], {
      stdio: ['ignore', 'pipe', 'inherit', 'ignore', 'ignore', 'ignore', 'ignore', extra],
    });
    closeSync(extra);
    // 0 to 2, and the folder that ls itself reads.
    expect(run.stdout.toString().trim().split('\n')).toEqual(['0', '1', '2', '3']);
  });

  it('returns the negative errno of what cannot be executed, and leaves no zombie', async () => {
    await until(() => addon().reap() === 0);
    const { errno } = constants;
    const script = join(folder, 'plain-text');
    writeFileSync(script, 'no program');
    const native = addon();
    expect(native.spawn(join(folder, 'missing'), ['x'], [])).toBe(-errno.ENOENT);
    expect(native.spawn(script, ['x'], [])).toBe(-errno.EACCES);
    execFileSync('chmod', ['+x', script]);
    expect(native.spawn(script, ['x'], [])).toBe(-errno.ENOEXEC);
    expect(native.spawn(folder, ['x'], [])).toBe(-errno.EACCES);
    expect(native.spawn('/bin/true', ['x', 'y'.repeat(200_000)], [])).toBe(-errno.E2BIG);
    expect(children()).toEqual([]);
  });

  const children = (): string[] =>
    readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter((pid) => {
        if (pid === '') return false;
        return /^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
      });

  it('has its ends collected by reap, and by the reader', async () => {
    const native = addon();
    await until(() => native.reap() === 0);
    native.spawn('/bin/sleep', ['sleep', '0.2'], []);
    expect(native.reap()).toBe(1);
    await until(() => native.reap() === 0);
    native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 10 });
    const pids = Array.from({ length: 20 }, () => native.spawn('/bin/true', ['true'], []));
    await until(() => pids.every((pid) => !existsSync(`/proc/${pid}`)));
    native.closeReader();
    expect(native.reap()).toBe(0);
  });

  it('leaves the children of Node to Node', async () => {
    const native = addon();
    const child = nodeSpawn('/bin/sh', ['-c', 'exit 9']);
    const ended = once(child, 'exit');
    for (let i = 0; i < 50; i++) {
      native.spawn('/bin/true', ['true'], []);
      native.reap();
    }
    expect(await ended).toEqual([9, null]);
    await until(() => native.reap() === 0);
  });

  it('keeps the signals of this process as they were', () => {
    const before = /Sig(Blk|Ign|Cgt):.*/g;
    const status = (): string[] => readFileSync('/proc/self/status', 'utf8').match(before) ?? [];
    const was = status();
    addon().spawn('/bin/true', ['true'], []);
    addon().spawn('/nosuch', ['true'], []);
    expect(status()).toEqual(was);
  });
});

describe.skipIf(!isBuilt)(title('notify'), () => {
  const listener = join(folder, 'listener');
  beforeAll(() => {
    const source = fileURLToPath(new URL('notify-listener.c', import.meta.url));
    execFileSync(process.env.CC ?? 'cc', [source, '-o', listener]);
  });
  afterEach(() => {
    delete process.env.NOTIFY_SOCKET;
  });

  it.each([join(folder, 'notify.sock'), `@flopd-test-${process.pid}`])(
    'reaches the socket %s',
    async (address) => {
      const child = nodeSpawn(listener, [address], { stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      child.stdout.on('data', (chunk) => {
        text += chunk;
      });
      await until(() => text === 'ready\n');
      process.env.NOTIFY_SOCKET = address;
      expect(addon().notify('READY=1\nSTATUS=schön')).toBe(true);
      await once(child, 'close');
      expect(text).toBe('ready\nREADY=1\nSTATUS=schön');
    },
  );

  it.each(['', '/nosuch/socket', 'relative', '@', 'vsock:2:3', `/${'x'.repeat(200)}`, '/dev/null'])(
    'is false for the socket "%s"',
    (address) => {
      process.env.NOTIFY_SOCKET = address;
      expect(addon().notify('READY=1')).toBe(false);
    },
  );

  it('is false without a socket', () => {
    expect(addon().notify('READY=1')).toBe(false);
  });
});

describe.skipIf(!isBuilt)(title('lockFile'), () => {
  it('is held by one at a time, in this process and in another, and ends with the descriptor', () => {
    const path = join(folder, 'lock');
    const fd = addon().lockFile(path);
    expect(fd).toBeGreaterThan(2);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(addon().lockFile(path)).toBe(-1);
    const other = (): string =>
      execFileSync(process.execPath, [
        '-p',
        'require(process.argv[1]).lockFile(process.argv[2])',
        paths.addon,
        path,
      ])
        .toString()
        .trim();
    expect(other()).toBe('-1');
    closeSync(fd);
    expect(Number(other())).toBeGreaterThan(2);
    closeSync(addon().lockFile(path));
  });

  it('throws the error of a path that cannot be locked', () => {
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'link'));
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    const code = (path: string): unknown => {
      try {
        return addon().lockFile(path);
      } catch (error) {
        return error instanceof Error && 'code' in error ? error.code : error;
      }
    };
    expect(code(join(folder, 'nosuch', 'lock'))).toBe('ENOENT');
    expect(code(folder)).toBe('EISDIR');
    expect(code(join(folder, 'link'))).toBe('ELOOP');
    expect(code(join(folder, 'fifo'))).toBe('EINVAL');
    expect(existsSync(join(folder, 'elsewhere'))).toBe(false);
  });
});

describe.skipIf(!isBuilt)(title('measureFlops'), () => {
  it.each(['fp64', 'fp32'] as const)('measures %s off the JavaScript thread', async (precision) => {
    let turns = 0;
    const timer = setInterval(() => turns++, 5);
    const { flops, isa } = await addon().measureFlops(precision, 1, 300);
    clearInterval(timer);
    // None at all, were it on this thread.
    expect(turns).toBeGreaterThan(0);
    expect(flops).toBeGreaterThan(5e7);
    expect(flops).toBeLessThan(1e13);
    expect(['avx512', 'avx2', 'neon', 'generic']).toContain(isa);
  });

  it('joins its threads and runs more of them than there are CPUs', async () => {
    const count = (): number =>
      readFileSync('/proc/self/status', 'utf8')
        .match(/Threads:\s*(\d+)/)
        ?.slice(1)
        .map(Number)[0] ?? 0;
    await addon().measureFlops('fp64', 1, 1);
    const before = count();
    const { flops } = await addon().measureFlops('fp32', 16, 20);
    expect(flops).toBeGreaterThan(5e7);
    await until(() => count() === before);
  });
});
