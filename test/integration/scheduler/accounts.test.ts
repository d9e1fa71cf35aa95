// Users and join tokens of a scheduler that has lost its job store, or got a copy of it from before.
import { cpSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NewTokenView } from '../../../src/protocol/user-api.ts';
import { type Bed, freshFolder, startBed } from './bed.ts';

let stateDir: string;
let bed: Bed;
beforeEach(async () => {
  stateDir = freshFolder();
  bed = await startBed(stateDir);
});
afterEach(() => bed.close());

const folder = (): string => join(stateDir, 'scheduler');
const storeFiles = (): string[] => readdirSync(folder()).filter((name) => name.startsWith('store.db'));

async function makeUser(name: string, role: string): Promise<string> {
  const { status, body } = await bed.call('POST', '/v1/users', { name, role });
  expect(status, JSON.stringify(body)).toBe(201);
  return (body as NewTokenView).token;
}
async function whoIs(token: string): Promise<unknown> {
  const { status, body } = await bed.call('GET', '/v1/me', undefined, token);
  return status === 200 ? body : status;
}
async function restart(change: () => void): Promise<void> {
  await bed.scheduler.close();
  change();
  bed = await startBed(stateDir);
}
async function lists(): Promise<unknown> {
  const [users, tokens] = [await bed.call('GET', '/v1/users'), await bed.call('GET', '/v1/join-tokens')];
  return [users.status, users.body, tokens.status, tokens.body];
}

describe('users and join tokens', () => {
  it('are back when the store is lost, and whoever was revoked stays so', async () => {
    const [mei, lin] = [await makeUser('mei', 'submitter'), await makeUser('lin', 'operator')];
    expect((await bed.call('POST', '/v1/users/lin/revoke', {})).status).toBe(200);
    for (const uses of [1, 5]) expect((await bed.call('POST', '/v1/join-tokens', { uses })).status).toBe(201);
    const before = await lists();
    expect(before).toMatchObject([200, expect.anything(), 200, expect.anything()]);
    await restart(() => {
      for (const name of storeFiles()) rmSync(join(folder(), name));
    });
    expect(await whoIs(mei)).toMatchObject({ user: 'mei', role: 'submitter' });
    expect(await whoIs(lin)).toBe(401);
    expect(await lists()).toEqual(before);
    expect((await bed.call('POST', '/v1/users', { name: 'lin', role: 'admin' })).status).toBe(409);
    expect(bed.logged.filter(({ message }) => message.includes('taken from their file'))).toMatchObject([
      { fields: { users: 2, joinTokens: 2 } },
    ]);
  });

  it('are what was said last when the store is a copy from before', async () => {
    const [mei, lin] = [await makeUser('mei', 'admin'), await makeUser('lin', 'operator')];
    const copy = freshFolder();
    await restart(() => {
      for (const name of storeFiles()) cpSync(join(folder(), name), join(copy, name));
    });
    expect((await bed.call('POST', '/v1/users/lin/revoke', {})).status).toBe(200);
    expect((await bed.call('POST', '/v1/users/mei/role', { role: 'viewer' })).status).toBe(200);
    await restart(() => {
      for (const name of storeFiles()) rmSync(join(folder(), name));
      cpSync(copy, folder(), { recursive: true });
    });
    rmSync(copy, { recursive: true });
    expect(await whoIs(mei)).toMatchObject({ role: 'viewer' });
    expect(await whoIs(lin)).toBe(401);
  });

  it('lie in a file for its owner alone, which is written anew from the store, and not guessed at', async () => {
    const mei = await makeUser('mei', 'submitter');
    const path = join(folder(), 'accounts.jsonl');
    await restart(() => rmSync(path));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await bed.scheduler.close();
    writeFileSync(path, 'not what it was\n');
    await expect(startBed(stateDir)).rejects.toMatchObject({ code: 'SCHEDULER_ACCOUNTS_DAMAGED' });
    rmSync(path);
    bed = await startBed(stateDir);
    expect(await whoIs(mei)).toMatchObject({ user: 'mei' });
  });
});
