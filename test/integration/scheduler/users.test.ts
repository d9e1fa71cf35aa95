// Users and their tokens at the scheduler, over HTTP: what opens the door, what does not, and when what is open is shut.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { type Clock, createClock } from '../../../src/base/clock.ts';
import { publicKeyText } from '../../../src/base/key-file.ts';
import { EXEC_SUBPROTOCOL } from '../../../src/protocol/exec.ts';
import { signText } from '../../../src/protocol/signed.ts';
import {
  MAX_USER_KEYS,
  type MeView,
  type NewTokenView,
  userKeyText,
} from '../../../src/protocol/user-api.ts';
import { ATTEMPTS_PER_MINUTE } from '../../../src/scheduler/access/attempts.ts';
import { connectFake, enrolFake } from '../../fakes/agent.ts';
import { type Bed, startBed } from './bed.ts';

const DAY_MS = 86_400_000;
let bed: Bed;
/** The wall clock is so far ahead. */
let aheadMs = 0;
const clock: Clock = (() => {
  const real = createClock();
  return { ...real, wallMs: () => real.wallMs() + aheadMs };
})();
beforeEach(async () => {
  aheadMs = 0;
  bed = await startBed(undefined, null, undefined, clock);
});
afterEach(() => bed.close());

async function makeUser(name: string, role: string, more: object = {}): Promise<string> {
  const { status, body } = await bed.call('POST', '/v1/users', { name, role, ...more });
  if (status !== 201) throw new Error(JSON.stringify(body));
  return (body as NewTokenView).token;
}
const me = (token: string | null) => bed.call('GET', '/v1/me', undefined, token);

describe('a token', () => {
  it('is kept nowhere: not on disk, not in the log, not in a list', async () => {
    const token = await makeUser('mei', 'submitter');
    expect(token).toMatch(/^flopd-user-[0-9a-z]+-[A-Za-z0-9_-]{43}$/);
    expect((await me(token)).body).toMatchObject({ user: 'mei', role: 'submitter' });
    const secret = token.split('-').slice(3).join('-');
    const { body } = await bed.call('GET', '/v1/users');
    expect(JSON.stringify(body) + JSON.stringify(bed.logged)).not.toContain(secret);
    const folder = join(bed.stateDir, 'scheduler');
    for (const name of readdirSync(folder, { withFileTypes: true })) {
      if (name.isFile())
        expect(readFileSync(join(folder, name.name)).includes(secret), name.name).toBe(false);
    }
  });

  it('and all else that the scheduler keeps is in files that are its own alone', async () => {
    await makeUser('mei', 'submitter');
    await bed.submit();
    const folder = join(bed.stateDir, 'scheduler');
    const open = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
      // The lock of the store holds nothing.
      (name) => !name.includes('.lock') && (statSync(join(folder, name)).mode & 0o077) !== 0,
    );
    expect(open).toEqual([]);
  });

  it.each(['Forwarded', 'X-Forwarded-For', 'X-Real-IP', 'Via'])(
    'of the state directory is not good for whom a proxy on this machine passes on (%s)',
    async (name) => {
      const headers = { [name]: '192.0.2.7' };
      const asked = (at: string, more: object = {}) =>
        fetch(`${bed.url}${at}`, { headers: { ...headers, ...more } });
      const refused = await asked('/v1/me', { authorization: `Bearer ${bed.token}` });
      expect([refused.status, await refused.text()]).toEqual([
        403,
        expect.stringContaining('API_TOKEN_LOCAL'),
      ]);
      for (const open of ['/metrics', '/v1/overview']) expect((await asked(open)).status).toBe(401);
      const token = readFileSync(bed.scheduler.joinTokenFile, 'utf8').trim();
      const body = JSON.stringify({ version: 1, token, publicKey: 'AAAA', name: 'host' });
      const joined = await fetch(`${bed.url}/v1/enrol`, { method: 'POST', headers, body });
      expect(await joined.text()).toContain('ENROL_TOKEN_LOCAL');
      const mei = await makeUser('mei', 'viewer');
      expect((await asked('/v1/me', { authorization: `Bearer ${mei}` })).status).toBe(200);
    },
  );

  it('that is missing, empty, wrong, cut, of somebody else or one character off gets one and the same answer', async () => {
    const token = await makeUser('mei', 'admin');
    const other = await makeUser('lin', 'admin');
    const off = `${token.slice(0, -2)}${token.at(-2) === 'A' ? 'B' : 'A'}${token.at(-1)}`;
    const mixed = `${token.split('-').slice(0, 3).join('-')}-${other.split('-').slice(3).join('-')}`;
    const wrong = [
      null,
      '',
      'wrong',
      off,
      mixed,
      token.slice(0, -1),
      `${token}A`,
      token.toUpperCase(),
      bed.token.slice(1),
    ];
    const answers = await Promise.all(wrong.map((text) => me(text)));
    expect(answers[0]).toMatchObject({ status: 401, body: { error: { code: 'API_UNAUTHENTICATED' } } });
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect((await me(token)).status).toBe(200);
  });

  it('in vain too often from an address is told to stop, and the right one from there still opens the door', async () => {
    const token = await makeUser('mei', 'viewer');
    for (let times = 0; times < ATTEMPTS_PER_MINUTE; times += 1) expect((await me('guess')).status).toBe(401);
    const response = await fetch(`${bed.url}/v1/me`, { headers: { authorization: 'Bearer guess' } });
    expect([response.status, Number(response.headers.get('retry-after'))]).toEqual([429, 3]);
    expect((await me(token)).status).toBe(200);
    expect((await me(null)).status).toBe(401);
    const lines = bed.logged.filter(({ level }) => level === 'warn');
    expect(lines.length).toBeLessThanOrEqual(20);
    expect(JSON.stringify(lines)).not.toContain('guess');
  });

  it('runs out, is not good before its time, and is never made for longer than a year', async () => {
    const token = await makeUser('mei', 'viewer', { lifetimeMs: DAY_MS });
    aheadMs = -50_000;
    expect((await me(token)).status).toBe(200);
    aheadMs = -3600_000;
    expect(await me(token)).toMatchObject({ status: 401, body: { error: { code: 'API_TOKEN_EXPIRED' } } });
    aheadMs = DAY_MS - 10_000;
    expect((await me(token)).status).toBe(200);
    aheadMs = DAY_MS + 1;
    const { status, body } = await me(token);
    expect([status, body]).toMatchObject([
      401,
      { error: { code: 'API_TOKEN_EXPIRED', message: expect.stringMatching(/mei ran out at/) } },
    ]);
    expect((await bed.call('GET', '/v1/users')).body).toMatchObject({ users: [{ state: 'expired' }] });
    for (const lifetimeMs of [100 * 365 * DAY_MS, 367 * DAY_MS, 0, -1, 1.5, '1d', null]) {
      const asked = await bed.call('POST', '/v1/users', { name: 'lin', role: 'viewer', lifetimeMs });
      expect(asked).toMatchObject({ status: 400, body: { error: { field: 'lifetimeMs' } } });
    }
  });

  it('that is refused gets the time of this very moment, by which a submission may be signed', async () => {
    for (const hours of [1, -1]) {
      aheadMs = hours * 3600_000;
      const { headers } = await fetch(`${bed.url}/v1/jobs`);
      const told = Date.parse(headers.get('date') ?? '');
      expect(Math.abs(told - clock.wallMs())).toBeLessThan(60_000);
    }
  });

  it('is replaced at once, also after a restart, and a revoked user comes back by a new one alone', async () => {
    const first = await makeUser('mei', 'submitter');
    const { body } = await bed.call('POST', '/v1/users/mei/token', {});
    const second = (body as NewTokenView).token;
    expect([(await me(first)).status, (await me(second)).status]).toEqual([401, 200]);
    expect((await bed.call('POST', '/v1/users/mei/revoke', {})).body).toMatchObject({ state: 'revoked' });
    expect((await me(second)).status).toBe(401);
    const image = bed.crashImage();
    await bed.close();
    bed = await startBed(image, null, undefined, clock);
    expect([(await me(first)).status, (await me(second)).status]).toEqual([401, 401]);
    expect(await bed.call('POST', '/v1/users', { name: 'mei', role: 'admin' })).toMatchObject({
      status: 409,
      body: { error: { code: 'USER_EXISTS', remedy: expect.stringContaining('flopd user token mei') } },
    });
    const third = ((await bed.call('POST', '/v1/users/mei/token', {})).body as NewTokenView).token;
    expect((await me(third)).body).toMatchObject({ user: 'mei', role: 'submitter' });
  });
});

describe('a user', () => {
  it.each(['local', 'scheduler', 'Mei', 'a b', '-x', '', 'a/b', 'x'.repeat(33), '__proto__', 'mei\n'])(
    'is never called %j',
    async (name) => {
      const asked = await bed.call('POST', '/v1/users', { name, role: 'viewer' });
      expect(asked).toMatchObject({ status: 400, body: { error: { code: 'API_INVALID', field: 'name' } } });
    },
  );

  it('who is unknown, or local, cannot be changed', async () => {
    for (const what of ['revoke', 'token', 'role']) {
      const body = what === 'role' ? { role: 'admin' } : {};
      for (const [name, code] of [
        ['nobody', 'USER_UNKNOWN'],
        ['local', 'USER_RESERVED'],
        ['__proto__', 'USER_UNKNOWN'],
      ])
        expect(await bed.call('POST', `/v1/users/${name}/${what}`, body)).toMatchObject({
          body: { error: { code } },
        });
    }
  });

  it('loses an open follow with the role or the token, and an open command beside a job', async () => {
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const agent = await connectFake({ url: bed.url, identity });
    const token = await makeUser('mei', 'submitter');
    const submitted = await bed.call('POST', '/v1/jobs', { version: 1, command: ['true'] }, token);
    const { id } = submitted.body as { id: string };
    await agent.next('start');
    agent.started(id);
    await bed.until(id, (job) => job.state === 'RUNNING');
    const headers = { authorization: `Bearer ${token}` };
    /** Resolves, when its first record is here, with what resolves at its end. */
    const follow = async () => {
      const response = await fetch(`${bed.url}/v1/jobs/${id}/follow`, { headers });
      expect(response.status).toBe(200);
      const reader = response.body?.getReader();
      await reader?.read();
      const toTheEnd = async (): Promise<void> => {
        while ((await reader?.read())?.done === false);
      };
      return { ended: toTheEnd() };
    };

    const demoted = await follow();
    await bed.call('POST', '/v1/users/mei/role', { role: 'viewer' });
    await demoted.ended;
    await bed.call('POST', '/v1/users/mei/role', { role: 'submitter' });

    const revoked = await follow();
    const socket = new WebSocket(`${bed.url.replace('http', 'ws')}/v1/jobs/${id}/exec`, EXEC_SUBPROTOCOL, {
      headers,
    });
    const told: unknown[] = [];
    socket.on('message', (data) => told.push(JSON.parse(String(data))));
    await new Promise((resolve) => socket.on('open', resolve));
    socket.send(JSON.stringify({ type: 'request', command: ['cat'] }));
    const closed = new Promise((resolve) => socket.on('close', resolve));
    const isExec = (type: string): boolean => type === 'exec' || type === 'signedExec';
    await expect.poll(() => agent.messages.some(({ type }) => isExec(type))).toBe(true);
    await bed.call('POST', '/v1/users/mei/revoke', {});
    await Promise.all([revoked.ended, closed]);
    expect(told.at(-1)).toMatchObject({ type: 'end', code: 'EXEC_TOKEN' });
    await agent.next('execStop');
    // The job itself goes on.
    expect((await bed.job(id)).state).toBe('RUNNING');
    agent.socket.terminate();
  });

  it('registers keys that it holds, and no other', async () => {
    const [mei, lin] = [await makeUser('mei', 'submitter'), await makeUser('lin', 'submitter')];
    const { schedulerId } = (await me(mei)).body as MeView;
    const requestFor = (user: string, key: KeyObject, id = schedulerId) => {
      const publicKey = publicKeyText(key);
      return { publicKey, signature: signText(key, 'flopd.v2 user', userKeyText(id, user, publicKey)) };
    };
    const { privateKey } = generateKeyPairSync('ed25519');
    const add = (body: object, token = mei) => bed.call('POST', '/v1/me/keys', body, token);
    const added = await add(requestFor('mei', privateKey));
    expect(added).toMatchObject({ status: 200, body: { keys: [{ publicKey: publicKeyText(privateKey) }] } });
    // Once more changes nothing.
    expect((await add(requestFor('mei', privateKey))).body).toEqual(added.body);
    // What mei has signed does not make the key another's, nor of mei with another scheduler.
    for (const request of [requestFor('mei', privateKey), requestFor('lin', privateKey, 'scheduler-other')])
      expect(await add(request, lin)).toMatchObject({
        status: 400,
        body: { error: { code: 'USER_KEY_INVALID' } },
      });
    for (let more = 1; more < MAX_USER_KEYS; more += 1)
      expect((await add(requestFor('mei', generateKeyPairSync('ed25519').privateKey))).status).toBe(200);
    expect(await add(requestFor('mei', generateKeyPairSync('ed25519').privateKey))).toMatchObject({
      status: 409,
      body: { error: { code: 'USER_KEY_TOO_MANY' } },
    });
    expect(await bed.call('POST', '/v1/me/keys/0123456789abcdef/remove', {}, mei)).toMatchObject({
      status: 404,
      body: { error: { code: 'USER_KEY_UNKNOWN' } },
    });
    const { keys } = added.body as MeView;
    const removed = await bed.call('POST', `/v1/me/keys/${keys[0]?.id}/remove`, {}, mei);
    expect((removed.body as MeView).keys).toHaveLength(MAX_USER_KEYS - 1);
  });
});
