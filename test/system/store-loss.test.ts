// A scheduler that has lost its store, or all of its state, while a job runs: the built program finds the job again,
// whole, with the output that it wrote before, between and after.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { killed, startAgent, untilReady } from './apart.ts';
import { type Bed, createBed, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

const script = (starts: string, gate: string): string[] => [
  'sh',
  '-c',
  `echo started >>${starts}; echo before; while [ ! -e ${gate} ]; do sleep 0.2; done; echo after; exit 4`,
];

async function outputOf(id: string): Promise<string> {
  return (await bed.run(['logs', id])).stdout;
}

describe('a scheduler that has lost', () => {
  test('its job store takes back node and job, and knows its users', async () => {
    const [starts, gate] = [join(bed.folder, 'starts'), join(bed.folder, 'gate')];
    const scheduler = await bed.start(['scheduler']);
    await startAgent(bed, scheduler, 'node-a');
    const id = await submit(bed, '--name', 'precious', '--', ...script(starts, gate));
    await until('its output', async () => (await outputOf(id)) === 'before\n');
    const [mei, lin] = [await userToken('mei'), await userToken('lin')];
    expect((await bed.run(['user', 'revoke', 'lin'])).code).toBe(0);
    await killed(scheduler);
    const folder = join(bed.stateDir, 'scheduler');
    for (const name of readdirSync(folder)) if (name.startsWith('store.db')) rmSync(join(folder, name));
    await bed.start(['scheduler', '--listen', new URL(scheduler.endpoint.url).host]);
    await until('the job', async () => (await bed.run(['job', id])).code === 0);
    expect(await readJob(bed, id)).toMatchObject({ state: 'RUNNING', epoch: 1, name: 'precious' });
    expect((await bed.run(['whoami', '--token-file', mei])).stdout).toContain('mei');
    expect((await bed.run(['whoami', '--token-file', lin])).code).not.toBe(0);
    await finish(id, gate, starts);
  });

  test('everything takes them back when the host joins again', async () => {
    const [starts, gate] = [join(bed.folder, 'starts'), join(bed.folder, 'gate')];
    const scheduler = await bed.start(['scheduler']);
    const agent = await startAgent(bed, scheduler, 'node-a');
    const id = await submit(bed, '--', ...script(starts, gate));
    await until('that it runs', () => existsSync(starts));
    await untilState(bed, id, 'RUNNING');
    await killed(scheduler);
    rmSync(join(bed.stateDir, 'scheduler'), { recursive: true });
    const again = await bed.start(['scheduler', '--listen', new URL(scheduler.endpoint.url).host]);
    // The agent refuses the stranger and says what to do, without a restart of its own.
    await until('the advice', () => agent.daemon.stdout().includes('flopd join'));
    const token = join(bed.stateDir, 'scheduler', 'join-token');
    const joined = await bed.run(['join', again.endpoint.url, '--token-file', token], agent.options);
    expect(joined.stdout).toContain('enrolled again with');
    await until('the job', async () => (await bed.run(['job', id])).code === 0, 90_000);
    await untilReady(bed, 'node-a');
    expect(await readJob(bed, id)).toMatchObject({ state: 'RUNNING', epoch: 1 });
    await finish(id, gate, starts);
  });

  test('everything is `flopd up` over the same agent: it heals by itself', async () => {
    const [starts, gate] = [join(bed.folder, 'starts'), join(bed.folder, 'gate')];
    const up = await bed.start(['up']);
    const id = await submit(bed, '--', ...script(starts, gate));
    await until('that it runs', () => existsSync(starts));
    await untilState(bed, id, 'RUNNING');
    await killed(up);
    rmSync(join(bed.stateDir, 'scheduler'), { recursive: true });
    await bed.start(['up']);
    await until('the job', async () => (await bed.run(['job', id])).code === 0);
    await finish(id, gate, starts);
  });

  /** File with the token of a new user. */
  async function userToken(name: string): Promise<string> {
    const made = await bed.run(['user', 'create', name, '--role', 'submitter']);
    expect(made.code, made.stderr).toBe(0);
    const file = join(bed.folder, `${name}.token`);
    writeFileSync(file, `${/^token: +(\S+)$/m.exec(made.stdout)?.[1]}\n`, { mode: 0o600 });
    return file;
  }

  async function finish(id: string, gate: string, starts: string): Promise<void> {
    writeFileSync(gate, '');
    const job = await untilState(bed, id, 'FAILED', 'COMPLETED', 'LOST');
    expect(job).toMatchObject({ epoch: 1, result: { exitCode: 4, endKind: 'exited' } });
    await until('the whole output', async () => (await outputOf(id)) === 'before\nafter\n');
    expect(readFileSync(starts, 'utf8')).toBe('started\n');
  }
});
