// Leases on the built program: an agent that is stopped beyond the lease of its job, the job that goes to another node,
// and the agent that continues; and a job that goes on without its scheduler.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startAgent } from './apart.ts';
import { type Bed, createBed, isAlive, processesOfJob, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

const DEADLINE_MS = 60_000;
let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

describe('an agent that is stopped for longer than the lease of its job, and then continues', () => {
  test('loses the job to another node, with never two of it alive, and does nothing that counts', async () => {
    const scheduler = await bed.start(['scheduler']);
    const first = await startAgent(bed, scheduler, 'node-a');
    const ledger = bed.shared('ledger');
    const gate = join(bed.folder, 'gate');
    // A line for each start, by the job itself; its end is up to the test.
    const script = `echo "$FLOPD_EPOCH" >>${ledger}; while [ ! -e ${gate} ]; do sleep 0.2; done; exit 7`;
    const policy = ['--disconnect', 'stop:0s', '--retry', '1', '--retry-delay', '1s', '--grace', '500ms'];
    const id = await submit(bed, ...policy, '--', 'sh', '-c', script);
    const starts = (): string => readFileSync(ledger, 'utf8');
    await until('the first start', () => starts() === '1\n');
    const processes = processesOfJob(id);
    expect(processes.length).toBeGreaterThan(0);
    await untilState(bed, id, 'RUNNING');
    const second = await startAgent(bed, scheduler, 'node-b');

    first.daemon.kill('SIGSTOP');
    await until('the second start', () => starts() === '1\n2\n', DEADLINE_MS);
    expect(processes.filter(isAlive)).toEqual([]);
    const moved = await readJob(bed, id);
    expect(moved).toMatchObject({ epoch: 2, node: { name: 'node-b' } });

    first.daemon.kill('SIGCONT');
    await until('that the first is back', async () => {
      const { stdout } = await bed.run(['node', 'node-a', '-o', 'json']);
      return (JSON.parse(stdout) as { state: string }).state === 'ready';
    });
    await until('that nothing is held there', async () => {
      const { stdout } = await bed.run(['node', 'node-a', '-o', 'json']);
      return (JSON.parse(stdout) as { jobs: string[] }).jobs.length === 0;
    });
    expect(await readJob(bed, id)).toMatchObject({ epoch: 2, state: 'RUNNING' });
    writeFileSync(gate, '');
    const ended = await untilState(bed, id, 'FAILED', 'COMPLETED');
    expect(ended).toMatchObject({ epoch: 2, result: { exitCode: 7, endKind: 'exited' } });
    expect(starts()).toBe('1\n2\n');
    expect(second.daemon.process.exitCode).toBeNull();
  });
});
