// A21 to A32: what a job tries to do to its node, from inside real jobs of a real agent. Each attempt is made by a
// small program (fakes/programs/intruder.c) that says how it went.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { groupsNamed } from '../fakes/groups.ts';
import { agentUrl, type Bed, createBed, type Daemon, processesOfJob, root, until } from './bed.ts';
import { readJob, readJobs, submit, untilState } from './job-view.ts';

const isRoot = process.getuid?.() === 0;
const hasBubblewrap = existsSync('/usr/bin/bwrap');
const SECRET = 'my-own-secret-4711';

let bed: Bed;
let up: Daemon;
let intruder: string;
beforeAll(async () => {
  if (!isRoot || !hasBubblewrap) return;
  bed = createBed();
  intruder = join(bed.folder, 'intruder');
  execFileSync('cc', ['-O1', '-o', intruder, join(root, 'test/fakes/programs/intruder.c')]);
  up = await bed.start(['up', '--node-cpus', '8']);
});
afterAll(() => bed?.close());

type Attempt = readonly [verb: string, what: string | number];

/** Makes the attempts in a job; gives what came of each, in order. */
async function attempt(attempts: readonly Attempt[], flags: readonly string[] = []): Promise<string[]> {
  const words = attempts.flatMap(([verb, what]) => [verb, String(what)]);
  const end = await bed.run(['run', ...flags, '--', intruder, ...words]);
  expect(end.code, end.stderr).toBe(0);
  return end.stdout
    .trim()
    .split('\n')
    .filter((line) => line.includes(': '))
    .map((line) => line.slice(line.lastIndexOf(': ') + 2));
}

/** All of them fail, with an errno that says so: not with one that only means a mistake of this test. */
async function allDenied(attempts: readonly Attempt[], flags: readonly string[] = []): Promise<void> {
  const outcomes = await attempt(attempts, flags);
  const lines = attempts.map(([verb, what], at) => `${verb} ${what}: ${outcomes[at]}`);
  const denied = /: (EACCES|EPERM|ENOENT|ESRCH|EROFS|ENXIO|ENETUNREACH|EBUSY|ENOTDIR|EXDEV)$/;
  expect(lines.filter((line) => !denied.test(line))).toEqual([]);
  expect(outcomes).toHaveLength(attempts.length);
}

const lastId = async (): Promise<string> => (await readJobs(bed))[0]?.id ?? '';

describe.skipIf(!isRoot || !hasBubblewrap)('a job behind walls', () => {
  let victim: string;
  let victimFolder: string;
  let victimPids: readonly number[];
  beforeAll(async () => {
    const ready = join(bed.folder, 'victim-ready');
    victim = await submit(
      bed,
      '--env',
      `SECRET=${SECRET}`,
      '--',
      'sh',
      '-c',
      `echo ${SECRET} | tee secret; chmod 666 secret; chmod 777 .; sleep 600 & echo >${ready}; wait`,
    );
    await until('the victim', () => existsSync(ready));
    victimFolder = join(bed.stateDir, 'agent', 'jobs', `${victim}.1`);
    victimPids = processesOfJob(victim);
    expect(victimPids.length).toBeGreaterThan(0);
    expect(readFileSync(join(victimFolder, 'workspace', 'secret'), 'utf8')).toContain(SECRET);
  });

  test('has a user of its own, and no other job has the same', async () => {
    const uids = new Set<string>();
    for (let i = 0; i < 2; i++) uids.add((await bed.run(['run', '--', 'id', '-u'])).stdout.trim());
    uids.add(String(statSync(join(victimFolder, 'workspace')).uid));
    expect(uids.size).toBe(3);
    for (const uid of uids) expect(Number(uid)).toBeGreaterThanOrEqual(2_000_000_000);
    const { result } = (await readJob(bed, await lastId())) as { result: unknown };
    expect(result).toMatchObject({
      isolation: { sandbox: 'bubblewrap', devices: 'none', network: "the host's" },
    });
  });

  test('reads no file, output or environment of another job', async () => {
    const places = ['workspace/secret', 'stdout', 'spec', 'meter', 'control'].map((name) =>
      join(victimFolder, name),
    );
    const inside = victimPids.flatMap((pid) =>
      ['environ', `root${victimFolder}/workspace/secret`, 'cwd/secret', 'mem', 'maps'].map(
        (name) => `/proc/${pid}/${name}`,
      ),
    );
    await allDenied([
      ...[...places, ...inside].map((path): Attempt => ['read', path]),
      ['list', victimFolder],
    ]);
    // Of the folder of all jobs, and of those above, it sees the way to its own.
    const { stdout } = await bed.run(['run', '--', 'sh', '-c', 'ls -A .. ../.. ../../.. ../../../..']);
    expect(stdout).toMatch(
      /^\.\.:\nmeter\nworkspace\n\n\.\.\/\.\.:\njob-\w+\.1\n\n\S+:\njobs\n\n\S+:\nagent\n$/,
    );
  });

  test('finds neither the key of the node nor a token', async () => {
    const secrets = [
      'scheduler/token',
      'scheduler/join-token',
      'agent/key.pem',
      'agent/journal',
      'agent/node.json',
    ];
    for (const name of secrets) expect(existsSync(join(bed.stateDir, name)), name).toBe(true);
    await allDenied([
      ...secrets.map((name): Attempt => ['read', join(bed.stateDir, name)]),
      ['read', `/proc/${up.pid}/environ`],
      ['read', `/proc/${up.pid}/mem`],
      ['read', `/proc/${up.pid}/cmdline`],
    ]);
    const token = readFileSync(join(bed.stateDir, 'scheduler', 'token'), 'utf8').trim();
    const { stdout } = await bed.run([
      'run',
      '--',
      'sh',
      '-c',
      'env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; ls -l /proc/self/fd',
    ]);
    expect(stdout).not.toContain(token);
    expect(stdout).not.toContain(SECRET);
    expect(stdout).not.toMatch(/FLOPD_TOKEN|NOTIFY_SOCKET/);
  });

  test('signals, traces and reads the memory of nobody but its own', async () => {
    const pids = [up.pid, ...victimPids, 1];
    await allDenied([
      ...pids.slice(0, -1).flatMap((pid): Attempt[] => [
        ['signal', pid],
        ['ptrace', pid],
        ['peek', pid],
      ]),
      ['anybody', 70_000],
      ['ptrace', 1],
      ['peek', 1],
    ]);
    // To everybody: that is its own processes only.
    await bed.run(['run', '--', 'sh', '-c', 'kill -9 -1']);
    expect(processesOfJob(victim)).toEqual(victimPids);
    expect((await fetch(agentUrl(up, 'healthz'))).status).toBe(200);
  });

  test('writes nowhere but to its workspace', async () => {
    const outside = [
      '/etc/passwd',
      '/usr/bin/env',
      '/etc/flopd-was-here',
      '/sys/kernel/mm/ksm/run',
      '/sys/fs/cgroup/pids/tasks',
    ];
    await allDenied([
      ...outside.map((path): Attempt => ['write', path]),
      ...[
        '/proc/sys/kernel/hostname',
        '/proc/sys/vm/swappiness',
        '/proc/sysrq-trigger',
        '/proc/self/oom_score_adj/x',
      ].map((path): Attempt => ['write', path]),
      ['write', join(bed.stateDir, 'agent', 'journal')],
      ['write', join(victimFolder, 'workspace', 'secret')],
      ['write', join(victimFolder, 'stdout')],
      ['remove', join(victimFolder, 'meter')],
      ['remove', '/etc/hostname'],
      ['mount', '/tmp'],
    ]);
    expect(
      await attempt([
        ['write', 'own'],
        ['read', 'own'],
        ['write', '/tmp/own'],
        ['write', '/dev/shm/own'],
      ]),
    ).toEqual(Array(4).fill('ok'));
    expect(existsSync('/tmp/own') || existsSync('/dev/shm/own')).toBe(false);
  });

  test('gains nothing by a file with setuid or capabilities', async () => {
    const setuid = join(bed.folder, 'setuid');
    const capable = join(bed.folder, 'capable');
    for (const path of [setuid, capable]) execFileSync('cp', [intruder, path]);
    chmodSync(setuid, 0o4755);
    expect(execFileSync(intruder, ['bless', capable], { encoding: 'utf8' })).toContain('ok');
    const rootOnly = join(bed.folder, 'root-only');
    writeFileSync(rootOnly, 'x', { mode: 0o600 });
    for (const program of [setuid, capable]) {
      const { stdout } = await bed.run(['run', '--', program, 'whoami', 'x', 'read', rootOnly, 'user', '0']);
      expect(stdout).toMatch(/^uid (2\d{9}) \1\n/);
      expect(stdout).toContain(`read ${rootOnly}: EACCES\nuser 0: EPERM\n`);
    }
  });

  test('opens no device that it was not granted', async () => {
    const node = join(bed.folder, 'zero');
    execFileSync('mknod', ['-m', '666', node, 'c', '1', '5']);
    const disks = readdirSync('/dev').filter((name) => /^(vd|sd|nvme|loop|kmsg|mem|kvm|fuse)/.test(name));
    await allDenied([
      ...disks.map((name): Attempt => ['read', `/dev/${name}`]),
      ['read', node],
      ['mknod', 'null'],
      ['mknod', '/tmp/null'],
      ['mknod', '/dev/null2'],
    ]);
    expect(
      await attempt([
        ['read', '/dev/zero'],
        ['write', '/dev/null'],
      ]),
    ).toEqual(['ok', 'ok']);
    // The variables are a hint: whatever it says of itself, it has no node.
    await allDenied(
      [['read', '/dev/nvidia0']],
      ['--env', 'CUDA_VISIBLE_DEVICES=0', '--env', 'ASCEND_VISIBLE_DEVICES=0'],
    );
  });

  test('keeps its loader’s and shell’s variables to itself', async () => {
    const evil = join(bed.folder, 'evil');
    const trace = bed.shared('trace');
    mkdirSync(evil);
    const source = join(evil, 'preload.c');
    writeFileSync(
      source,
      `#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void look(void) {
  FILE *file = fopen("${trace}", "a");
  if (file) { fprintf(file, "%u %s\\n", getuid(), program_invocation_short_name); fclose(file); }
}
`,
    );
    const library = join(evil, 'preload.so');
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, source]);
    for (const name of ['bwrap', 'sh', 'flopd-shim'])
      writeFileSync(join(evil, name), `#!/bin/sh\necho "$(id -u) evil ${name}" >>${trace}\n`, {
        mode: 0o755,
      });
    const variables = {
      LD_PRELOAD: library,
      LD_LIBRARY_PATH: evil,
      LD_AUDIT: library,
      NODE_OPTIONS: '--require /nonexistent',
      BASH_ENV: join(evil, 'sh'),
      PATH: `${evil}:/usr/bin:/bin`,
    };
    const flags = Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const end = await bed.run(['run', ...flags, '--', '/usr/bin/env']);
    expect(end.code, end.stderr).toBe(0);
    for (const [name, value] of Object.entries(variables)) expect(end.stdout).toContain(`${name}=${value}\n`);
    const lines = readFileSync(trace, 'utf8').trim().split('\n');
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.filter((line) => !/^2\d{9} env$/.test(line))).toEqual([]);
  });

  test('cannot put anything in place of what the agent reads, in ten thousand tries', async () => {
    const precious = join(bed.folder, 'precious');
    mkdirSync(precious);
    writeFileSync(join(precious, 'file'), 'kept');
    const end = await bed.run([
      'run',
      '--',
      'sh',
      '-c',
      `${intruder} swap 10000; ln -s ${precious} link; ln -s ${precious}/file file; mkdir deep; ln -s ${precious} deep/link; ln -s /etc/passwd here; echo done`,
    ]);
    expect(end.stdout).toMatch(/^swap 10000: (EACCES|EBUSY)\ndone\n$/);
    const id = await lastId();
    await until('its folder is gone', () => !existsSync(join(bed.stateDir, 'agent', 'jobs', `${id}.1`)));
    expect(readFileSync(join(precious, 'file'), 'utf8')).toBe('kept');
    expect(existsSync('/etc/passwd')).toBe(true);
  });

  test('is refused system calls that no job needs, also by their 32-bit numbers and in commands beside it', async () => {
    // Numbers of x86-64: mount keyctl add_key bpf perf_event_open userfaultfd setns fsopen open_tree init_module
    const numbers = [165, 250, 248, 321, 298, 323, 308, 430, 428, 175];
    const calls = process.arch === 'x64' ? numbers.map((number): Attempt => ['call', number]) : [];
    const outcomes = await attempt([['namespace', 0], ...calls]);
    expect(outcomes).toEqual(outcomes.map(() => 'EPERM'));
    // A kernel without 32-bit calls kills the program at the first of these: unshare, mount.
    const old = await bed.run(['run', '--', intruder, 'oldcall', '310', 'oldcall', '21']);
    expect(old.stdout).not.toContain(': ok');
    // io_uring_setup, clone3: programs fall back when they are not there.
    expect(
      await attempt([
        ['call', 425],
        ['call', 435],
      ]),
    ).toEqual(['ENOSYS', 'ENOSYS']);
    const beside = await bed.run(['exec', victim, '--', 'unshare', '--user', 'true']);
    expect(beside.code, beside.stderr).toBe(1);
    expect(beside.stderr).toContain('Operation not permitted');
    expect((await readJob(bed, victim)).state).toBe('RUNNING');
  });

  test('runs what people run: threads, children, compilers, another personality', async () => {
    const script = [
      'setarch --addr-no-randomize true',
      'printf "int main(){return 0;}" >a.c; cc a.c -o a && ./a',
      // Node may be where jobs see nothing.
      `! command -v node >/dev/null || node -e 'new (require("node:worker_threads").Worker)("", { eval: true }); require("node:child_process").execSync("true")'`,
      'echo fine',
    ].join(' && ');
    const end = await bed.run(['run', '--', 'sh', '-c', script]);
    expect(end, end.stderr).toMatchObject({ code: 0, stdout: 'fine\n' });
    expect((await readJob(bed, await lastId())) as unknown).toMatchObject({
      result: { isolation: { systemCalls: expect.stringContaining('no namespaces') } },
    });
  });

  test('does not outlive its end, however it hides', async () => {
    const { stdout } = await bed.run([
      'run',
      '--',
      'sh',
      '-c',
      'id -u; for i in 1 2 3; do (env -i setsid sh -c "trap \'\' TERM HUP; cd /; exec 0<&- 1>&- 2>&-; sleep 600 & sleep 600" &) ; done; exit 0',
    ]);
    const uid = Number(stdout.trim());
    expect(uid).toBeGreaterThanOrEqual(2_000_000_000);
    expect(ownedBy(uid)).toEqual([]);
    const id = await lastId();
    expect(groupsNamed(new Set([`flopd.${id}.1`]))).toEqual([]);
  });

  test('without a network reaches not even the loopback; with the host’s it does', async () => {
    const port = Number(new URL(up.endpoint.url).port);
    await expect(attempt([['connect', port]])).resolves.toEqual(['ok']);
    expect(await attempt([['connect', port]], ['--network', 'none'])).toEqual(['ECONNREFUSED']);
    const { stdout } = await bed.run(['run', '--network', 'none', '--', 'cat', '/proc/net/dev']);
    expect(stdout.match(/^\s*\w+:/gm)?.map((name) => name.trim())).toEqual(['lo:']);
    expect((await readJob(bed, await lastId())) as unknown).toMatchObject({
      result: { isolation: { network: 'none' } },
    });
  });

  test('is told why, in a directory that it cannot see', async () => {
    expect((await bed.run(['run', '--workdir', '/root', '--', 'pwd'])).stdout).toBe('/root\n');
    const end = await bed.run(['run', '--workdir', '/root/somewhere', '--', 'pwd']);
    expect(end.stderr).toMatch(/failed to start.*"\/root\/somewhere": no such file.*jobs\.readPaths/);
  });

  test('leaves the others as they were', async () => {
    expect(processesOfJob(victim)).toEqual(victimPids);
    expect((await readJob(bed, victim)).state).toBe('RUNNING');
    expect((await bed.run(['cancel', victim])).code).toBe(0);
    await untilState(bed, victim, 'CANCELLED');
  });
});

/** Processes of a user, zombies too. */
function ownedBy(uid: number): readonly string[] {
  const found: string[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (new RegExp(`^Uid:\\s+${uid}\\b`, 'm').test(readFileSync(`/proc/${name}/status`, 'utf8')))
        found.push(name);
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}
