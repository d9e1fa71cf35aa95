// Users of a scheduler, tried with the built program: from another host over TLS, and at the port itself. A11, A12 and
// A35, and who may do what with whose jobs.
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Libsql from 'libsql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, type Door, doorOf } from '../fakes/wire.ts';
import { type Bed, createBed, type Daemon, type Finished } from './bed.ts';
import { canNetwork, createNetworks, type Networks, SCHEDULER_HOST, SCHEDULER_PORT } from './networks.ts';

const DEADLINE_MS = 90_000;
const url = `https://${SCHEDULER_HOST}:${SCHEDULER_PORT}`;
const tokenOf = ({ stdout }: Finished): string => /^token: +(\S+)$/m.exec(stdout)?.[1] ?? '';

describe.skipIf(!canNetwork())('a user on another host', () => {
  let bed: Bed;
  let networks: Networks;
  /** On the scheduler's own host, with its local token. */
  const here = (...args: string[]) => bed.run(args, { network: networks.scheduler });
  /** On the other host, as this person. */
  const there = (who: string, ...args: string[]) =>
    bed.run(args, { network: networks.agent, environment: homeOf(who) });
  const homeOf = (who: string): Record<string, string> => ({
    XDG_CONFIG_HOME: join(bed.folder, 'homes', who),
    FLOPD_STATE_DIR: join(bed.folder, 'nowhere'),
  });
  async function makeUser(name: string, role: string): Promise<string> {
    const made = await here('user', 'create', name, '--role', role);
    expect(made.code, made.stderr).toBe(0);
    const file = join(bed.folder, `${name}.token`);
    writeFileSync(file, `${tokenOf(made)}\n`, { mode: 0o600 });
    return file;
  }
  async function logIn(name: string, role: string): Promise<void> {
    const file = await makeUser(name, role);
    const { code, stderr } = await there(name, 'login', url, '--token-file', file);
    expect(code, stderr).toBe(0);
  }

  beforeAll(async () => {
    bed = createBed();
    networks = createNetworks();
    const listen = ['--listen', `0.0.0.0:${SCHEDULER_PORT}`, '--tls-name', SCHEDULER_HOST];
    await bed.start(['up', '--node-name', 'node-a', ...listen], { network: networks.scheduler });
  }, DEADLINE_MS);
  afterAll(async () => {
    await bed?.close();
    networks?.close();
  });

  it('opens nothing with the token of the state directory, which is good on its own host', async () => {
    const flags = ['--token-file', join(bed.stateDir, 'scheduler', 'token'), '--scheduler', url];
    const { code, stderr } = await there(
      'mallory',
      'jobs',
      ...flags,
      '--ca-file',
      join(bed.stateDir, 'scheduler', 'ca.pem'),
    );
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/good on the scheduler's host only.*flopd user create/),
    ]);
    // Under its own address, too, the host is itself.
    const own = await here(
      'nodes',
      '--scheduler',
      url,
      ...flags.slice(0, 2),
      '--ca-file',
      join(bed.stateDir, 'scheduler', 'ca.pem'),
    );
    expect([own.code, own.stderr]).toEqual([0, '']);
  });

  it('sees nothing at all without a token', () => {
    const script = `
      const https = require('https');
      const ca = require('fs').readFileSync(process.argv[1]);
      for (const path of ['/v1/overview', '/metrics', '/v1/jobs', '/healthz'])
        https.get('${url}' + path, { ca, agent: false }, (r) => { r.resume(); console.log(path, r.statusCode); });`;
    const { stdout, stderr } = networks.onAgent(
      process.execPath,
      '-e',
      script,
      join(bed.stateDir, 'scheduler', 'ca.pem'),
    );
    expect([stdout.trim().split('\n').sort(), stderr]).toEqual([
      ['/healthz 200', '/metrics 401', '/v1/jobs 401', '/v1/overview 401'],
      '',
    ]);
  });

  it('logs in by the pin of the token, submits what is signed, and has all of what is theirs and nothing of others', async () => {
    await logIn('mei', 'submitter');
    await logIn('lin', 'submitter');
    const folder = join(bed.folder, 'homes', 'mei', 'flopd');
    expect(readdirSync(folder).map((name) => [name, statSync(join(folder, name)).mode & 0o777])).toEqual([
      ['credentials.json', 0o600],
      ['key.pem', 0o600],
    ]);
    const ran = await there('mei', 'run', '--env', 'WORD=secret-words', '--', 'sh', '-c', 'echo $WORD');
    expect([ran.code, ran.stdout, ran.stderr]).toEqual([0, 'secret-words\n', '']);
    const { jobs } = JSON.parse((await there('mei', 'jobs', '-o', 'json')).stdout) as {
      jobs: { id: string; owner: string; hidden: boolean }[];
    };
    const [job] = jobs;
    expect(job).toMatchObject({ owner: 'mei', hidden: false });
    const id = job?.id ?? '';
    const seen = await there('lin', 'job', id, '-o', 'json');
    expect(seen.code).toBe(0);
    expect(JSON.parse(seen.stdout)).toMatchObject({ owner: 'mei', hidden: true, spec: { command: [] } });
    for (const args of [
      ['logs', id],
      ['exec', id, '--', 'true'],
      ['user', 'list'],
    ]) {
      const { code, stdout, stderr } = await there('lin', ...args);
      expect(code).not.toBe(0);
      expect(stdout + stderr).not.toContain('secret-words');
      expect(stderr).toMatch(args[0] === 'user' ? /needs the role admin/ : /belongs to mei/);
    }
    const audit = await here(
      'audit',
      'list',
      '-o',
      'json',
      '--kind',
      'user.created',
      '--kind',
      'access.denied',
    );
    const { records } = JSON.parse(audit.stdout) as { records: { kind: string; facts: object }[] };
    expect(records.map(({ facts }) => facts)).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ user: 'mei', role: 'submitter', by: 'local' }),
        { user: 'lin', code: 'API_NOT_OWNER', method: 'GET', path: `/v1/jobs/${id}/exec` },
        { user: 'lin', code: 'API_ROLE', method: 'GET', path: '/v1/users' },
      ]),
    );
    // What the scheduler keeps for the nodes is what mei has signed.
    const store = new Libsql(join(bed.stateDir, 'scheduler', 'store.db'), { readonly: true });
    const [kept] = store.prepare('SELECT submission FROM submission').all() as { submission: string }[];
    store.close();
    expect(JSON.parse(kept?.submission ?? '{}')).toMatchObject({
      text: expect.stringContaining('secret-words'),
    });
  });

  it('is cut off in the middle of a follow when revoked, and the job goes on', async () => {
    await logIn('ada', 'submitter');
    const submitted = await there('ada', 'run', '--detach', '--', 'sh', '-c', 'echo begun; exec sleep 600');
    const id = submitted.stdout.trim();
    const logs = bed.spawn(['logs', '-f', id], { network: networks.agent, environment: homeOf('ada') });
    await expect.poll(() => logs.stdout(), { timeout: 30_000 }).toBe('begun\n');
    expect((await here('user', 'revoke', 'ada')).code).toBe(0);
    const ended = await logs.finished();
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toMatch(/refused the token/);
    expect(JSON.parse((await here('job', id, '-o', 'json')).stdout)).toMatchObject({
      state: 'RUNNING',
      owner: 'ada',
    });
    expect((await here('cancel', id)).code).toBe(0);
  });
});

describe.each([
  ['without TLS', 'off', 'http'],
  ['with TLS', 'on', 'https'],
])('the port %s', (_, mode, scheme) => {
  let bed: Bed;
  let daemon: Daemon;
  let door: Door;
  let token: string;
  const own = (): string => `${scheme}://${door.host}:${door.port}`;

  beforeAll(async () => {
    bed = createBed();
    daemon = await bed.start(['scheduler', '--tls', mode]);
    door = doorOf(daemon.endpoint);
    token = tokenOf(await bed.run(['user', 'create', 'mei', '--role', 'admin'])).split('.')[0] ?? '';
  }, DEADLINE_MS);
  afterAll(() => bed.close());

  const jobs = async (): Promise<number> =>
    (JSON.parse((await bed.run(['jobs', '-o', 'json'])).stdout) as { jobs: unknown[] }).jobs.length;
  const body = '{"version":1,"command":["true"]}';
  const request = (line: string, headers: readonly string[]): string =>
    [line, ...headers, `Authorization: Bearer ${token}`, 'Connection: close', '', ''].join('\r\n');
  const submission = (...headers: string[]): string =>
    `${request('POST /v1/jobs HTTP/1.1', [...headers, `Content-Length: ${body.length}`])}${body}`;
  const upgrade = (path: string, protocol: string, ...headers: string[]): string =>
    request(`GET ${path} HTTP/1.1`, [
      ...headers,
      `Sec-WebSocket-Protocol: ${protocol}`,
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Upgrade: websocket',
    ]).replace('Connection: close', 'Connection: Upgrade');

  it('takes nothing from pages of other origins, nor under names that are made to point here (A35)', async () => {
    const host = `Host: ${door.host}:${door.port}`;
    const other = scheme === 'http' ? 'https' : 'http';
    const pages = [
      'http://evil.example',
      `${scheme}://evil.example`,
      'null',
      `${own()}.evil.example`,
      'file://',
      '',
    ];
    // A page of ours that came without TLS is none of ours over TLS.
    if (other === 'http') pages.push(`http://${door.host}:${door.port}`);
    const before = await jobs();
    for (const origin of pages) {
      const headers = [host, `Origin: ${origin}`];
      expect([origin, await ask(door, submission(...headers))]).toEqual([origin, 403]);
      expect(await ask(door, upgrade('/v1/jobs/job-a/exec', 'flopd.exec.v1', ...headers))).toBe(403);
      expect(await ask(door, upgrade('/v1/link', 'flopd.v1', ...headers))).toBe(403);
      expect(await ask(door, request('GET /v1/overview HTTP/1.1', headers))).toBe(403);
    }
    for (const name of [
      'evil.example',
      `evil.example:${door.port}`,
      '169.254.169.254',
      'localhost.evil.example',
      '',
    ]) {
      expect([name, await ask(door, submission(`Host: ${name}`))]).toEqual([name, 403]);
      expect(await ask(door, upgrade('/v1/jobs/job-a/exec', 'flopd.exec.v1', `Host: ${name}`))).toBe(403);
    }
    expect(await jobs()).toBe(before);
    expect(await ask(door, submission(host, `Origin: ${own()}`))).toBe(201);
    expect(await jobs()).toBe(before + 1);
  });

  it('knows no cookies', async () => {
    const line = `Cookie: token=${token}; flopd-token=${token}`;
    const asked = request('GET /v1/jobs HTTP/1.1', [`Host: ${door.host}:${door.port}`, line]);
    expect(await ask(door, asked.replace(/Authorization: [^\r]+\r\n/, ''))).toBe(401);
  });
});

describe('tokens of a running scheduler', () => {
  it('are refused when they have run out, have not begun, or were made by hand for a hundred years (A11, A12)', async () => {
    const bed = createBed();
    try {
      const first = await bed.start(['scheduler']);
      const tokens = new Map<string, string>();
      for (const name of ['good', 'over', 'early', 'age'])
        tokens.set(name, tokenOf(await bed.run(['user', 'create', name, '--role', 'viewer'])));
      const absurd = await bed.run(['user', 'create', 'x', '--role', 'viewer', '--expires', '36500d']);
      expect([absurd.code, absurd.stderr]).toEqual([2, expect.stringContaining('366d')]);
      first.kill('SIGTERM');
      await first.finished();
      const store = new Libsql(join(bed.stateDir, 'scheduler', 'store.db'));
      const alter = (
        name: string,
        change: (token: { createdAtMs: number; expiresAtMs: number }) => void,
      ): void => {
        const [row] = store
          .prepare("SELECT value FROM document WHERE kind = 'user' AND id = ?")
          .all(name) as { value: string }[];
        const user = JSON.parse(row?.value ?? '');
        change(user.token);
        store
          .prepare("UPDATE document SET value = ? WHERE kind = 'user' AND id = ?")
          .run(JSON.stringify(user), name);
      };
      alter('over', (token) => (token.expiresAtMs = Date.now() - 1000));
      alter('early', (token) => (token.createdAtMs = Date.now() + 3600_000));
      alter('age', (token) => (token.expiresAtMs = token.createdAtMs + 100 * 366 * 86_400_000));
      store.close();
      const daemon = await bed.start(['scheduler']);
      const file = join(bed.folder, 'token');
      const whoami = async (text: string): Promise<Finished> => {
        writeFileSync(file, text);
        return bed.run(['whoami', '--token-file', file]);
      };
      expect((await whoami(tokens.get('good') ?? '')).code).toBe(0);
      for (const [name, words] of [
        ['over', /ran out at/],
        ['early', /has not come yet/],
        ['age', /longer than any may be/],
      ] as const) {
        const { code, stderr } = await whoami(tokens.get(name) ?? '');
        expect([name, code, stderr]).toEqual([name, 1, expect.stringMatching(words)]);
      }
      const wrong = tokens.get('good')?.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')) ?? '';
      const { code, stderr } = await whoami(wrong);
      expect([code, stderr]).toEqual([1, expect.stringContaining('refused the token')]);
      const said = daemon.stdout() + daemon.stderr();
      for (const text of [...tokens.values(), wrong]) expect(said).not.toContain(text.slice(-43));
    } finally {
      await bed.close();
    }
  });
});
