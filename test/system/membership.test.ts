// Who is a node of the network, over the built program: join tokens with the pin of a private authority, places, keys that
// are revoked, and two agents with one key.
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Apart, killed, startAgent, untilReady } from './apart.ts';
import { type Bed, createBed, type Daemon, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

interface Node {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly reason: string;
  readonly cloned: { readonly reason: string } | null;
  readonly place: { readonly jurisdiction: string | null };
}

async function nodes(): Promise<Node[]> {
  const { stdout } = await bed.run(['nodes', '-o', 'json']);
  return (JSON.parse(stdout || '{"nodes":[]}') as { nodes: Node[] }).nodes;
}

async function makeToken(...flags: string[]): Promise<{ token: string; id: string }> {
  const made = await bed.run(['scheduler', 'token', 'create', '-o', 'json', ...flags]);
  expect(made.code, made.stderr).toBe(0);
  return JSON.parse(made.stdout);
}

const stateOf = (name: string) => ({
  environment: { FLOPD_STATE_DIR: join(bed.folder, `state-${name}`), FLOPD_NODE_NAME: name },
});

const jurisdictionKept = (name: string): string | null => {
  const enrolment = JSON.parse(readFileSync(join(bed.folder, `state-${name}`, 'agent', 'node.json'), 'utf8'));
  return JSON.parse(enrolment.signedCredential.body).place.jurisdiction;
};

async function said(daemon: Daemon, what: string): Promise<void> {
  await until(what, () => daemon.stdout().includes(what), 60_000);
}

test('a token with the pin of a private authority enrols one of two hosts that use it at once, in its place', async () => {
  const scheduler = await bed.start(['scheduler', '--tls', 'on']);
  const { url } = scheduler.endpoint;
  const { token, id } = await makeToken('--jurisdiction', 'CN-GD', '--city', 'Shenzhen');
  expect(token).toMatch(/^flopd-join-[0-9a-z]+-[\w-]{43}\.sha256-[\w-]{43}$/);
  const joins = await Promise.all(
    ['a', 'b'].map((name) => bed.run(['join', url, '--token', token], stateOf(name))),
  );
  expect(joins.map(({ code }) => code).sort(), joins.map(({ stderr }) => stderr).join()).toEqual([0, 1]);
  expect(joins.find(({ code }) => code === 1)?.stderr).toMatch(/^flopd: .*has been used; .*token create/);
  const name = joins[0]?.code === 0 ? 'a' : 'b';
  await bed.start(['agent'], stateOf(name));
  await untilReady(bed, name);
  expect(await nodes()).toMatchObject([{ name, place: { jurisdiction: 'CN-GD' } }]);
  // Said again by an admin, it is in the agent's hands at once.
  expect((await bed.run(['node', 'place', name, '--jurisdiction', 'HK'])).stdout).toContain('stands in HK');
  await until('the credential', () => jurisdictionKept(name) === 'HK');
  const list = await bed.run(['scheduler', 'token', 'list']);
  expect(list.stdout).toMatch(new RegExp(`${id} +used +0/1 `));
  const secret = token.split('.')[0]?.slice(-43) ?? 'no secret';
  for (const text of [list.stdout, scheduler.stdout()]) expect(text).not.toContain(secret);
});

test('a revoked key never comes back, also to an empty store; a new one gets the name that an admin allows it', async () => {
  const scheduler = await bed.start(['scheduler']);
  const { daemon, options } = await startAgent(bed, scheduler, 'node-a');
  const [node] = await nodes();
  const job = await submit(bed, '--', 'sleep', '600');
  await untilState(bed, job, 'RUNNING');
  const revoked = await bed.run(['node', 'revoke', 'node-a']);
  expect(revoked.stdout).toContain(`${job} was with it and is lost`);
  expect(await readJob(bed, job)).toMatchObject({ state: 'LOST' });
  await said(daemon, 'revoked');
  await killed(scheduler);
  const folder = join(bed.stateDir, 'scheduler');
  for (const name of readdirSync(folder)) if (name.startsWith('store.db')) rmSync(join(folder, name));
  const again = await bed.start(['scheduler', '--listen', new URL(scheduler.endpoint.url).host]);
  await killed(daemon);
  const third = await bed.start(['agent'], options);
  await said(third, 'an admin revoked the key of the node');
  expect(await nodes()).toEqual([]);
  await killed(third);
  const tokenFile = join(folder, 'join-token');
  const { url } = again.endpoint;
  const refused = await bed.run(['join', url, '--token-file', tokenFile], options);
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('--new-key')]);
  const { token } = await makeToken('--for-node', node?.id ?? '');
  const joined = await bed.run(['join', url, '--token', token, '--new-key'], options);
  expect(joined.stdout, joined.stderr).toContain(`as ${node?.id}`);
  expect(existsSync(join(bed.folder, 'state-node-a', 'agent', 'key.next.pem'))).toBe(false);
  await bed.start(['agent'], options);
  await untilReady(bed, 'node-a');
  expect(await nodes()).toMatchObject([{ id: node?.id }]);
});

describe('of two agents with one key', () => {
  async function copied(agent: Apart): Promise<Apart['options']> {
    const copy = join(bed.folder, 'state-copy');
    cpSync(agent.options.environment.FLOPD_STATE_DIR ?? '', copy, {
      recursive: true,
      // Nor files that are being written, which may be gone when they are to be read.
      filter: (path) => !path.endsWith('lock') && !path.endsWith('.tmp'),
    });
    return { ...agent.options, environment: { ...agent.options.environment, FLOPD_STATE_DIR: copy } };
  }

  test('the one that comes while the other is there is refused, and nothing runs twice', async () => {
    const starts = bed.shared('starts');
    const scheduler = await bed.start(['scheduler']);
    const agent = await startAgent(bed, scheduler, 'node-a');
    const options = await copied(agent);
    const copy = await bed.start(['agent'], options);
    await said(copy, 'while the first still answers');
    await until('the mark', async () => (await nodes())[0]?.cloned != null);
    const job = await submit(bed, '--', 'sh', '-c', `echo started >>${starts}`);
    expect(await readJob(bed, job)).toMatchObject({ state: 'PENDING' });
    await killed(copy);
    expect((await bed.run(['node', 'trust', 'node-a'])).stdout).toContain('takes jobs');
    await untilState(bed, job, 'COMPLETED');
    expect(readFileSync(starts, 'utf8')).toBe('started\n');
  });

  test('the one that was started from the same state after the other is refused, until an admin says that it is left', async () => {
    const scheduler = await bed.start(['scheduler']);
    const agent = await startAgent(bed, scheduler, 'node-a');
    await killed(agent.daemon);
    const copy = await bed.start(['agent'], await copied(agent));
    await untilReady(bed, 'node-a');
    await killed(copy);
    const original = await bed.start(['agent'], agent.options);
    await said(original, 'its state directory was copied');
    expect((await nodes())[0]).toMatchObject({
      state: 'unreachable',
      reason: expect.stringContaining('flopd node trust'),
    });
    expect((await bed.run(['node', 'trust', 'node-a'])).code).toBe(0);
    await killed(original);
    await bed.start(['agent'], agent.options);
    await untilReady(bed, 'node-a');
  });
});
