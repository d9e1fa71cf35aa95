// F20, F22: the disk of an agent's state is full or read-only, for real: a small tmpfs in a mount namespace of the agent's
// own. What runs goes on and ends as it did; its node takes no orders and says why; it goes on by itself when it can.
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Bed, createBed, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';
import { canMount, fill, type NamespacedAgent, startNamespacedAgent } from './namespaced-agent.ts';

const isPossible = canMount();
let bed: Bed;
let agent: NamespacedAgent | null = null;
beforeEach(() => {
  bed = createBed();
});
afterEach(async () => {
  await agent?.stop();
  await bed.close();
});

async function start(): Promise<{ agent: NamespacedAgent; stateDir: string }> {
  const stateDir = join(bed.folder, 'small');
  const scheduler = await bed.start(['scheduler']);
  const started = await startNamespacedAgent(bed, scheduler, {
    stateDir,
    environment: { FLOPD_JOBS_WRITE_PATHS: bed.folder },
    mounts: `mkdir -p ${stateDir} && mount -t tmpfs -o size=16m,mode=755 small ${stateDir}`,
  });
  agent = started;
  return { agent: started, stateDir };
}

async function readNode(): Promise<{ state: string; takesJobs: boolean; reason: string }> {
  const { stdout } = await bed.run(['nodes', '-o', 'json']);
  const value = JSON.parse(stdout);
  return ('nodes' in value ? value.nodes : value)[0];
}

test.skipIf(!isPossible)(
  'a full disk: what runs ends as it did, new jobs wait with the reason, and run when there is space',
  async () => {
    const { agent: node, stateDir } = await start();
    const gate = join(bed.folder, 'gate');
    const running = await submit(bed, '--', 'sh', '-c', `while [ ! -e ${gate} ]; do sleep 0.1; done; exit 5`);
    await untilState(bed, running, 'RUNNING');
    const filler = node.outside(join(stateDir, 'filler'));
    fill(filler);
    writeFileSync(gate, '');
    expect((await untilState(bed, running, 'FAILED')).result).toMatchObject({
      exitCode: 5,
      endKind: 'exited',
    });
    // What its folder held is free again, and enough for another job.
    await until(
      'its folder is gone',
      () => !existsSync(node.outside(join(stateDir, 'agent', 'jobs', `${running}.1`))),
    );
    fill(node.outside(join(stateDir, 'rest')));
    const waiting = await submit(bed, '--', 'sh', '-c', 'exit 6');
    await until('it waits with the reason', async () => {
      const { state, reason } = await readJob(bed, waiting);
      if (state !== 'PENDING' && state !== 'STARTING') throw new Error(`it is ${state}: ${reason}`);
      return /could take it, but takes no orders at present: no durable space: /.test(reason);
    });
    expect(await readNode()).toMatchObject({
      state: 'ready',
      takesJobs: false,
      reason: expect.stringContaining('connected; takes no orders: no durable space: '),
    });
    rmSync(filler);
    expect((await untilState(bed, waiting, 'FAILED')).result).toMatchObject({
      exitCode: 6,
      endKind: 'exited',
    });
  },
);

test.skipIf(!isPossible)(
  'a disk that turns read-only: its node is given no order before one was refused, and runs the job when it can',
  async () => {
    const stateDir = join(bed.folder, 'state-of-agent');
    const jobs = join(stateDir, 'agent', 'jobs');
    const scheduler = await bed.start(['scheduler']);
    const node = await startNamespacedAgent(bed, scheduler, {
      stateDir,
      mounts: `mkdir -p ${jobs} && chmod 711 ${stateDir} ${stateDir}/agent && mount -t tmpfs -o size=16m,mode=711 jobs ${jobs}`,
    });
    agent = node;
    node.inside('mount', '-o', 'remount,ro', jobs);
    await until('the node says so', async () => !(await readNode()).takesJobs);
    expect((await bed.run(['nodes'])).stdout).toMatch(
      /takes no orders: no durable space: the disk of \S+ is read-only/,
    );
    const waiting = await submit(bed, '--', 'sh', '-c', 'exit 6');
    expect(await readJob(bed, waiting)).toMatchObject({
      state: 'PENDING',
      epoch: 0,
      reason: expect.stringMatching(/takes no orders at present: no durable space: .* is read-only/),
    });
    node.inside('mount', '-o', 'remount,rw', jobs);
    expect(await untilState(bed, waiting, 'FAILED')).toMatchObject({ epoch: 1, result: { exitCode: 6 } });
    expect((await readNode()).reason).toBe('connected and takes jobs');
  },
);
