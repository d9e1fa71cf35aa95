// Attack A31 (and invariant I13) over real processes: after a busy session the secrets themselves are looked for in
// everything that daemons, verbs and jobs wrote, showed and were started with. Each stands in its own file alone.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Bed, createBed, type Daemon, processesOf, processesOfJob, type Running, until } from './bed.ts';
import { submit, untilState } from './job-view.ts';

const debug = { FLOPD_LOG_LEVEL: 'debug' };

let bed: Bed;
let scheduler: Daemon;
let agent: Daemon;
let nodeState = '';
const running: Running[] = [];
/** Text that somebody could see, by where it was seen. */
const seen = new Map<string, string>();
/** Secrets, by what they are. */
const secrets = new Map<string, string>();

const schedulerFile = (name: string): string => join(bed.stateDir, 'scheduler', name);
const token = (): string => readFileSync(schedulerFile('token'), 'utf8').trim();

async function ask(method: string, path: string, body?: string, given = token()): Promise<string> {
  const response = await fetch(`${scheduler.endpoint.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${given}` },
    ...(body === undefined ? {} : { body }),
  });
  return response.text();
}

/** `flopd-user-<id>-<secret>`, of a join token with a pin behind it. */
const secretOf = (text: string): string => /^flopd-[a-z]+-[^-]+-([^.]+)/.exec(text)?.[1] ?? '';

/** Of a private key in PEM, what makes it one. */
const bodyOf = (path: string): string => (readFileSync(path, 'utf8').split('\n')[1] ?? '').slice(16);

async function verb(...args: string[]): Promise<void> {
  const { stdout, stderr } = await bed.run(args, { environment: debug });
  seen.set(`flopd ${args.join(' ')}`, `${stdout}\n${stderr}`);
}

/** Looks at everything that its job can: its own and others' processes, and the files of the daemons. */
const curious = (folder: string): string =>
  [
    'env; set',
    'cat /proc/self/environ /proc/1/environ /proc/*/environ /proc/*/cmdline 2>&1',
    `find ${folder} /var/lib/flopd -type f 2>&1 | head -500`,
    `cat ${folder}/*/scheduler/token ${folder}/*/scheduler/*.pem ${folder}/*/agent/*.pem 2>&1`,
    'find / -xdev -name token -o -xdev -name "*.pem" -path "*flopd*" 2>/dev/null | xargs cat 2>&1',
    'ls -la /proc/self/fd; cat /proc/mounts',
  ].join('\n');

beforeAll(async () => {
  bed = createBed();
  nodeState = join(bed.folder, 'node');
  scheduler = await bed.start(['scheduler'], { environment: debug });
  const environment = { ...debug, FLOPD_STATE_DIR: nodeState };
  const joined = await bed.run(
    ['join', scheduler.endpoint.url, '--token-file', schedulerFile('join-token')],
    { environment },
  );
  expect(joined.code, joined.stderr).toBe(0);
  seen.set('join', joined.stdout + joined.stderr);
  agent = await bed.start(['agent'], { environment });
  running.push(scheduler, agent);
});
afterAll(() => bed.close());

test('secrets stand in their own files and nowhere else: not in logs, output, argv, environments, answers, pages or stores', {
  timeout: 180_000,
}, async () => {
  await until('the node', async () => (await ask('GET', '/v1/nodes')).includes('"ready"'));
  const user = JSON.parse(await ask('POST', '/v1/users', '{"name":"ann","role":"submitter"}')) as {
    token: string;
  };
  const joinToken = JSON.parse(await ask('POST', '/v1/join-tokens', '{}')) as { token: string };
  for (const name of ['token', 'join-token'])
    secrets.set(`scheduler/${name}`, readFileSync(schedulerFile(name), 'utf8').trim());
  for (const folder of [join(bed.stateDir, 'scheduler'), join(nodeState, 'agent')])
    for (const name of readdirSync(folder).filter((one) => one.endsWith('.pem')))
      if (readFileSync(join(folder, name), 'utf8').includes('PRIVATE KEY'))
        secrets.set(`${relative(bed.folder, folder)}/${name}`, bodyOf(join(folder, name)));
  secrets.set('token of ann', secretOf(user.token));
  secrets.set('a join token', secretOf(joinToken.token));
  expect(secrets.size).toBeGreaterThanOrEqual(7);
  for (const [name, secret] of secrets) expect(secret.length, name).toBeGreaterThan(20);

  const id = await submit(bed, '--name', 'curious', '--', 'sh', '-c', `${curious(bed.folder)}\nsleep 300`);
  await untilState(bed, id, 'RUNNING');
  await verb('exec', id, '--', 'sh', '-c', curious(bed.folder));
  await until('its output', async () => (await ask('GET', `/v1/jobs/${id}/output`)).includes('FLOPD_JOB_ID'));

  // Processes as anybody on the host sees them.
  const pids = [process.pid, ...processesOf(bed.folder), ...processesOfJob(id)].filter(
    (pid) => pid !== process.pid,
  );
  expect(pids.length).toBeGreaterThan(2);
  for (const pid of pids)
    for (const file of ['cmdline', 'environ'])
      seen.set(`/proc/${pid}/${file}`, existsSync(`/proc/${pid}`) ? readQuietly(`/proc/${pid}/${file}`) : '');

  // Wrong words with right secrets in them, and right words from those who may not.
  const wrong = JSON.stringify({
    version: 1,
    command: ['true'],
    [user.token]: joinToken.token,
    token: token(),
  });
  const paths = [
    '/v1/jobs',
    '/v1/users',
    '/v1/join-tokens',
    '/v1/nodes',
    '/v1/overview',
    '/v1/me',
    '/metrics',
    '/',
    '/v1/authorities',
  ];
  for (const path of [
    ...paths,
    `/v1/jobs/${id}`,
    `/v1/jobs/${id}/output`,
    '/dashboard.js',
    '/app.js',
    '/nothing',
  ])
    for (const given of [token(), user.token, 'wrong'])
      seen.set(`GET ${path} ${given.slice(0, 11)}`, await ask('GET', path, undefined, given));
  // What it does not know, a scheduler may name; it is the caller's own.
  seen.set('POST a wrong value', await ask('POST', '/v1/jobs', wrong.replace(user.token, 'nothing')));
  seen.set(
    'POST enrol',
    await ask(
      'POST',
      '/v1/enrol',
      JSON.stringify({ version: 1, token: joinToken.token, publicKey: 'x', name: 'y' }),
    ),
  );
  seen.set(
    'POST with a join token',
    await ask('POST', '/v1/jobs', wrong.replace(user.token, 'nothing'), joinToken.token),
  );
  seen.set('agent metrics', await (await fetch(agent.endpoint.metricsUrl ?? '')).text());

  await verb('jobs', '-o', 'json');
  await verb('job', id, '-o', 'json');
  await verb('logs', id);
  await verb('nodes', '-o', 'json');
  await verb('doctor');
  await verb('config', 'print', '-o', 'json');
  await verb('audit', 'list', '-o', 'json');
  await verb('jobs', '--token-file', '/dev/null');
  await verb('cancel', id);
  await untilState(bed, id, 'CANCELLED');
  for (const one of running) {
    one.kill('SIGTERM');
    const { stdout, stderr } = await one.finished();
    seen.set(`log of ${one.pid}`, `${stdout}\n${stderr}`);
    expect(stdout.length + stderr.length).toBeGreaterThan(100);
  }
  // Stores, output, audit logs, and all else that is kept.
  for (const folder of [bed.stateDir, nodeState])
    for (const path of filesBelow(folder)) seen.set(path, readQuietly(path));

  const own = new Map([...secrets.keys()].map((name) => [name, `/${name}`]));
  const found: string[] = [];
  for (const [where, text] of seen)
    for (const [name, secret] of secrets)
      if (text.includes(secret) && !where.endsWith(own.get(name) ?? '-')) found.push(`${name} in ${where}`);
  expect(found).toEqual([]);
  // The look itself finds what is there.
  expect(
    [...secrets].filter(([, secret]) => [...seen.values()].some((text) => text.includes(secret))).length,
  ).toBeGreaterThan(4);
});

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((path) => join(folder, path))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
}
