// Attacks A23 to A25 over real processes: names and words that would like to be something else where they are shown,
// counted or carried on.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { agentUrl, type Bed, createBed, type Daemon } from './bed.ts';
import { parsePage } from './exposition.ts';

const NAMES = 500;
const AT_ONCE = 16;
const JOBS = 12;

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

const token = (): string => readFileSync(join(bed.stateDir, 'scheduler', 'token'), 'utf8').trim();

async function ask(
  daemon: Daemon,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${daemon.endpoint.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token()}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
}

const page = async (daemon: Daemon): Promise<string> =>
  (await fetch(`${daemon.endpoint.url}/metrics`, { headers: { authorization: `Bearer ${token()}` } })).text();

/** A page that a scraper takes: every line a comment, or a series with a number. */
function expectPage(text: string): void {
  for (const line of text.trimEnd().split('\n'))
    if (line !== '' && !line.startsWith('#'))
      expect(line).toMatch(
        /^[a-zA-Z_:][\w:]*(\{(\w+="([^"\\\n]|\\[\\"n])*",?)*\})? (NaN|[+-]?(Inf|[\d.]+(e[+-]?\d+)?))( \d+)?$/,
      );
}

test('names with newlines, quotes, braces, ANSI and marks of direction are refused, or are shown as they are and as nothing else (A23)', async () => {
  const scheduler = await bed.start(['scheduler'], { environment: { FLOPD_LOG_LEVEL: 'debug' } });
  const evil = ['a\n{"level":50,"forged":true}', '\u001b[2Jx', 'x\u202ey', 'a\u2028b', 'x\0y', '\ud800'];
  for (const name of evil) {
    expect((await ask(scheduler, 'POST', '/v1/jobs', { version: 1, command: ['true'], name })).status).toBe(
      400,
    );
    expect((await ask(scheduler, 'POST', '/v1/users', { name, role: 'viewer' })).status).toBe(400);
    expect((await ask(scheduler, 'POST', '/v1/join-tokens', { labels: { rack: name } })).status).toBe(400);
  }
  const odd = `"} 1 #{x='y'} \\" <script>alert(1)</script> \${IFS} %s`;
  const { status, body } = await ask(scheduler, 'POST', '/v1/jobs', {
    version: 1,
    command: ['true'],
    name: odd,
  });
  expect(status).toBe(201);
  const { id } = body as { id: string };
  expect((await ask(scheduler, 'GET', `/v1/jobs/${id}`)).body).toMatchObject({ name: odd });
  // Words for people may have more lines; each place shows them as one.
  const reason = `gone\n{"level":50,"forged":true}\u001b[31m`;
  await ask(scheduler, 'POST', `/v1/jobs/${id}/cancel`, { reason });
  for (const verb of [['jobs'], ['job', id], ['audit', 'list']]) {
    const { code, stdout, stderr } = await bed.run(verb);
    expect(code, stderr).toBe(0);
    expect(stdout).not.toContain('\u001b');
    expect(stdout).not.toMatch(/^\{"level":50/m);
  }
  expectPage(await page(scheduler));
  const table = await bed.run(['jobs']);
  expect(table.stdout).toContain('<script>alert(1)</script>');
  scheduler.kill('SIGTERM');
  const { stdout } = await scheduler.finished();
  const lines = stdout.trimEnd().split('\n');
  expect(lines.length).toBeGreaterThan(2);
  for (const line of lines) expect(JSON.parse(line)).not.toHaveProperty('forged');
});

test(`${NAMES} different names, labels and users make no new series (A24)`, async () => {
  const scheduler = await bed.start(['scheduler']);
  const submit = async (n: number): Promise<void> => {
    const spec = {
      version: 1,
      command: ['true'],
      name: `name ${n}`,
      environment: { [`LABEL_${n}`]: `${n}` },
    };
    expect((await ask(scheduler, 'POST', '/v1/jobs', spec)).status).toBe(201);
    if (n % 50 === 0) {
      await ask(scheduler, 'POST', '/v1/users', { name: `user-${n}`, role: 'viewer' });
      await ask(scheduler, 'POST', '/v1/join-tokens', { labels: { [`label-${n}`]: `v${n}` } });
      await ask(scheduler, 'GET', `/v1/nothing-${n}`);
    }
  };
  await submit(0);
  await ask(scheduler, 'GET', '/v1/nothing');
  await page(scheduler);
  const before = new Set(parsePage(await page(scheduler)).keys());
  let next = 1;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < NAMES) await submit(next++);
    }),
  );
  const after = parsePage(await page(scheduler));
  expect([...after.keys()].filter((name) => !before.has(name))).toEqual([]);
  expect([...after.keys()].join('\n')).not.toMatch(/name 7|LABEL_7|user-50|job-/);
});

test('the page of a node does not grow with the jobs that it has run (A24)', async () => {
  const up = await bed.start(['up', '--simulate', '2xH100']);
  const series = async (): Promise<string[]> => [
    ...parsePage(await (await fetch(agentUrl(up, 'metrics'))).text()).keys(),
  ];
  const run = (n: number) =>
    bed.run(['run', '--name', `job number ${n}`, '--env', `L${n}=${n}`, '--', 'true']);
  expect((await run(0)).code).toBe(0);
  const before = new Set(await series());
  await Promise.all(Array.from({ length: JOBS }, (_, n) => run(n + 1)));
  const fresh = (await series()).filter((name) => !before.has(name));
  // What is first known meanwhile may come; a series for each job would be as many at least.
  expect(fresh.length, fresh.join('\n')).toBeLessThan(JOBS);
  expect(fresh.join('\n')).not.toMatch(/job number|job-/);
  expectPage(await (await fetch(agentUrl(up, 'metrics'))).text());
});

test('words with dashes, substitutions, wildcards and semicolons reach the program as they are, and nothing else (A25)', async () => {
  await bed.start(['up']);
  const trap = bed.shared('trap');
  const marked = `${trap}.sprung`;
  const words = [
    '-n',
    '--help',
    `$(touch ${marked})`,
    `\`touch ${marked}\``,
    `; touch ${marked}`,
    '*',
    '~',
    '$HOME',
    `| touch ${marked}`,
    '&',
    '%s',
    '',
    ' ',
    '\\',
    '"',
    "'",
  ];
  const { code, stdout, stderr } = await bed.run([
    'run',
    '--name',
    `-x; touch ${marked} $(id)`,
    '--env',
    `A=$(touch ${marked})`,
    '--env',
    'B=-rf *',
    '--',
    'sh',
    '-c',
    'printf "[%s]\\n" "$@" "$A" "$B"',
    'sh',
    ...words,
  ]);
  expect(code, stderr).toBe(0);
  expect(stdout).toBe([...words, `$(touch ${marked})`, '-rf *'].map((word) => `[${word}]\n`).join(''));
  // A program is a file, not a line for a shell.
  for (const program of [`touch ${marked}`, `$(touch ${marked})`, '-c', '--version']) {
    const failed = await bed.run(['run', '--', program]);
    expect([126, 127]).toContain(failed.code);
  }
  for (const flags of [
    ['--image', '--privileged'],
    ['--image', '-v/:/host'],
    ['--image', '$(id)'],
  ])
    expect((await bed.run(['run', ...flags, '--', 'true'])).code, flags.join(' ')).not.toBe(0);
  for (const verb of [
    ['job', '--', '-rf'],
    ['logs', '--', '$(id)'],
    ['cancel', '--', '../../x'],
    ['node', '--', '*'],
  ])
    expect((await bed.run(verb)).code).toBe(1);
  expect(existsSync(marked)).toBe(false);
});
