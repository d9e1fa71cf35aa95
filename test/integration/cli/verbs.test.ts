import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { NodeView } from '../../../src/protocol/api.ts';
import { type FakeApi, type JobScript, startFakeApi } from '../../fakes/api.ts';
import { buildIfStale, createPlace, type Ended, flopd, type Place, program, start } from './command-line.ts';

let api: FakeApi;
let place: Place;

const seven: JobScript = async (job) => {
  job.write('stdout', 'out\n');
  job.write('stderr', 'err\n');
  return { state: 'FAILED', exitCode: 7, cause: 'exited with code 7' };
};

beforeAll(buildIfStale);
afterEach(async () => {
  await api?.close();
  place?.remove();
});

async function begin(script: JobScript = seven): Promise<void> {
  api = await startFakeApi(script);
  place = createPlace(api.url);
}

/** Exactly one line, ours, without a stack trace. */
function expectOneLine(ended: Ended, code: number, ...words: string[]): void {
  expect(ended.stderr).toMatch(/^flopd: [^\n]+\n$/);
  for (const word of words) expect(ended.stderr).toContain(word);
  expect(ended.stderr).not.toContain('    at ');
  expect(ended.code).toBe(code);
}

describe('when the scheduler cannot be asked', () => {
  it('names the URL, the reason and the remedy, and exits with 1, run with 125', async () => {
    await begin();
    await api.close();
    for (const args of [['jobs'], ['job', 'x'], ['nodes'], ['logs', 'x'], ['cancel', 'x'], ['wait', 'x']]) {
      expectOneLine(await flopd(place, args), 1, api.url, 'ECONNREFUSED', 'flopd up');
    }
    expectOneLine(await flopd(place, ['run', 'true']), 125, api.url, 'ECONNREFUSED', 'flopd up');
  });

  it('says what to start when none is named', async () => {
    place = createPlace(null);
    expectOneLine(
      await flopd(place, ['jobs'], { FLOPD_STATE_DIR: join(place.folder, 'empty') }),
      1,
      'flopd up',
      '--scheduler',
    );
  });

  it('tells a refused token, and a missing or empty token file, by its path', async () => {
    await begin();
    const file = join(place.folder, 'token');
    writeFileSync(file, 'wrong\n');
    expectOneLine(await flopd(place, ['jobs', '--token-file', file]), 1, file, '401', '--token-file');
    writeFileSync(file, '\n');
    expectOneLine(await flopd(place, ['jobs', '--token-file', file]), 1, file, 'holds no token');
    writeFileSync(file, 'a\r\nX-Evil: 1\n');
    expectOneLine(await flopd(place, ['jobs', '--token-file', file]), 1, file, 'holds no token');
    expectOneLine(await flopd(place, ['jobs', '--token-file', '/nope']), 1, '/nope', 'does not exist');
  });

  it('never sends the local token to another host that is merely named', async () => {
    place = createPlace(null);
    expectOneLine(
      await flopd(place, ['jobs', '--scheduler', 'http://192.0.2.1:7070']),
      1,
      'no token is named',
      '--token-file',
    );
  });

  it('knows a server that is not a scheduler', async () => {
    const server = createServer((_, response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    place = createPlace(url);
    expectOneLine(await flopd(place, ['jobs']), 1, url, 'does not answer like a flopd scheduler');
    server.close();
  });

  it('passes on what the scheduler refuses', async () => {
    await begin();
    expectOneLine(await flopd(place, ['job', 'job-none']), 1, 'no job job-none');
    api.failWith = { status: 500, body: 'oops' };
    expectOneLine(await flopd(place, ['jobs']), 1, 'HTTP 500');
  });
});

describe('finding the scheduler', () => {
  it('takes the endpoint and the token that "flopd up" left in the state directory', async () => {
    await begin();
    writeFileSync(
      join(place.stateDir, 'endpoint.json'),
      JSON.stringify({ url: api.url, metricsUrl: null, pid: 1, stateDir: place.stateDir }),
    );
    const { FLOPD_SCHEDULER: _, ...environment } = place.environment;
    const ended = await flopd({ ...place, environment }, ['run', '--', 'x']);
    expect(ended).toMatchObject({ code: 7, stderr: 'err\n' });
  });

  it('takes common flags before the command too', async () => {
    await begin();
    expect(
      (await flopd(place, ['--scheduler', api.url, 'jobs'], { FLOPD_SCHEDULER: 'http://127.0.0.1:1' })).code,
    ).toBe(0);
  });
});

describe('the verbs', () => {
  it('list and show jobs as tables, JSON and YAML', async () => {
    await begin();
    await flopd(place, ['run', '--name', 'a', 'x']);
    await flopd(place, ['run', 'y']);
    const table = (await flopd(place, ['jobs'])).stdout.toString().split('\n');
    expect(table[0]).toMatch(/^ID +STATE +NAME +NODE +TIME +REASON$/);
    expect(table[1]).toMatch(/^job-fake1 +FAILED +- +fake +1\.50s +exited with code 7$/);
    const json = JSON.parse((await flopd(place, ['jobs', '-o', 'json'])).stdout.toString());
    expect(json.jobs.map((job: { id: string }) => job.id)).toEqual(['job-fake1', 'job-fake0']);
    const one = JSON.parse((await flopd(place, ['job', 'job-fake0', '-o', 'json'])).stdout.toString());
    expect(one).toEqual(json.jobs[1]);
    expect((await flopd(place, ['job', 'job-fake0'])).stdout.toString()).toMatch(
      /^FAILED +exited with code 7\n/,
    );
    expect((await flopd(place, ['jobs', '-o', 'yaml'])).stdout.toString()).toMatch(
      /^jobs:\n {2}- id: job-fake1\n/,
    );
    expect((await flopd(place, ['jobs', '--state', 'pending'])).stdout.toString()).toBe('no jobs\n');
    expect((await flopd(place, ['jobs', '--limit', '1', '-o', 'json'])).stdout.toString()).not.toContain(
      'job-fake0',
    );
  });

  it('print logs per stream, in parts, and followed to the end', async () => {
    await begin();
    await flopd(place, ['run', 'x']);
    const both = await flopd(place, ['logs', 'job-fake0']);
    expect([both.stdout.toString(), both.stderr, both.code]).toEqual(['out\n', 'err\n', 0]);
    expect((await flopd(place, ['logs', '--stderr', 'job-fake0'])).stdout.toString()).toBe('');
    expect((await flopd(place, ['logs', '--tail', '2B', '--stdout', 'job-fake0'])).stdout.toString()).toBe(
      't\n',
    );
    const followed = await flopd(place, ['logs', '-f', 'job-fake0']);
    expect([followed.stdout.toString(), followed.stderr, followed.code]).toEqual(['out\n', 'err\n', 0]);
  });

  it('wait exits with the code of the job, of several with the highest', async () => {
    await begin(async (job) => ({ state: 'FAILED', exitCode: job.id === 'job-fake0' ? 3 : 6 }));
    const first = (await flopd(place, ['run', '-d', 'x'])).stdout.toString().trim();
    const second = (await flopd(place, ['run', '-d', 'x'])).stdout.toString().trim();
    expect((await flopd(place, ['wait', first])).code).toBe(3);
    expect((await flopd(place, ['wait', '-q', first, second])).code).toBe(6);
  });

  it('cancel asks once, and says when a job has already ended', async () => {
    await begin(async (job) => {
      await job.cancelled;
      return { state: 'CANCELLED' };
    });
    const id = (await flopd(place, ['run', '-d', 'x'])).stdout.toString().trim();
    expect((await flopd(place, ['cancel', id])).code).toBe(0);
    await flopd(place, ['wait', id]);
    expectOneLine(await flopd(place, ['cancel', id]), 1, 'has already ended: CANCELLED');
  });

  it('nodes shows absent numbers as absent, and every number as JSON', async () => {
    await begin();
    const node: NodeView = {
      id: 'node-a',
      name: 'a\u001b[31m',
      state: 'unreachable',
      reason: 'no link since …',
      takesJobs: false,
      cordon: null,
      cloned: null,
      place: { jurisdiction: null, hub: null, cluster: null, city: null },
      labels: {},
      agentVersion: null,
      bootId: null,
      enrolledAt: '2026-01-01T00:00:00.000Z',
      connectedAt: null,
      lastSeenAt: null,
      inventory: null,
      resources: null,
      jobs: [],
      host: null,
      hostAgeSeconds: null,
      devices: [],
    };
    api.nodes = [node];
    const table = (await flopd(place, ['nodes'])).stdout.toString();
    expect(table).toContain('a\\x1b[31m');
    expect(table.split('\n')[1]).toMatch(/unreachable +- +- +- +- +0 +- +no link since …$/);
    expect(JSON.parse((await flopd(place, ['nodes', '-o', 'json'])).stdout.toString())).toMatchObject({
      nodes: [node],
      fleet: { all: { devices: 0 }, models: [] },
    });
    expect(JSON.parse((await flopd(place, ['node', 'node-a', '-o', 'json'])).stdout.toString())).toEqual(
      node,
    );
  });

  it('--watch prints one JSON document a line', async () => {
    await begin();
    const running = start(place, ['jobs', '-o', 'json', '-w', '100ms']);
    let text = '';
    await new Promise<void>((resolve) =>
      running.child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.split('\n').length > 3) resolve();
      }),
    );
    running.child.kill('SIGTERM');
    await running.ended;
    for (const line of text.trim().split('\n')) expect(JSON.parse(line)).toEqual({ jobs: [] });
  });

  it('a reader that has gone away ends a list quietly', async () => {
    await begin();
    const shell = `"${process.execPath}" "${program}" jobs -o json -w 100ms | head -n 2; echo "\${PIPESTATUS[0]}"`;
    const bash = spawn('bash', ['-c', shell], { env: place.environment });
    let text = '';
    for (const stream of [bash.stdout, bash.stderr])
      stream.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
    await new Promise((resolve) => bash.on('close', resolve));
    expect(text).toBe('{"jobs":[]}\n{"jobs":[]}\n141\n');
  });
});

describe('this host', () => {
  it('doctor gives a status and, for each finding, a remedy', async () => {
    place = createPlace(null);
    const ended = await flopd(place, [
      'doctor',
      '-o',
      'json',
      '--listen',
      '127.0.0.1:0',
      '--metrics-listen',
      '127.0.0.1:0',
    ]);
    const { checks } = JSON.parse(ended.stdout.toString());
    expect(checks.length).toBeGreaterThan(10);
    for (const { status, remedy } of checks)
      if (status === 'warning' || status === 'failure') expect(remedy).toBeTruthy();
    const worst = checks.some((check: { status: string }) => check.status === 'failure')
      ? 2
      : checks.some((check: { status: string }) => check.status === 'warning')
        ? 1
        : 0;
    expect(ended.code).toBe(worst);
  });

  it('doctor fails for a state directory that cannot be made, and warns of an open token', async () => {
    await begin();
    writeFileSync(join(place.folder, 'file'), '');
    const broken = await flopd(place, ['doctor', '--state-dir', join(place.folder, 'file', 'x')]);
    expect(broken.code).toBe(2);
    const file = join(place.folder, 'open-token');
    writeFileSync(file, 'x', { mode: 0o644 });
    expect((await flopd(place, ['doctor', '--token-file', file])).stdout.toString()).toContain(
      `chmod 600 ${file}`,
    );
  });

  it('top --once prints one frame without escape sequences', async () => {
    place = createPlace(null);
    const ended = await flopd(place, ['top', '--once']);
    expect(ended.code).toBe(0);
    expect(ended.stdout.toString()).toMatch(/CPU +\[/);
    expect(ended.stdout.toString()).not.toContain('\u001b');
  });
});

describe('configuration', () => {
  it('a broken file is one line with its place, exit code 2, for every command', async () => {
    place = createPlace(null);
    const file = join(place.folder, 'bad.yaml');
    writeFileSync(file, 'listen: 127.0.0.1:1\nlisen: x\n');
    for (const args of [
      ['jobs'],
      ['run', 'x'],
      ['up'],
      ['agent'],
      ['scheduler'],
      ['doctor'],
      ['config', 'validate'],
      ['config', 'print'],
    ]) {
      expectOneLine(
        await flopd(place, [
          ...args.slice(0, 1),
          ...args.slice(1, 2).filter((word) => word !== 'x'),
          '--config',
          file,
          ...args.filter((word) => word === 'x'),
        ]),
        2,
        'lisen',
        `${file}:2:1`,
        'listen',
      );
    }
    expectOneLine(await flopd(place, ['config', 'validate', file]), 2, 'lisen');
    expectOneLine(await flopd(place, ['up', '--listen', 'nonsense']), 2, 'listen', '--listen', 'HOST:PORT');
  });

  it('init writes a private example that validates, and does not overwrite it', async () => {
    place = createPlace(null);
    const file = join(place.folder, '.config', 'flopd', 'flopd.yaml');
    expect((await flopd(place, ['config', 'init'])).stdout.toString()).toBe(`wrote ${file}\n`);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect((await flopd(place, ['config', 'validate'])).stdout.toString()).toBe(`valid: ${file}\n`);
    expectOneLine(await flopd(place, ['config', 'init']), 1, 'is not overwritten');
    // Without its comment signs every example is a value that is accepted.
    writeFileSync(
      file,
      readFileSync(file, 'utf8')
        .replace(/^#(?! )/gm, '')
        .replace(/^#( {2}\w+:)/gm, '$1'),
    );
    expect((await flopd(place, ['config', 'validate'])).stderr).toBe('');
    expect((await flopd(place, ['config', 'path'])).stdout.toString().split('\n')[0]).toBe(
      `${file} (active)`,
    );
    const printed = JSON.parse(
      (await flopd(place, ['config', 'print', '-o', 'json', '--listen', '127.0.0.1:5'])).stdout.toString(),
    );
    expect(printed.sources.listen).toEqual({ kind: 'flag', place: '--listen' });
    expect(printed.values.listen).toEqual({ host: '127.0.0.1', port: 5 });
  });
});

describe('the program itself', () => {
  it('is executable through a symbolic link and tells its version', () => {
    place = createPlace(null);
    mkdirSync(join(place.folder, 'bin'));
    symlinkSync(program, join(place.folder, 'bin', 'flopd'));
    const { stdout, status } = spawnSync(join(place.folder, 'bin', 'flopd'), ['--version'], {
      env: place.environment,
      encoding: 'utf8',
    });
    expect([stdout, status]).toEqual(['0.1.0\n', 0]);
  });

  it.each([
    [['jbos'], 'did you mean "jobs"'],
    [['jobs', '--sate', 'x'], '--state'],
    [['jobs', '-o', 'xml'], 'json'],
    [['jobs', '--state', 'sleeping'], 'PENDING'],
    [['job'], 'id'],
    [['jobs', 'extra'], 'jobs'],
  ])('refuses %j with exit code 2 and help', async (args, words) => {
    place = createPlace(null);
    expectOneLine(await flopd(place, args), 2, words);
  });

  it('prints help on standard output for --help, and on standard error with exit code 2 for nothing', async () => {
    place = createPlace(null);
    const help = await flopd(place, ['--help']);
    const none = await flopd(place, []);
    expect([help.code, none.code]).toEqual([0, 2]);
    expect(help.stdout.toString()).toContain('doctor');
    expect(none.stderr).toContain('doctor');
    expect((await flopd(place, ['help', 'run'])).stdout.toString()).toContain('--time-limit');
  });

  it('schema lists the published schemas and prints one; an unknown name is wrong usage', async () => {
    place = createPlace(null);
    const names = (await flopd(place, ['schema'])).stdout.toString().trim().split('\n');
    expect(names).toEqual(
      expect.arrayContaining(['job-spec', 'job-result', 'agent.hello', 'scheduler.start']),
    );
    const schema = JSON.parse((await flopd(place, ['schema', 'job-spec'])).stdout.toString());
    expect(schema).toMatchObject({ $id: 'urn:flopd:v1:job-spec', additionalProperties: false });
    const unknown = await flopd(place, ['schema', 'toString']);
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('flopd schema');
  });

  it('offers completion that the shell accepts', async () => {
    place = createPlace(null);
    const script = (await flopd(place, ['completion', 'bash'])).stdout.toString();
    const check = spawnSync(
      'bash',
      ['-c', `${script}\nCOMP_WORDS=(flopd do) COMP_CWORD=1; _flopd; echo "\${COMPREPLY[@]}"`],
      { encoding: 'utf8' },
    );
    expect(check.stdout.trim()).toBe('doctor');
    expect(existsSync(program)).toBe(true);
  });
});
