// Attacks A07 to A10 against the built scheduler: every place of every body of its API and of every message of an agent made
// wrong, in turn. Each is refused with the field, or means what it says; nothing takes effect by halves, and nobody else
// notices.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectFake, enrolFake, type FakeIdentity } from '../fakes/agent.ts';
import { mutantsOf, someMutants } from '../fakes/mutants.ts';
import { messages } from '../unit/protocol/messages.ts';
import { type Bed, createBed, type Daemon, until } from './bed.ts';

const SEED = 20261128;
/** Mutants of each kind of message: each costs a connection. */
const OF_A_MESSAGE = 14;
const DEPTHS = [10_000, 1_000_000];
const LINE_MAX = 8192;

let bed: Bed;
let daemon: Daemon;
let stranger: FakeIdentity;
let jobId = '';
let token = '';
let generation = 1;

beforeAll(async () => {
  bed = createBed();
  daemon = await bed.start(['scheduler']);
  token = readFileSync(`${bed.stateDir}/scheduler/token`, 'utf8').trim();
  const joinToken = `${bed.stateDir}/scheduler/join-token`;
  const environment = { FLOPD_STATE_DIR: `${bed.folder}/node`, FLOPD_NODE_NAME: 'victim' };
  const joined = await bed.run(['join', daemon.endpoint.url, '--token-file', joinToken], { environment });
  expect(joined.code, joined.stderr).toBe(0);
  await bed.start(['agent'], { environment });
  stranger = await enrolFake(daemon.endpoint.url, joinToken, 'stranger');
  const spec = { version: 1, command: ['sleep', '600'], resources: { cpus: 0.01 } };
  jobId = ((await ask('POST', '/v1/jobs', JSON.stringify(spec))).body as { id: string }).id;
  await until('the job of the victim', isRunning);
});
afterAll(async () => {
  await bed.close();
});

async function ask(method: string, path: string, body?: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${daemon.endpoint.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
}

/** Everything that a body could have changed, without what moves by itself. */
async function snapshot(): Promise<string> {
  const read = async (path: string): Promise<unknown> => (await ask('GET', path)).body;
  const { jobs } = (await read('/v1/jobs?limit=10000')) as { jobs: { id: string; state: string }[] };
  const { nodes } = (await read('/v1/nodes')) as {
    nodes: { name: string; cordon: unknown; labels?: unknown }[];
  };
  return JSON.stringify([
    jobs.map(({ id, state }) => [id, state]),
    nodes.map(({ name, cordon, labels }) => [name, cordon, labels]),
    await read('/v1/users'),
    await read('/v1/join-tokens'),
  ]);
}

async function isRunning(): Promise<boolean> {
  const { body } = await ask('GET', `/v1/jobs/${jobId}`);
  return (body as { state: string }).state === 'RUNNING';
}

async function expectUnharmed(): Promise<void> {
  expect((await ask('GET', '/healthz')).status).toBe(200);
  expect(await isRunning()).toBe(true);
  // On a busy machine it may have been cut off for its own silence; it is back then.
  await until('the victim', async () => {
    const { body } = await ask('GET', '/v1/nodes/victim');
    return (body as { state: string }).state === 'ready';
  });
  for (const line of daemon.stdout().split('\n')) expect(line.length).toBeLessThan(LINE_MAX);
}

const digest = 'a'.repeat(64);
const spec = {
  version: 1,
  name: 'n',
  executor: 'process',
  image: null,
  command: ['true', 'x'],
  environment: { A: 'b' },
  workingDirectory: '/srv',
  resources: {
    cpus: 1.5,
    memoryBytes: 1_000_000_000_000_000,
    accelerators: { count: 1, match: 'nobody has this', memoryBytes: 1, partition: null, shared: false },
    processes: 10,
    diskReadBytesPerSecond: 4096,
    diskWriteBytesPerSecond: 4096,
  },
  network: 'host',
  outputs: ['out'],
  keepWorkspace: { when: 'failed', forMs: 1000 },
  outputQuotaBytes: 8192,
  checkpoint: { signal: 'SIGUSR1', beforeMs: 100 },
  disconnect: { policy: 'stop', afterMs: 1000 },
  retry: { times: 1, on: ['lost'], delayMs: 1 },
  array: { first: 0, last: 1, maxRunning: 1 },
  timeLimitMs: 1000,
  graceMs: 10,
  priority: 1,
};
const withInput = {
  version: 1,
  command: ['true'],
  inputs: [{ path: 'in', kind: 'file', digest, sizeBytes: 1, executable: false }],
  dependencies: [{ job: 'job-0', condition: 'ended' }],
};

describe('a body of the API', () => {
  const bodies: readonly [string, string, object][] = [
    ['a specification', '/v1/jobs', spec],
    ['a specification with inputs and dependencies', '/v1/jobs', withInput],
    ['a cancellation', '/v1/jobs/job-0/cancel', { reason: 'x' }],
    ['a drain', '/v1/nodes/stranger/drain', { device: null, reason: 'x', forMs: 1000 }],
    ['a return', '/v1/nodes/stranger/resume', { device: null }],
    ['a removal', '/v1/nodes/nobody/remove', {}],
    ['an enrolment', '/v1/enrol', { version: 1, token: 't', publicKey: 'AAAA', name: 'x' }],
    ['a user', '/v1/users', { name: 'ann', role: 'viewer' }],
    ['a role', '/v1/users/nobody/role', { role: 'viewer' }],
    ['a join token', '/v1/join-tokens', { uses: 2, labels: { rack: '7' }, place: { jurisdiction: 'CN' } }],
    ['labels', '/v1/nodes/nobody/label', { labels: { rack: '7' } }],
  ];

  it.each(bodies)(
    'made wrong at any place is refused with the field: %s',
    { timeout: 180_000 },
    async (_, path, body) => {
      let refused = 0;
      const before = await snapshot();
      const taken: string[] = [];
      for (const { text, what } of mutantsOf(body)) {
        const answer = await ask('POST', path, text);
        expect(answer.status, `${what}: ${JSON.stringify(answer.body).slice(0, 300)}`).toBeLessThan(500);
        if (answer.status < 400) {
          taken.push(what);
          continue;
        }
        refused += 1;
        const { error } = answer.body as { error: { code: string; field: string | null; message: string } };
        expect(error.code, what).toMatch(/^[A-Z][A-Z_]+$/);
        expect(error.message.length, what).toBeLessThan(1024);
        if (what.startsWith('__proto__')) expect(error.field).toBe('__proto__');
        if (error.code === 'API_INVALID' && !what.startsWith('(all) ='))
          expect(error.field, what).not.toBe(null);
      }
      expect(refused).toBeGreaterThan(5);
      // What a mutant changed was what it said: nothing but it could have.
      if (taken.length === 0) expect(await snapshot()).toBe(before);
      for (const what of taken)
        expect(what).not.toMatch(/__proto__|constructor|prototype|toString|1e999|nobody knows/);
      await expectUnharmed();
    },
  );

  it.each(DEPTHS)('nested %i deep is refused before it is parsed (A07)', async (depth) => {
    for (const path of ['/v1/jobs', '/v1/enrol', '/v1/users', '/v1/nodes/victim/drain']) {
      const answer = await ask('POST', path, '['.repeat(depth)).catch(() => null);
      // Of one that is too long, the connection may be cut before all of it was sent.
      if (answer !== null) expect([400, 413]).toContain(answer.status);
      const object = await ask('POST', path, `${'{"a":'.repeat(depth)}1`).catch(() => null);
      if (object !== null) expect([400, 413]).toContain(object.status);
    }
    await expectUnharmed();
  });
});

/** Sends a text in a session of its own, and tells how that went on: the close code, or null where it did. */
async function tell(text: string): Promise<{ code: number | null; told: string | null }> {
  generation += 1;
  const agent = await connectFake({ url: daemon.endpoint.url, identity: stranger, generation });
  await agent.next('welcome');
  agent.socket.send(text);
  agent.send({ type: 'heartbeat', sequence: 424_242 });
  const alive = agent.next('heartbeat', ({ echo }) => echo === 424_242).then(() => null);
  const code = await Promise.race([agent.closed.then((closed) => closed.code), alive.catch(() => 0)]);
  const told = agent.messages.find(({ type }) => type === 'error');
  agent.socket.terminate();
  return { code, told: told?.type === 'error' ? told.code : null };
}

describe('a message of an agent', () => {
  const ofAgents = Object.entries(messages).filter(
    ([name]) => name.startsWith('agent.') && name !== 'agent.hello',
  );

  it.each(ofAgents)(
    '%s made wrong ends its own session, or means what it says',
    { timeout: 180_000 },
    async (name, message) => {
      let refused = 0;
      for (const { text, what } of someMutants(message, OF_A_MESSAGE, SEED)) {
        const { code, told } = await tell(text);
        if (code === null) {
          expect(what, name).not.toMatch(/__proto__|constructor|prototype|toString|1e999|\[\[\[/);
          continue;
        }
        refused += 1;
        expect(code, `${name}: ${what}`).toBe(4400);
        expect(told, `${name}: ${what}`).toMatch(/^LINK_/);
      }
      expect(refused).toBeGreaterThan(0);
      await expectUnharmed();
    },
  );

  it.each([
    ['a type that nobody knows', '{"type":"shutdown"}'],
    ['no type', '{}'],
    ['a list', '[]'],
    ['a second hello', JSON.stringify(messages['agent.hello'])],
    ['what only a scheduler says', '{"type":"ack","sequence":1}'],
    ['ten thousand brackets', '['.repeat(10_000)],
    ['a million brackets', '['.repeat(1_000_000)],
    ['ten thousand objects', '{"type":'.repeat(10_000)],
  ])('%s ends its own session (A07, A10)', async (_, text) => {
    const { code } = await tell(text);
    expect(code).toBe(4400);
    await expectUnharmed();
  });

  it('about a job of another node changes nothing (A16)', async () => {
    generation += 1;
    const agent = await connectFake({ url: daemon.endpoint.url, identity: stranger, generation });
    await agent.next('welcome');
    agent.started(jobId);
    agent.ended(jobId, { exitCode: 9 });
    agent.output(jobId, 1, 'stdout', 0, 'forged');
    await agent.next('error');
    const { body } = await ask('GET', `/v1/jobs/${jobId}/output`);
    expect(body).toBe('');
    agent.socket.terminate();
    await expectUnharmed();
  });
});
