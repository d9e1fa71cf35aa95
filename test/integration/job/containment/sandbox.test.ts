// The sandbox of this host as the agent finds it, around real jobs: granted device nodes, and a look that changes nothing.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { type HostFacts, type JobRules, probeHost } from '../../../../src/job/containment/host.ts';
import { createWalls } from '../../../../src/job/containment/walls.ts';
import type { Executor } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { loadNative } from '../../../../src/native.ts';
import type { JobSpecInput } from '../../../../src/protocol/spec.ts';
import { startOrder } from '../../../unit/job/samples.ts';
import { addonPath, freshFolder, record, requestIn, shimPath } from '../executor/harness.ts';

const rules: JobRules = {
  sandbox: 'auto',
  seccomp: 'auto',
  limits: 'auto',
  user: 'auto',
  userRange: { from: 2_000_100_000, to: 2_000_100_999 },
  processes: 64,
  readPaths: [],
  writePaths: [],
  outputQuotaBytes: 1_000_000,
};
const clock = createClock();

function probe(
  stateDir: string,
  change: Partial<JobRules> = {},
  PATH = process.env.PATH,
): Promise<HostFacts> {
  return probeHost({
    rules: { ...rules, ...change },
    procRoot: '/proc',
    sysRoot: '/sys',
    stateDir,
    secrets: [],
    build: join(shimPath, '..'),
    environment: { PATH },
    clock,
    look: true,
  });
}

const works = !('problem' in (await probe(join(shimPath, '..', '..'))).sandbox);
const isRoot = process.getuid?.() === 0;

let executor: Executor | null = null;
afterEach(() => executor?.close());

/** Runs a job behind the walls of this host; gives its output. */
async function run(
  stateDir: string,
  spec: Omit<JobSpecInput, 'version'>,
  nodes: readonly string[] = [],
  change: Partial<JobRules> = {},
): Promise<string> {
  const jobsFolder = join(stateDir, 'agent', 'jobs');
  mkdirSync(jobsFolder, { recursive: true });
  const facts = await probe(stateDir, change);
  const walls = createWalls({ ...rules, ...change }, facts, jobsFolder);
  const user = walls.chooseUser(new Set());
  if ('code' in user) throw new Error(user.message);
  executor = createProcessExecutor({
    shimPath,
    native: loadNative(addonPath).native,
    clock,
    log: createSilentLog(),
  });
  const request = requestIn(jobsFolder, spec);
  const order = startOrder(request.jobId, 1, spec);
  const granted = { environment: {}, deviceNodes: nodes };
  const containment = walls.contain(order, request.folder, granted, user.userId);
  const recorded = record();
  executor.start({ ...request, containment }, recorded.events);
  const end = await recorded.ended;
  expect(end, end.detail ?? '').toMatchObject({ kind: 'exited', exitCode: 0 });
  return readFileSync(join(request.folder, 'stdout'), 'utf8');
}

describe.skipIf(!works)('a job of this host', () => {
  test.skipIf(!isRoot)('opens the node that it was granted, and not the one beside it', async () => {
    const devices = freshFolder();
    chmodSync(devices, 0o755);
    for (const name of ['granted', 'other'])
      execFileSync('mknod', ['-m', '666', join(devices, name), 'c', '1', '5']);
    const script = `for node in granted other; do head -c 3 ${devices}/$node 2>&1 | wc -c; done; head -c 1 ${devices}/other 2>&1 >/dev/null`;
    const told = await run(
      freshFolder(),
      { command: ['sh', '-c', `${script}; true`] },
      [join(devices, 'granted')],
      {
        readPaths: [devices],
      },
    );
    expect(told).toMatch(/^3\n\d+\nhead: .*Permission denied\n$/);
  });

  test('sees what the operator shows, writes where he lets it, and its workspace', async () => {
    const [shown, open] = [freshFolder(), freshFolder()];
    for (const folder of [shown, open]) chmodSync(folder, 0o777);
    const script = `touch ${shown}/a 2>/dev/null || echo read-only; touch ${open}/b && echo written; touch here && echo here; ls -A ${tmpdir()} | grep -c flopd-job-`;
    const told = await run(freshFolder(), { command: ['sh', '-c', script] }, [], {
      readPaths: [shown],
      writePaths: [open],
    });
    // In the folder of temporary files: the two, and the way to its workspace.
    expect(told).toBe('read-only\nwritten\nhere\n3\n');
    expect([existsSync(join(shown, 'a')), existsSync(join(open, 'b'))]).toEqual([false, true]);
  });
});

test('a host without bubblewrap says so, with the remedy', async () => {
  const { sandbox } = await probe(freshFolder(), {}, '/nonexistent');
  expect(sandbox).toEqual({ problem: expect.stringMatching(/^bubblewrap is not here; install/) });
  expect((await probe(freshFolder(), { sandbox: 'off' })).sandbox).toEqual({
    problem: 'jobs.sandbox is off',
  });
});

test('an operator may let all system calls through', async () => {
  expect(await probe(freshFolder(), { seccomp: 'off' })).toMatchObject({
    filterProblem: 'jobs.seccomp is off',
  });
});

test('a bubblewrap that fails is not used, and what it said is told', async () => {
  const folder = freshFolder();
  execFileSync('sh', [
    '-c',
    `printf '#!/bin/sh\\necho "bwrap: no permissions" >&2; exit 1\\n' >${folder}/bwrap; chmod 755 ${folder}/bwrap`,
  ]);
  const { sandbox } = await probe(freshFolder(), {}, folder);
  expect(sandbox).toEqual({ problem: 'bubblewrap does not work here: bwrap: no permissions' });
});
