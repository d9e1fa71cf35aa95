import { describe, expect, test } from 'vitest';
import { bubblewrapArguments } from '../../../../src/job/containment/bubblewrap.ts';
import {
  type Contained,
  decideContainment,
  missingWalls,
  refuseContainment,
} from '../../../../src/job/containment/containment.ts';
import type { HostFacts, JobRules } from '../../../../src/job/containment/host.ts';
import type { JobSpecInput } from '../../../../src/protocol/spec.ts';
import { startOrder } from '../samples.ts';

const rules: JobRules = {
  sandbox: 'auto',
  seccomp: 'auto',
  limits: 'auto',
  user: 'auto',
  userRange: { from: 100, to: 200 },
  processes: 4096,
  readPaths: [],
  writePaths: [],
  outputQuotaBytes: 1024,
};
const sandbox = {
  program: '/usr/bin/bwrap',
  mode: 'root' as const,
  changesUser: true,
  hidden: ['/tmp', '/home', '/run'],
  masked: ['/etc/flopd-token', '/tmp/token'],
  readPaths: ['/home/models'],
  writePaths: ['/scratch', '/dev/infiniband'],
  stateDir: '/var/lib/flopd',
  build: '/opt/flopd/native/build',
};
const host: HostFacts = {
  uid: 0,
  usersProblem: null,
  sandbox,
  filterProblem: null,
  cgroups: { bases: [], problems: ['no groups'], shimsLeaf: null, renewed: () => host.cgroups },
  disk: { number: '8:0' },
};
const bare: HostFacts = {
  ...host,
  uid: 1000,
  usersProblem: 'the agent is not root',
  sandbox: { problem: 'no bwrap' },
};
const job = (spec: Partial<JobSpecInput> = {}, change: Partial<Contained> = {}): Contained => ({
  order: startOrder('job-1', 2, spec),
  workspace: '/var/lib/flopd/agent/jobs/job-1.2/workspace',
  meter: '/var/lib/flopd/agent/jobs/job-1.2/meter',
  deviceNodes: ['/dev/nvidia3', '/dev/nvidiactl'],
  nodesUnknown: false,
  deviceGroups: [44],
  userId: 150,
  ...change,
});
/** Words of one option, without the option. */
const wordsAfter = (words: readonly string[], option: string, count: number): string[][] =>
  words.flatMap((word, at) => (word === option ? [words.slice(at + 1, at + 1 + count) as string[]] : []));

describe('the sandbox', () => {
  const { wrap, user, isolation } = decideContainment(job({ network: 'none' }), rules, host);

  test('begins with the read-only system and ends before the program', () => {
    expect(wrap[0]).toBe('/usr/bin/bwrap');
    expect(wrap.at(-1)).toBe('--');
    expect(wordsAfter(wrap, '--ro-bind', 2)[0]).toEqual(['/', '/']);
    expect(wrap).toEqual(
      expect.arrayContaining(['--unshare-pid', '--as-pid-1', '--die-with-parent', '--unshare-net']),
    );
    expect(wordsAfter(wrap, '--cap-add', 1).flat()).toEqual(['CAP_SETUID', 'CAP_SETGID', 'CAP_SETPCAP']);
  });

  test('hides the state folder above what the operator shows, and shows in it the own workspace and meter alone', () => {
    const state = wrap.findIndex((word, at) => word === '--tmpfs' && wrap[at + 1] === '/var/lib/flopd');
    expect(state).toBeGreaterThan(wrap.indexOf('/scratch'));
    expect(wordsAfter(wrap.slice(state), '--bind', 2)).toEqual([
      [job().workspace, job().workspace],
      [job().meter, job().meter],
    ]);
    // Bubblewrap would close the folders above to the job's user.
    expect(wordsAfter(wrap.slice(state), '--dir', 1).flat()).toEqual([
      '/var/lib/flopd/agent',
      '/var/lib/flopd/agent/jobs',
      '/var/lib/flopd/agent/jobs/job-1.2',
    ]);
  });

  test('has the granted nodes and the operator’s in /dev, nothing else', () => {
    expect(wordsAfter(wrap, '--dev-bind-try', 1).flat()).toEqual([
      '/dev/infiniband',
      '/dev/nvidia3',
      '/dev/nvidiactl',
    ]);
    expect(wrap).not.toContain('--dev-bind');
    const unknown = decideContainment(job({}, { nodesUnknown: true }), rules, host);
    expect(wordsAfter(unknown.wrap, '--dev-bind', 2)).toEqual([['/dev', '/dev']]);
    expect(unknown.isolation.devices).toContain('not known');
  });

  test('masks secrets that nothing else hides', () => {
    expect(wordsAfter(wrap, '--ro-bind', 2)).toContainEqual(['/dev/null', '/etc/flopd-token']);
    expect(wrap.join(' ')).not.toContain('/tmp/token');
  });

  test('is told with its user, and no value of the job is among its words', () => {
    expect(user).toEqual({ uid: 150, gid: 150, groups: [44] });
    expect(isolation).toMatchObject({ sandbox: 'bubblewrap', user: 'uid 150', network: 'none' });
    expect(isolation.systemCalls).toMatch(/^no namespaces/);
    expect(decideContainment(job(), rules, host).filtered).toBe(true);
    const unfiltered = decideContainment(job(), rules, { ...host, filterProblem: 'jobs.seccomp is off' });
    expect([unfiltered.filtered, unfiltered.isolation.systemCalls]).toEqual([false, 'jobs.seccomp is off']);
    const hostile = '--bind / /';
    const { wrap: words } = decideContainment(
      job({
        command: [hostile],
        name: hostile,
        environment: { A: hostile },
        workingDirectory: `/${hostile}`,
      }),
      rules,
      host,
    );
    expect(words.join('\n')).not.toContain(hostile);
  });

  test('of an ordinary user goes through a user namespace and adds no rights', () => {
    const words = bubblewrapArguments({
      ...sandbox,
      mode: 'user',
      changesUser: false,
      own: null,
      deviceNodes: [],
      network: 'host',
    });
    expect(words).toContain('--unshare-user');
    expect(words.join(' ')).not.toMatch(/--cap|--unshare-net|\/proc\/sys/);
  });
});

describe('without a sandbox', () => {
  test('every missing wall is told with its reason', () => {
    const { wrap, user, filtered, isolation, limits } = decideContainment(
      job({}, { userId: null }),
      rules,
      bare,
    );
    expect(filtered).toBe(false);
    expect(isolation.systemCalls).toBe('none: no bwrap');
    expect([wrap, user]).toEqual([[], null]);
    for (const wall of ['sandbox', 'processes', 'files']) expect(isolation[wall]).toBe('none: no bwrap');
    expect(isolation.user).toBe("the agent's (uid 1000): the agent is not root");
    expect(isolation.devices).toContain('environment only');
    expect(limits).toMatchObject({ cpus: 'none', processes: 'none' });
  });

  test('a job that must have no network is refused', () => {
    expect(refuseContainment(startOrder('job-1', 1, { network: 'none' }), rules, bare)?.code).toBe(
      'JOB_NETWORK_WALL_MISSING',
    );
    expect(refuseContainment(startOrder('job-1'), rules, bare)).toBeNull();
  });
});

describe('the operator’s minimum', () => {
  const strict: JobRules = { ...rules, sandbox: 'require', limits: 'require' };

  test('refuses every job where the host cannot, with the remedy', () => {
    expect(missingWalls(strict, bare).map(({ code }) => code)).toEqual([
      'JOB_SANDBOX_MISSING',
      'JOB_LIMITS_MISSING',
    ]);
    expect(missingWalls(rules, bare)).toEqual([]);
    expect(refuseContainment(startOrder('job-1'), strict, bare)).toMatchObject({
      code: 'JOB_SANDBOX_MISSING',
      message: expect.stringContaining('no bwrap'),
    });
    expect(refuseContainment(startOrder('job-1'), strict, host)).toMatchObject({
      code: 'JOB_LIMITS_MISSING',
      message: expect.stringContaining('run the agent as root'),
    });
  });

  test('lets containers be, which have walls of their own', () => {
    const order = startOrder('job-1', 1, { executor: 'container', image: 'x' });
    expect(refuseContainment(order, strict, bare)).toBeNull();
    const resources = { diskWriteBytesPerSecond: 4096 };
    const slow = startOrder('job-1', 1, { executor: 'container', image: 'x', resources });
    expect(refuseContainment(slow, strict, bare)?.code).toBe('JOB_LIMITS_MISSING');
    expect(refuseContainment(slow, rules, bare)).toBeNull();
  });
});
