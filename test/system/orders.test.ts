// Signed orders between the built programs: the keys change while a network runs, a node's operator names who may submit.
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startAgent, untilReady } from './apart.ts';
import { type Bed, createBed, type Daemon, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

const keysOf = async (): Promise<readonly { keyId: string }[]> => {
  const { code, stdout, stderr } = await bed.run(['scheduler', 'key', 'show', '-o', 'json']);
  expect(code, stderr).toBe(0);
  return (JSON.parse(stdout) as { keys: readonly { keyId: string }[] }).keys;
};

test('the next key signs when it is to; a node that was away follows, and what ran goes on', async () => {
  const scheduler = await bed.start(['scheduler']);
  const agent = await startAgent(bed, scheduler, 'node-a');
  const journal = (): string => readFileSync(join(bed.folder, 'state-node-a', 'agent', 'journal'), 'utf8');
  const before = await submit(bed, '--cpus', '0.1', '--', 'sleep', '600');
  await untilState(bed, before, 'RUNNING');
  const [first] = await keysOf();
  expect(journal()).toContain(`"keyId":"${first?.keyId}"`);
  // To a session that stands.
  const rotated = await bed.run(['scheduler', 'key', 'rotate', '--overlap', '0s']);
  expect(rotated.code, rotated.stderr).toBe(0);
  const second = (await keysOf()).at(-1);
  expect((await bed.run(['run', '--cpus', '0.1', '--', 'true'])).code).toBe(0);
  expect(journal()).toContain(`"keyId":"${second?.keyId}"`);
  // While the agent is away.
  agent.daemon.kill('SIGTERM');
  await agent.daemon.finished();
  expect((await bed.run(['scheduler', 'key', 'rotate', '--overlap', '0s'])).code).toBe(0);
  await bed.start(['agent'], agent.options);
  await untilReady(bed, 'node-a');
  expect((await bed.run(['run', '--cpus', '0.1', '--', 'sh', '-c', 'exit 3'])).code).toBe(3);
  expect(journal()).toContain(`"keyId":"${(await keysOf()).at(-1)?.keyId}"`);
  // Ordered under the first key, stopped under the third.
  expect((await bed.run(['cancel', before])).code).toBe(0);
  await untilState(bed, before, 'CANCELLED');
});

test('a key that got out is revoked: whoever has it orders nothing from then on, and what runs goes on', async () => {
  const scheduler = await bed.start(['scheduler']);
  await startAgent(bed, scheduler, 'node-a');
  const before = await submit(bed, '--cpus', '0.1', '--', 'sleep', '600');
  await untilState(bed, before, 'RUNNING');
  // All that a thief has copied; the scheduler's own state goes on without him.
  const keys = join(bed.stateDir, 'scheduler', 'keys.json');
  const stolen = readFileSync(keys);
  const rotated = await bed.run(['scheduler', 'key', 'rotate', '--overlap', '0s']);
  expect([rotated.code, rotated.stdout], rotated.stderr).toEqual([0, expect.stringContaining('(revoked)')]);
  expect((await bed.run(['run', '--cpus', '0.1', '--', 'true'])).code).toBe(0);
  const own = readFileSync(keys);
  const again = async (daemon: Daemon, present: Buffer): Promise<Daemon> => {
    daemon.kill('SIGTERM');
    await daemon.finished();
    writeFileSync(keys, present);
    const { host } = new URL(scheduler.endpoint.url);
    const started = await bed.start(['scheduler', '--listen', host]);
    await untilReady(bed, 'node-a');
    return started;
  };
  // A scheduler that signs with the stolen key, a moment after it was revoked.
  const thief = await again(scheduler, stolen);
  const wanted = await submit(bed, '--cpus', '0.1', '--', 'sh', '-c', 'exit 4');
  await until('a refusal', async () => (await bed.run(['job', wanted])).stdout.includes('ORDER_KEY_UNKNOWN'));
  await again(thief, own);
  const ended = await bed.run(['wait', wanted]);
  expect(ended.code, ended.stderr).toBe(4);
  await untilState(bed, before, 'RUNNING');
  expect((await bed.run(['cancel', before])).code).toBe(0);
  await untilState(bed, before, 'CANCELLED');
});

test('a node whose operator names submitters takes the jobs of no one else', async () => {
  const file = join(bed.folder, 'submitters');
  const lineOf = (key: KeyObject, who: string): string =>
    `${key.export({ type: 'spki', format: 'der' }).toString('base64')} ${who}\n`;
  writeFileSync(file, lineOf(generateKeyPairSync('ed25519').publicKey, 'somebody else'));
  const up = await bed.start(['up', '--orders-submitters', file]);
  const waiting = await submit(bed, '--', 'sh', '-c', 'exit 5');
  await until('it waits with the reason', async () =>
    /could take it, but not from its submitter: .*have the operator of the node add it/.test(
      (await readJob(bed, waiting)).reason,
    ),
  );
  const own = createPublicKey(readFileSync(join(bed.stateDir, 'scheduler', 'local-key.pem')));
  writeFileSync(file, lineOf(own, 'this machine'));
  expect((await untilState(bed, waiting, 'FAILED')).result?.exitCode).toBe(5);
  const taken = await bed.run(['run', '--', 'sh', '-c', 'exit 6']);
  expect([taken.code, taken.stderr]).toEqual([6, '']);
  up.kill('SIGTERM');
  await up.finished();
});
