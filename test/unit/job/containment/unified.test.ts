import { describe, expect, test } from 'vitest';
import { decideUnified, prepareUnified, type UnifiedFacts } from '../../../../src/job/containment/unified.ts';

const all = ['cpuset', 'cpu', 'io', 'memory', 'pids'];
const facts = (change: Partial<UnifiedFacts> = {}): UnifiedFacts => ({
  ownFolder: '/cg/system.slice/flopd-agent.service',
  topFolder: '/cg',
  controllers: () => all,
  isRootGroup: (folder) => folder === '/cg',
  isInner: () => false,
  isOurs: () => false,
  isRoot: false,
  isService: false,
  ...change,
});

describe('room for jobs in version 2', () => {
  test('a service makes groups below the unit beside it that is delegated to it, freed of its own process', () => {
    const base = '/cg/flopd.slice/flopd-jobs.slice/flopd-groups.service';
    const ownFolder = '/cg/flopd.slice/flopd-jobs.slice/flopd-runner.service';
    for (const isRoot of [true, false])
      expect(
        decideUnified(facts({ ownFolder, isService: true, isRoot, isOurs: (folder) => folder === base })),
      ).toEqual({
        base,
        isNew: false,
        leaf: `${base}/shims`,
        moves: 'all',
        enable: ['cpu', 'memory', 'pids', 'io'],
        problem: null,
      });
  });

  test('an agent that systemd began in a leaf of its own makes groups beside that leaf', () => {
    const plan = decideUnified(
      facts({ ownFolder: '/cg/system.slice/flopd-agent.service/agent', isService: true }),
    );
    expect(plan).toMatchObject({ base: '/cg/system.slice/flopd-agent.service', leaf: null, problem: null });
  });

  test('a service without such a unit could not be restarted: as a user it does without', () => {
    const plan = decideUnified(facts({ isService: true }));
    expect(plan.enable).toEqual([]);
    expect(plan.problem).toContain('no flopd-groups.service');
  });

  test('as root it makes them in a group of its own at the top, from where systemd takes no controller away', () => {
    expect(decideUnified(facts({ isService: true, isRoot: true }))).toMatchObject({
      base: '/cg/flopd',
      isNew: true,
      leaf: null,
      enable: ['cpu', 'memory', 'pids', 'io'],
    });
    expect(decideUnified(facts({ ownFolder: '/cg', isRoot: true }))).toMatchObject({ base: '/cg/flopd' });
  });

  test('so it does in a container whose systemd limits children of the top', () => {
    const container = { isRootGroup: () => false, isInner: (folder: string) => folder === '/cg' };
    expect(decideUnified(facts({ isService: true, isRoot: true, ...container }))).toMatchObject({
      base: '/cg/flopd',
      isNew: true,
    });
  });

  test('anybody else who may moves into a leaf first', () => {
    const ownFolder = '/cg/user.slice/me';
    expect(decideUnified(facts({ ownFolder }))).toMatchObject({
      base: ownFolder,
      leaf: `${ownFolder}/agent`,
    });
  });

  test('in a container whose top is no root group, root moves too', () => {
    const plan = decideUnified(facts({ ownFolder: '/cg', isRoot: true, isRootGroup: () => false }));
    expect(plan).toMatchObject({ base: '/cg', leaf: '/cg/agent' });
  });

  test('on a hybrid host nothing can be enabled, and nothing is in the way of plain groups', () => {
    const plan = decideUnified(facts({ controllers: () => ['hugetlb'] }));
    expect(plan).toMatchObject({ base: '/cg/system.slice/flopd-agent.service', leaf: null, enable: [] });
    expect(plan.problem).toContain('version 2');
  });

  /** A tree that takes everything, and tells what it was given. */
  function scripted(refuse: (path: string, text: string) => string | null = () => null) {
    const done: string[] = [];
    return {
      done,
      makeFolder: (folder: string) => void done.push(`mkdir ${folder}`),
      write(path: string, text: string) {
        const code = refuse(path, text);
        if (code !== null) throw Object.assign(new Error('no'), { code });
        done.push(`${path} ${text}`);
      },
      read: (path: string) => (path.endsWith('cgroup.procs') ? '7\n8\n' : 'cpu memory pids\n'),
    };
  }

  test('what is carried out: the move, then each controller; what is refused is told and not counted', () => {
    const tools = scripted((_, text) => (text === '+io' ? 'ENOENT' : null));
    const made = prepareUnified(decideUnified(facts({ ownFolder: '/cg/u' })), 42, tools);
    expect(tools.done).toEqual([
      'mkdir /cg/u/agent',
      '/cg/u/agent/cgroup.procs 42',
      '/cg/u/cgroup.subtree_control +cpu',
      '/cg/u/cgroup.subtree_control +memory',
      '/cg/u/cgroup.subtree_control +pids',
      '/cg/u/agent/cpu.weight 1000',
    ]);
    expect(made).toEqual({ controllers: ['cpu', 'memory', 'pids'], problems: ['controller io: ENOENT'] });
  });

  test('of a unit for groups all processes are moved, but those that have ended meanwhile', () => {
    const tools = scripted((_, text) => (text === '7' ? 'ESRCH' : null));
    const plan = decideUnified(facts({ ownFolder: '/cg/s/me.service', isService: true, isOurs: () => true }));
    expect(prepareUnified(plan, 42, tools).problems).toEqual([]);
    expect(tools.done.slice(0, 2)).toEqual([
      'mkdir /cg/s/flopd-groups.service/shims',
      '/cg/s/flopd-groups.service/shims/cgroup.procs 8',
    ]);
  });

  test('a group of its own at the top gets controllers from above first', () => {
    const tools = scripted();
    const plan = decideUnified(facts({ isRoot: true, controllers: () => ['cpu'] }));
    expect(prepareUnified(plan, 42, tools)).toMatchObject({ problems: [] });
    expect(tools.done).toEqual([
      '/cg/cgroup.subtree_control +cpu',
      'mkdir /cg/flopd',
      '/cg/flopd/cgroup.subtree_control +cpu',
    ]);
  });

  test('an agent that may not move enables nothing', () => {
    const tools = { ...scripted(() => 'EACCES'), read: () => '' };
    const made = prepareUnified(decideUnified(facts({ ownFolder: '/cg/u' })), 42, tools);
    expect(made).toEqual({ controllers: [], problems: ['own leaf: EACCES'] });
  });
});
