// A scheduler that insists, and signs as it should: the node looks at the data of each order itself, by the place that
// its own credential names, and refuses (A37).
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { signedCredentialText } from '../../../src/protocol/credential.ts';
import { nowhere } from '../../../src/protocol/place.ts';
import type { Signed } from '../../../src/protocol/signed.ts';
import { type FakeScheduler, until } from '../../fakes/scheduler.ts';
import { createFakeKey, createFakeSigner, type FakeKey, type FakeSigner } from '../../fakes/signer.ts';
import { type AgentBed, createAgentBed } from './bed.ts';

const WAIT_MS = 25_000;
let bed: AgentBed;
let nodeId = '';
let signer: FakeSigner;
let fake: FakeScheduler;
beforeEach(async () => {
  bed = createAgentBed();
  signer = createFakeSigner('scheduler-fake000001', () => nodeId);
  fake = await bed.scheduler({ keys: signer.statements });
  const agent = await bed.agent({ scheduler: fake.url, joinToken: 'join-token' });
  nodeId = agent.nodeId;
  await agent.connected(WAIT_MS);
});
afterEach(() => bed.close());

let jobs = 0;
async function ask(data: object, more: object = {}) {
  const session = fake.sessions.at(-1);
  const order = signer.start(`job-${++jobs}`, {
    version: 1,
    command: ['true'],
    resources: { cpus: 0.1 },
    data,
    ...more,
  });
  session?.send(order);
  const answer = () =>
    session?.messages.find((message) => message.type === 'orderAck' && message.orderId === order.orderId);
  await until(() => answer() !== undefined, `an answer to ${order.orderId}`, WAIT_MS);
  return answer();
}

/** Sends a credential, and waits until the agent has kept it or said that it did not. */
async function tell(jurisdiction: string, serial: number, by: FakeKey = signer.key): Promise<void> {
  const body = signedCredentialText({
    version: 2,
    schedulerId: signer.schedulerId,
    nodeId,
    publicKey: fake.publicKeys.get(nodeId) ?? '',
    enrolledAtMs: 1,
    place: { ...nowhere, jurisdiction },
    labels: {},
    serial,
  });
  const credential: Signed = by.sign('flopd.v2 node', body);
  fake.sessions.at(-1)?.send({ type: 'credential', credential });
  await until(
    () => readFileSync(join(bed.stateDir, 'agent/node.json'), 'utf8').includes(credential.signature),
    'the credential on disk',
    WAIT_MS,
  );
}

const refused = (code: string) => ({ outcome: 'refused', code, message: expect.any(String) });
const internal = { class: 'internal', origin: 'HK' };

test('a node refuses data that may not be where it stands, whatever is signed', async () => {
  expect(fake.sessions[0]?.hello?.inventory.dataClasses).toEqual(['public', 'internal']);
  expect(await ask(internal)).toMatchObject(refused('DATA_PLACE_MISSING'));
  await tell('HK', 1);
  expect(await ask(internal)).toMatchObject({ outcome: 'accepted' });
  expect(await ask({ ...internal, origin: 'CN-GD' })).toMatchObject(refused('DATA_PLACE_NOT_ALLOWED'));
  expect(await ask({ class: 'personal', origin: 'HK' })).toMatchObject({
    ...refused('DATA_CLASS_NOT_TAKEN'),
    message: expect.stringContaining('policy.classes: public, internal'),
  });
  // What no scheduler's schema lets through does not even become an order.
  expect(await ask({ ...internal, egress: 'none' })).toMatchObject({ outcome: 'refused' });
  expect(await ask({ ...internal, class: 'secret' })).toMatchObject({ outcome: 'refused' });

  // The place follows the credential, and only one that the scheduler has signed.
  await tell('SG', 2);
  expect(await ask(internal)).toMatchObject(refused('DATA_PLACE_NOT_ALLOWED'));
  await tell('HK', 3, createFakeKey());
  expect(await ask(internal)).toMatchObject(refused('DATA_PLACE_MISSING'));

  await until(
    () => {
      const log = readFileSync(join(bed.stateDir, 'agent/audit/audit-000001.jsonl'), 'utf8');
      return log.includes('"policy.refused"') && log.includes('DATA_PLACE_NOT_ALLOWED');
    },
    'the refusals in the audit log',
    WAIT_MS,
  );
});

test('a place that somebody wrote into the file of the credential is none', async () => {
  await tell('SG', 1);
  const path = join(bed.stateDir, 'agent/node.json');
  expect(await ask(internal)).toMatchObject(refused('DATA_PLACE_NOT_ALLOWED'));
  for (const part of bed.open.splice(0).reverse()) if (part !== fake) await part.close();
  writeFileSync(path, readFileSync(path, 'utf8').replace('\\"SG\\"', '\\"HK\\"'));
  const again = await bed.agent({ scheduler: fake.url });
  bed.open.unshift(fake);
  await again.connected(WAIT_MS);
  expect(await ask(internal)).toMatchObject(refused('DATA_PLACE_MISSING'));
});
