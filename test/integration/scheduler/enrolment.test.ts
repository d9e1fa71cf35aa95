// How hosts become nodes, and when they do not: join tokens over the real API and store.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EnrolAnswer, NodeView } from '../../../src/protocol/api.ts';
import { readCredential } from '../../../src/protocol/credential.ts';
import type { JoinTokenRequest, JoinTokenView, NewJoinToken } from '../../../src/protocol/join-token.ts';
import { connectFake } from '../../fakes/agent.ts';
import { askToJoin, fakeHost, joinAs } from '../../fakes/host.ts';
import { type Bed, startBed } from './bed.ts';

let bed: Bed;
beforeEach(async () => {
  bed = await startBed();
});
afterEach(() => bed.close());

async function makeToken(request: JoinTokenRequest = {}): Promise<NewJoinToken> {
  const { status, body } = await bed.call('POST', '/v1/join-tokens', request);
  expect(status, JSON.stringify(body)).toBe(201);
  return body as NewJoinToken;
}

async function tokens(): Promise<JoinTokenView[]> {
  return ((await bed.call('GET', '/v1/join-tokens')).body as { tokens: JoinTokenView[] }).tokens;
}

const nodes = async (): Promise<NodeView[]> =>
  ((await bed.call('GET', '/v1/nodes')).body as { nodes: NodeView[] }).nodes;

const localToken = (): string => readFileSync(bed.scheduler.joinTokenFile, 'utf8').trim();

describe('a join token', () => {
  it('is good for one host, which stands where the token says', async () => {
    const place = { jurisdiction: 'CN-GD', hub: 'Greater Bay Area', cluster: 'Shaoguan', city: null };
    const { token, id } = await makeToken({ place, labels: { rack: 'b7' } });
    const answer = (await askToJoin(bed.url, token, fakeHost())).body as EnrolAnswer;
    expect(readCredential(answer.signedCredential)).toMatchObject({
      nodeId: answer.nodeId,
      schedulerId: answer.schedulerId,
      place,
      labels: { rack: 'b7' },
      serial: 1,
    });
    expect(await bed.node(answer.nodeId)).toMatchObject({ place, labels: { rack: 'b7' } });
    expect(await askToJoin(bed.url, token, fakeHost())).toMatchObject({
      status: 403,
      body: { error: { code: 'ENROL_TOKEN_USED', field: 'token' } },
    });
    expect(await tokens()).toMatchObject([{ id, state: 'used', usesLeft: 0 }]);
  });

  it.each([1, 7])(
    'used many times at the same instant enrols exactly as many hosts as it says: %d',
    async (uses) => {
      const { token } = await makeToken({ uses });
      const asked = await Promise.all(
        Array.from({ length: 24 }, () => askToJoin(bed.url, token, fakeHost())),
      );
      expect(asked.filter(({ status }) => status === 200)).toHaveLength(uses);
      expect(await nodes()).toHaveLength(uses);
      expect(await tokens()).toMatchObject([{ usesLeft: 0 }]);
    },
  );

  it('asked with the same key again, also at the same instant, gives the same node and costs one use', async () => {
    const { token } = await makeToken({ uses: 2 });
    const host = fakeHost();
    const asked = await Promise.all(Array.from({ length: 8 }, () => joinAs(bed.url, token, host)));
    expect(new Set(asked.map(({ nodeId }) => nodeId)).size).toBe(1);
    expect(await tokens()).toMatchObject([{ usesLeft: 1 }]);
    await joinAs(bed.url, token, fakeHost());
    // Nothing is left of it, and the answer that was lost is given all the same.
    expect(await joinAs(bed.url, token, host)).toMatchObject({ nodeId: asked[0]?.nodeId });
    expect(await tokens()).toMatchObject([{ usesLeft: 0 }]);
  });

  it('is counted on disk before the host is told: after a crash it is used up', async () => {
    const { token } = await makeToken();
    const host = fakeHost();
    const { nodeId } = await joinAs(bed.url, token, host);
    const after = await startBed(bed.crashImage());
    try {
      expect(await askToJoin(after.url, token, fakeHost())).toMatchObject({ status: 403 });
      expect(await joinAs(after.url, token, host)).toMatchObject({ nodeId });
    } finally {
      await after.close();
    }
  });

  it('that was revoked, or is not of this scheduler, enrols nobody', async () => {
    const { token, id } = await makeToken({ uses: 5 });
    expect((await bed.call('POST', `/v1/join-tokens/${id}/revoke`, {})).body).toMatchObject({
      state: 'revoked',
    });
    expect(await askToJoin(bed.url, token, fakeHost())).toMatchObject({
      status: 403,
      body: { error: { code: 'ENROL_TOKEN_REVOKED' } },
    });
    for (const wrong of [
      `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`,
      `${token}.sha256-x`,
      'x',
      token.replace(id, 'zzzzzzzzzz'),
    ])
      expect(await askToJoin(bed.url, wrong, fakeHost())).toMatchObject({
        status: 401,
        body: { error: { code: 'ENROL_TOKEN_WRONG' } },
      });
    expect(await nodes()).toEqual([]);
  });

  it('is kept as a hash alone, and named in no log', async () => {
    const { token } = await makeToken();
    const secret = token.split('-').slice(3).join('-');
    await joinAs(bed.url, token, fakeHost());
    await askToJoin(bed.url, token, fakeHost());
    expect(JSON.stringify(bed.logged)).not.toContain(secret);
    expect(JSON.stringify(await tokens())).not.toContain(secret);
    const folder = join(bed.stateDir, 'scheduler');
    for (const name of readdirSync(folder).filter((one) => one.startsWith('store.db')))
      expect(readFileSync(join(folder, name)).includes(secret), name).toBe(false);
  });

  it.each([
    { uses: 0 },
    { uses: 1.5 },
    { forMs: 367 * 24 * 3_600_000 },
    { forMs: -1 },
    { place: { jurisdiction: 'cn-gd' } },
    { place: { jurisdiction: 'CN', moon: 'base' } },
    { labels: { Rack: 'x' } },
    { labels: { rack: '' } },
    { nodeId: '../etc' },
    { expires: '1h' },
  ])('is not made of %j', async (request) => {
    expect(await bed.call('POST', '/v1/join-tokens', request)).toMatchObject({
      status: 400,
      body: { error: { code: 'API_INVALID' } },
    });
    expect(await tokens()).toEqual([]);
  });

  it('that is guessed at too often from one address is not looked at for a while; a good one still is', async () => {
    const statuses = new Set<number>();
    for (let round = 0; round < 40; round += 1)
      statuses.add((await askToJoin(bed.url, `guess-${round}`, fakeHost())).status);
    expect([...statuses]).toEqual([401, 429]);
    await joinAs(bed.url, localToken(), fakeHost());
  });
});

describe('the name of a node', () => {
  it('that was revoked goes to a new key only by a token that was made for it', async () => {
    const { token } = await makeToken({ place: { jurisdiction: 'HK' } });
    const host = fakeHost();
    const { nodeId } = await joinAs(bed.url, token, host);
    expect((await bed.call('POST', `/v1/nodes/${nodeId}/revoke`, {})).status).toBe(200);
    expect(await nodes()).toEqual([]);
    // The key is good for nothing, with whatever token.
    expect(await askToJoin(bed.url, localToken(), host, { nodeId })).toMatchObject({
      status: 403,
      body: { error: { code: 'ENROL_KEY_REVOKED', remedy: expect.stringContaining('--new-key') } },
    });
    // A new key gets another name.
    expect((await joinAs(bed.url, localToken(), fakeHost(), { nodeId })).nodeId).not.toBe(nodeId);
    const allowed = await makeToken({ nodeId });
    expect(await askToJoin(bed.url, allowed.token, fakeHost(), { nodeId: 'node-other' })).toMatchObject({
      body: { error: { code: 'ENROL_TOKEN_NODE' } },
    });
    const renewed = await joinAs(bed.url, allowed.token, fakeHost(), { nodeId });
    expect(renewed.nodeId).toBe(nodeId);
    // It stands where it stood, and an earlier credential of it is out of date.
    expect(readCredential(renewed.signedCredential as never)).toMatchObject({
      place: { jurisdiction: 'HK' },
      serial: 2,
    });
  });

  it('that an operator removed does not come back by a token that was made for another', async () => {
    const removed = fakeHost();
    const { nodeId } = await joinAs(bed.url, localToken(), removed);
    const other = await joinAs(bed.url, localToken(), fakeHost());
    expect((await bed.call('POST', `/v1/nodes/${nodeId}/remove`, {})).status).toBe(200);
    const { token } = await makeToken({ nodeId: other.nodeId });
    expect(await askToJoin(bed.url, token, removed)).toMatchObject({
      status: 403,
      body: { error: { code: 'ENROL_TOKEN_NODE' } },
    });
  });

  it.each(['two\nlines', '\u001b]0;title\u0007', 'txt\u202egpj'])(
    'cannot become %j, by no hello',
    async (name) => {
      const identity = await joinAs(bed.url, localToken(), fakeHost());
      const [before] = await nodes();
      const agent = await connectFake({ url: bed.url, identity, alter: (hello) => ({ ...hello, name }) });
      expect((await agent.closed).code).toBe(4400);
      expect((await nodes()).map((node) => node.name)).toEqual([before?.name]);
      expect(await askToJoin(bed.url, localToken(), fakeHost(), { name })).toMatchObject({
        body: { error: { code: 'ENROL_NAME_INVALID' } },
      });
    },
  );

  it('is taken from a live node by such a token: its key and session are good no more', async () => {
    const old = await joinAs(bed.url, localToken(), fakeHost());
    const agent = await connectFake({ url: bed.url, identity: old });
    const { token } = await makeToken({ nodeId: old.nodeId });
    const renewed = await joinAs(bed.url, token, fakeHost(), { nodeId: old.nodeId });
    expect((await agent.closed).code).toBe(4409);
    const refused = await connectFake({
      url: bed.url,
      identity: old,
      generation: 2,
      alter: (hello) => hello,
    });
    expect((await refused.closed).code).toBe(4401);
    const again = await connectFake({ url: bed.url, identity: renewed });
    expect(again.nodeId).toBe(old.nodeId);
    await again.disconnect();
  });
});

describe('a key that was revoked', () => {
  it('never comes back: not by its credential, not to an empty store, not to an older one', async () => {
    const identity = await joinAs(bed.url, localToken(), fakeHost());
    const agent = await connectFake({ url: bed.url, identity });
    const { id: jobId } = await bed.submit();
    await agent.next('start');
    const before = bed.crashImage();
    expect((await bed.call('POST', `/v1/nodes/${identity.nodeId}/revoke`, {})).body).toMatchObject({
      jobs: [jobId],
    });
    expect((await agent.closed).code).toBe(4410);
    expect(await bed.job(jobId)).toMatchObject({
      state: 'LOST',
      reason: `lost: its node node-a was revoked by local`,
    });
    const comeBack = async (to: Bed): Promise<number> => {
      const refused = await connectFake({ url: to.url, identity, generation: 2, alter: (hello) => hello });
      return (await refused.closed).code;
    };
    expect(await comeBack(bed)).toBe(4410);
    for (const image of [bed.crashImage(), before]) {
      const folder = join(image, 'scheduler');
      if (image === before) rmSync(join(folder, 'revocations.jsonl'), { force: true });
      const list = join(bed.stateDir, 'scheduler', 'revocations.jsonl');
      expect(existsSync(list)).toBe(true);
      if (image === before)
        await import('node:fs').then(({ cpSync }) => cpSync(list, join(folder, 'revocations.jsonl')));
      else
        for (const name of readdirSync(folder)) if (name.startsWith('store.db')) rmSync(join(folder, name));
      const after = await startBed(image);
      try {
        expect(await comeBack(after)).toBe(4410);
        expect(await askToJoin(after.url, localToken(), identity)).toMatchObject({ status: 403 });
      } finally {
        await after.close();
      }
    }
  });

  it('of a node that was removed comes back by a join token alone', async () => {
    const identity = await joinAs(bed.url, localToken(), fakeHost());
    expect((await bed.call('POST', `/v1/nodes/${identity.nodeId}/remove`, {})).status).toBe(200);
    const image = bed.crashImage();
    for (const name of readdirSync(join(image, 'scheduler')))
      if (name.startsWith('store.db')) rmSync(join(image, 'scheduler', name));
    const after = await startBed(image);
    try {
      const refused = await connectFake({ url: after.url, identity, alter: (hello) => hello });
      expect((await refused.closed).code).toBe(4410);
      const again = await joinAs(after.url, localToken(), identity);
      await (await connectFake({ url: after.url, identity: again })).disconnect();
    } finally {
      await after.close();
    }
  });
});

describe('the place of a node', () => {
  it('comes to its agent at once when an admin changes it, and with the welcome when it was away', async () => {
    const { token } = await makeToken({ place: { jurisdiction: 'CN-GD' } });
    const identity = await joinAs(bed.url, token, fakeHost());
    const hello = { url: bed.url, identity, version: 2 as const, instance: 'instance-a' };
    const agent = await connectFake(hello);
    expect((await agent.next('welcome')).credential).toBeNull();
    const place = { jurisdiction: 'HK', hub: null, cluster: null, city: 'Hong Kong' };
    await bed.call('POST', `/v1/nodes/${identity.nodeId}/place`, { place });
    const told = await agent.next('credential');
    expect(readCredential(told.credential)).toMatchObject({ place, serial: 2 });
    await agent.disconnect();
    const view = await bed.call('POST', `/v1/nodes/${identity.nodeId}/label`, { labels: { rack: 'b7' } });
    expect(view.body).toMatchObject({ labels: { rack: 'b7' }, place });
    const again = await connectFake({
      ...hello,
      identity: { ...identity, signedCredential: told.credential },
    });
    const { credential } = await again.next('welcome');
    expect(credential === null ? null : readCredential(credential)).toMatchObject({
      place,
      labels: { rack: 'b7' },
      serial: 3,
    });
    await again.disconnect();
  });

  it('is known again from its credential when the store is lost, but not from one that is out of date', async () => {
    const { token } = await makeToken({ place: { jurisdiction: 'CN-GD' } });
    const identity = await joinAs(bed.url, token, fakeHost());
    const place = { jurisdiction: 'HK', hub: null, cluster: null, city: null };
    const hello = { identity, version: 2 as const, instance: 'instance-a' };
    const agent = await connectFake({ ...hello, url: bed.url });
    await bed.call('POST', `/v1/nodes/${identity.nodeId}/place`, { place });
    const { credential } = await agent.next('credential');
    await agent.disconnect();
    const image = bed.crashImage();
    for (const name of readdirSync(join(image, 'scheduler')))
      if (name.startsWith('store.db')) rmSync(join(image, 'scheduler', name));
    const after = await startBed(image);
    try {
      const outdated = await connectFake({ ...hello, url: after.url });
      expect((await after.node(identity.nodeId)).place.jurisdiction).toBeNull();
      await outdated.disconnect();
      const current = await connectFake({
        ...hello,
        url: after.url,
        identity: { ...identity, signedCredential: credential },
      });
      expect((await after.node(identity.nodeId)).place.jurisdiction).toBe('HK');
      await current.disconnect();
    } finally {
      await after.close();
    }
  });

  it('is nowhere for a node that shows a credential of another, or one that nobody signed', async () => {
    const good = await joinAs(
      bed.url,
      (await makeToken({ place: { jurisdiction: 'CN-GD' } })).token,
      fakeHost(),
    );
    const bad = await joinAs(bed.url, (await makeToken()).token, fakeHost());
    const forged = {
      ...bad.signedCredential,
      body: bad.signedCredential?.body.replace('"jurisdiction":null', '"jurisdiction":"CN"'),
    };
    for (const shown of [good.signedCredential, forged]) {
      const agent = await connectFake({
        url: bed.url,
        identity: bad,
        version: 2,
        instance: 'instance-b',
        alter: (hello) => ({ ...hello, signedCredential: shown }),
      });
      await agent.next('welcome');
      expect((await bed.node(bad.nodeId)).place.jurisdiction).toBeNull();
      await agent.disconnect();
    }
  });
});
