// Files of jobs with the built program: in, out, and over daemons that are killed in the middle.
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Bed, createBed, type Daemon, until } from './bed.ts';

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

const at = (...steps: string[]): string => join(bed.folder, ...steps);

/** Size of an upload or download that is under way below a folder, in bytes; null before it has begun. */
function partBytes(folder: string): number | null {
  if (!existsSync(folder)) return null;
  for (const name of readdirSync(folder))
    if (name.endsWith('.part')) return statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? null;
  return null;
}

async function killed(daemon: Daemon): Promise<void> {
  daemon.kill('SIGKILL');
  await daemon.finished();
}

describe('one machine', () => {
  test('brings a folder to a job and its outputs back', async () => {
    mkdirSync(at('data', 'inner'), { recursive: true });
    writeFileSync(at('data', 'a'), 'alpha\n');
    writeFileSync(at('data', 'run.sh'), '#!/bin/sh\necho "ran $1"\n');
    chmodSync(at('data', 'run.sh'), 0o755);
    symlinkSync('../a', at('data', 'inner', 'up'));
    await bed.start(['up']);
    const script =
      './data/run.sh x; cat data/inner/up etc/b; mkdir -p out/deep; cp data/run.sh out/deep; echo 1 > one; ln -s /etc/passwd out/bad';
    const run = await bed.run([
      ...[
        'run',
        '--input',
        'data',
        '--input',
        'data/a:etc/b',
        '--output',
        'out',
        '--output',
        'one:two/',
        '-v',
      ],
      ...['--', 'sh', '-c', script],
    ]);
    expect(run.stdout).toBe('ran x\nalpha\nalpha\n');
    // `two/` is a folder to put it into.
    expect(readFileSync(at('two', 'one'), 'utf8')).toBe('1\n');
    expect(readdirSync(at('out'))).toEqual(['deep']);
    expect(statSync(at('out', 'deep', 'run.sh')).mode & 0o111).toBe(0o111);
    expect(run.stderr).toContain('a link out of it left out: bad');
    expect(run.code).toBe(0);
    const id = /job (job-\w+) submitted/.exec(run.stderr)?.[1] ?? '';

    const fetched = await bed.run(['fetch', id, 'out/', '--to', 'later']);
    expect([fetched.code, readdirSync(at('later', 'out', 'deep'))]).toEqual([0, ['run.sh']]);
    const all = await bed.run(['fetch', id, '--to', 'all']);
    expect([all.code, readdirSync(at('all')).sort()]).toEqual([0, ['one', 'out']]);
    const again = await bed.run(['fetch', id, 'out', '--to', 'later']);
    expect([again.code, again.stderr]).toEqual([
      1,
      expect.stringContaining('is a folder with something in it'),
    ]);
    const shown = await bed.run(['job', id]);
    expect(shown.stdout).toMatch(/output one +file, 2 B, SHA-256 [0-9a-f]{64}/);

    const missing = await bed.run(['run', '--output', 'nope', '--', 'true']);
    expect([missing.code, missing.stderr]).toEqual([
      125,
      'flopd: output "nope" was not kept: no such file or folder\n',
    ]);
    const wrong = await bed.run(['run', '--input', 'data/none', '--', 'true']);
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('"data/none" does not exist')]);
    symlinkSync('/etc/passwd', at('data', 'bad'));
    const stray = await bed.run(['run', '--input', 'data', '--', 'true']);
    expect([stray.code, stray.stderr]).toEqual([
      2,
      expect.stringContaining('"bad" is a link that leads out'),
    ]);
    expect(readdirSync(bed.folder).filter((name) => name.startsWith('.flopd'))).toEqual([]);
  });
});

describe('daemons that are killed', () => {
  test('bring what is missing when they are back: scheduler while inputs come, agent while it fetches them', async () => {
    const contents = randomBytes(128 * 1024 * 1024);
    writeFileSync(at('big'), contents);
    const first = await bed.start(['scheduler']);
    const listen = new URL(first.endpoint.url).host;
    const joined = [
      'join',
      first.endpoint.url,
      '--token-file',
      join(bed.stateDir, 'scheduler', 'join-token'),
    ];
    expect((await bed.run(joined)).code).toBe(0);
    const run = bed.spawn(['run', '--input', 'big', '--output', 'big:back', '--', 'sha256sum', 'big']);
    const stored = join(bed.stateDir, 'scheduler', 'files');
    await until('a part of the input at the scheduler', () => (partBytes(stored) ?? 0) > 0);
    await killed(first);
    await bed.start(['scheduler', '--listen', listen]);

    const agent = await bed.start(['agent']);
    const cache = join(bed.stateDir, 'agent', 'files');
    await until('a part of the input at the node', () => (partBytes(cache) ?? 0) > 0, 60_000);
    await killed(agent);
    await bed.start(['agent']);
    const ended = await run.finished(120_000);
    expect(ended.stderr).toContain('connected again');
    expect(ended.stdout).toMatch(/^[0-9a-f]{64} {2}big\n$/);
    expect(ended.code).toBe(0);
    expect(readFileSync(at('back')).equals(contents)).toBe(true);
  });
});
