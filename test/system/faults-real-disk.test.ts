// F21 to F24 on the built program with real disks: an output disk that is full, a file system that turns read-only, a disk
// whose syncs fail, a journal that is torn and flipped. What was acknowledged stays true, and no job runs twice.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { killed, startAgent } from './apart.ts';
import { type Bed, createBed, type Daemon, until } from './bed.ts';
import { type JobJson, readJob, submit as submitTo, untilState } from './job-view.ts';
import { canMount, fill, type NamespacedAgent, startNamespacedAgent } from './namespaced-agent.ts';

const canMountHere = canMount();
const canLoop =
  canMountHere &&
  existsSync('/dev/loop-control') &&
  ['/usr/sbin/mkfs.ext4', '/usr/sbin/e2fsck', '/usr/sbin/losetup'].every((path) => existsSync(path));
const ENDS = ['FAILED', 'LOST', 'COMPLETED', 'CANCELLED'];

let bed: Bed;
let agent: NamespacedAgent | null = null;
let image: string | null = null;
const submitted = new Set<string>();
beforeEach(() => {
  bed = createBed();
});
afterEach(async () => {
  await agent?.stop();
  agent = null;
  await endShims().finally(() => bed.close());
});

/** Ends the shims of jobs that a test left, whose folders are mounted where nobody else sees them. */
async function endShims(): Promise<void> {
  for (const pid of shims()) process.kill(pid, 'SIGKILL');
  await until('the shims are gone', () => shims().length === 0);
  const path = image;
  image = null;
  if (path !== null) await until(`${path} is no disk any more`, () => loopOf(path) === null);
}

/** Shims in the folder of a job of this bed, by the order that they were given. */
function shims(): readonly number[] {
  return readdirSync('/proc').filter(isShimHere).map(Number);
}

function isShimHere(name: string): boolean {
  if (!/^\d+$/.test(name)) return false;
  try {
    const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return words.startsWith('flopd-shim ') && submitted.has(/job-[0-9a-z]+/.exec(words)?.[0] ?? '');
  } catch {
    return false; // It has ended meanwhile.
  }
}

async function startOn(scheduler: Daemon, stateDir: string, mounts: string): Promise<NamespacedAgent> {
  agent = await startNamespacedAgent(bed, scheduler, {
    stateDir,
    mounts,
    environment: { FLOPD_JOBS_WRITE_PATHS: bed.folder, FLOPD_JOBS_CONTAINER_RUNTIME: 'none' },
  });
  return agent;
}

/** The loop device goes with the mount, and that with the namespace and the sandboxes that were made from it. */
function loopOf(path: string): string | null {
  const told = execFileSync('losetup', ['-j', path, '-n', '-O', 'NAME', '--list'], { encoding: 'utf8' });
  return /\/dev\/(loop\d+)/.exec(told)?.[1] ?? null;
}

async function submit(...args: string[]): Promise<string> {
  const id = await submitTo(bed, ...args);
  submitted.add(id);
  return id;
}

/** A job that notes its start in `starts`, waits until `gate` is there, and exits with `code`. */
function gated(starts: string, gate: string, code: number): Promise<string> {
  const script = `echo ${code} >>${starts}; while [ ! -e ${gate} ]; do sleep 0.1; done; exit ${code}`;
  return submit('--', 'sh', '-c', script);
}

/** A new job is not taken, and the reason is told. */
function untilRefused(id: string, reason: RegExp): Promise<boolean> {
  return until('it waits with the reason', async () => {
    const job = await readJob(bed, id);
    if (job.state !== 'PENDING' && job.state !== 'STARTING')
      throw new Error(`it is ${job.state}: ${job.reason}`);
    return reason.test(job.reason);
  });
}

function exited(job: JobJson, exitCode: number): void {
  expect(job).toMatchObject({ state: 'FAILED', result: { exitCode, endKind: 'exited' } });
}

const startsOf = (path: string): readonly string[] => readFileSync(path, 'utf8').split('\n').filter(Boolean);

test.skipIf(!canMountHere)(
  'F21: only the disk of the output is full: the job waits and loses nothing, the agent lives, new jobs wait',
  async () => {
    const stateDir = join(bed.folder, 'state-of-agent');
    const jobs = join(stateDir, 'agent', 'jobs');
    const starts = bed.shared('starts');
    const gate = join(bed.folder, 'gate');
    const lines = Array.from({ length: 4000 }, (_, i) => `line ${i} of what does not fit\n`).join('');
    const scheduler = await bed.start(['scheduler']);
    const node = await startOn(
      scheduler,
      stateDir,
      `mkdir -p ${jobs} && chmod 711 ${stateDir} ${stateDir}/agent && mount -t tmpfs -o size=4m,mode=711 jobs ${jobs}`,
    );
    const id = await submit(
      '--',
      'sh',
      '-c',
      `echo 5 >>${starts}; echo first; while [ ! -e ${gate} ]; do sleep 0.1; done; i=0; while [ $i -lt 4000 ]; do echo "line $i of what does not fit"; i=$((i+1)); done; exit 5`,
    );
    await until('its output', async () => (await bed.run(['logs', id])).stdout.includes('first\n'));
    const filler = node.outside(join(jobs, 'filler'));
    fill(filler);
    writeFileSync(gate, '');
    const waiting = await gated(starts, gate, 6);
    await untilRefused(waiting, /no space left|ENOSPC|no durable space/i);
    expect(await readJob(bed, id)).toMatchObject({ state: 'RUNNING' });
    expect((await bed.run(['nodes', '-o', 'json'])).stdout).toContain('"ready"');
    rmSync(filler);
    exited(await untilState(bed, id, ...ENDS), 5);
    exited(await untilState(bed, waiting, ...ENDS), 6);
    expect((await bed.run(['logs', id])).stdout).toBe(`first\n${lines}`);
    expect(startsOf(starts)).toEqual(['5', '6']);
  },
);

test.skipIf(!canLoop)(
  'F22: the disk turns read-only: what runs ends as it did and is told, new jobs wait, nothing runs twice afterwards',
  async ({ skip }) => {
    const stateDir = join(bed.folder, 'disk');
    image = join(bed.folder, 'image');
    const mount = `mkdir -p ${stateDir} && mount -o loop,errors=remount-ro ${image} ${stateDir}`;
    const starts = bed.shared('starts');
    const gate = join(bed.folder, 'gate');
    const scheduler = await bed.start(['scheduler']);
    const node = await startOn(
      scheduler,
      stateDir,
      `truncate -s 32M ${image} && mkfs.ext4 -q -F ${image} && ${mount} && chmod 755 ${stateDir}`,
    );
    const running = await gated(starts, gate, 5);
    await until('it runs', () => startsOf(starts).length === 1);
    await untilState(bed, running, 'RUNNING');
    const journal = node.outside(join(stateDir, 'agent', 'journal'));
    await until('its beginning is on disk', () => readFileSync(journal, 'utf8').includes('"began"'));
    const trigger = `/sys/fs/ext4/${loopOf(image)}/trigger_fs_error`;
    skip(!existsSync(trigger), 'this kernel cannot make a file system fail');
    writeFileSync(trigger, 'flopd test');
    expect(() => writeFileSync(node.outside(join(stateDir, 'probe')), 'x')).toThrow(/EROFS/);
    const waiting = await gated(starts, gate, 6);
    await untilRefused(waiting, /EROFS|read-only/);
    expect((await readJob(bed, running)).state).toBe('RUNNING');
    writeFileSync(gate, '');
    const ended = await untilState(bed, running, ...ENDS);
    exited(ended, 5);
    expect(startsOf(starts)).toEqual(['5']);

    // The disk is mended and the agent starts on what it kept: an intent without a result.
    await node.stop();
    // As a restart of the host would.
    const file = image;
    await endShims();
    image = file;
    await startOn(scheduler, stateDir, `e2fsck -p ${image} || [ $? -le 1 ]; ${mount}`);
    exited(await untilState(bed, waiting, ...ENDS), 6);
    exited(await readJob(bed, running), 5);
    expect(startsOf(starts)).toEqual(['5', '6']);
  },
);

test.skipIf(!canLoop)(
  'F23: syncs fail: no order is taken whose intent is not on disk, what runs is told, and nothing is told twice',
  async () => {
    const under = join(bed.folder, 'under');
    const stateDir = join(bed.folder, 'disk');
    const inner = join(under, 'image');
    const starts = bed.shared('starts');
    const gate = join(bed.folder, 'gate');
    const scheduler = await bed.start(['scheduler']);
    // Larger than what it lies on; without a journal of its own, so that syncs fail and the disk stays writable.
    const node = await startOn(
      scheduler,
      stateDir,
      [
        `mkdir -p ${under} ${stateDir}`,
        `mount -t tmpfs -o size=16m under ${under}`,
        `truncate -s 256M ${inner} && mkfs.ext4 -q -F -O ^has_journal ${inner}`,
        `mount -o loop,errors=continue ${inner} ${stateDir} && chmod 755 ${stateDir}`,
      ].join('\n'),
    );
    const running = await gated(starts, gate, 5);
    await until('it runs', () => startsOf(starts).length === 1);
    await untilState(bed, running, 'RUNNING');
    const filler = node.outside(join(under, 'filler'));
    fill(filler);
    // The disk itself takes bytes: they are refused only when they are to be safe.
    writeFileSync(node.outside(join(stateDir, 'unsynced')), Buffer.alloc(64 * 1024));
    // An order that needs more than the journal has prepared.
    const long = ['--env', `LONG=${'x'.repeat(120_000)}`];
    const refused: string[] = [];
    await until('a sync fails', async () => {
      const id = await submit(...long, '--', 'sh', '-c', `echo 6 >>${starts}; exit 6`);
      refused.push(id);
      const job = await until('it is settled or waits', async () => {
        const now = await readJob(bed, id);
        return now.state === 'FAILED' || /durable|EIO|ENOSPC/.test(now.reason) ? now : null;
      });
      return job.state !== 'FAILED';
    });
    writeFileSync(gate, '');
    exited(await untilState(bed, running, ...ENDS), 5);
    rmSync(filler);
    for (const id of refused) exited(await untilState(bed, id, ...ENDS), 6);
    expect(startsOf(starts)).toEqual(['5', ...refused.map(() => '6')]);
  },
);

test('F24: a journal torn at its end and flipped in its middle: each job is settled once, as it ended', async () => {
  const starts = bed.shared('starts');
  const gates = [join(bed.folder, 'gate-5'), join(bed.folder, 'gate-6')] as const;
  const scheduler = await bed.start(['scheduler']);
  const first = await startAgent(bed, scheduler, 'damaged');
  const whileDown = await gated(starts, gates[0], 5);
  const afterwards = await gated(starts, gates[1], 6);
  const journal = join(bed.folder, 'state-damaged', 'agent', 'journal');
  await until(
    'both beginnings are on disk',
    () => readFileSync(journal, 'utf8').split('"began"').length === 3 && startsOf(starts).length === 2,
  );
  await killed(first.daemon);
  damage(journal, [whileDown, afterwards]);
  writeFileSync(gates[0], '');
  const again = await bed.start(['agent'], first.options);
  exited(await untilState(bed, whileDown, ...ENDS), 5);
  expect((await readJob(bed, afterwards)).state).toBe('RUNNING');
  writeFileSync(gates[1], '');
  exited(await untilState(bed, afterwards, ...ENDS), 6);
  const later = await gated(starts, gates[1], 7);
  exited(await untilState(bed, later, ...ENDS), 7);
  expect([...startsOf(starts)].sort()).toEqual(['5', '6', '7']);
  const told = again.stdout() + again.stderr();
  expect(told).toContain('damaged records set aside');
  expect(told).toContain('torn tail cut off');
  expect(readFileSync(`${journal}.damaged`, 'utf8')).toContain('"accepted"');
});

/** Flips a bit of each job's order, and writes half of a record behind the last. */
function damage(journal: string, jobs: readonly string[]): void {
  const bytes = readFileSync(journal);
  for (const id of jobs) {
    const at = bytes.indexOf(`"jobId":"${id}"`);
    expect(bytes.subarray(bytes.lastIndexOf(10, at) + 1, at).toString()).toContain('"accepted"');
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  }
  let end = bytes.length;
  while (bytes[end - 1] === 0) end -= 1;
  bytes.write('0badc0de 4711 {"kind":"result","result":{"ver', end);
  writeFileSync(journal, bytes);
}
