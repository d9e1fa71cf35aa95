import { describe, expect, test } from 'vitest';
import { decideUnified, prepareUnified, type UnifiedFacts } from '../../../../src/job/containment/unified.ts';

const all = ['cpuset', 'cpu', 'io', 'memory', 'pids'];
const facts = (change: Partial<UnifiedFacts> = {}): UnifiedFacts => ({
  ownFolder: '/cg/system.slice/flopd-agent.service',
  topFolder: '/cg',
  controllers: () => all,
  isRootGroup: (folder) => folder === '/cg',
  isRoot: false,
  isService: false,
  ...change,
});

describe('room for jobs in version 2', () => {
  test('an agent that systemd began in a leaf of its own makes groups beside that leaf', () => {
    const plan = decideUnified(
      facts({ ownFolder: '/cg/system.slice/flopd-agent.service/agent', isService: true }),
    );
    expect(plan).toEqual({
      base: '/cg/system.slice/flopd-agent.service',
      leaf: null,
      enable: ['cpu', 'memory', 'pids', 'io'],
      problem: null,
    });
  });

  test('a service without such a leaf could not be restarted: as a user it does without', () => {
    const plan = decideUnified(facts({ isService: true }));
    expect(plan.enable).toEqual([]);
    expect(plan.problem).toContain('systemd before version 254');
  });

  test('as root it makes them at the top, out of the way of its own service', () => {
    expect(decideUnified(facts({ isService: true, isRoot: true }))).toMatchObject({
      base: '/cg',
      leaf: null,
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

  test('what is carried out: the move, then each controller; what is refused is told and not counted', () => {
    const done: string[] = [];
    const plan = decideUnified(facts({ ownFolder: '/cg/u' }));
    const made = prepareUnified(plan, 42, {
      makeFolder: (folder) => void done.push(`mkdir ${folder}`),
      write(path, text) {
        if (text === '+io') throw Object.assign(new Error('no'), { code: 'ENOENT' });
        done.push(`${path} ${text}`);
      },
      read: () => 'cpu memory pids\n',
    });
    expect(done).toEqual([
      'mkdir /cg/u/agent',
      '/cg/u/agent/cgroup.procs 42',
      '/cg/u/agent/cpu.weight 1000',
      '/cg/u/cgroup.subtree_control +cpu',
      '/cg/u/cgroup.subtree_control +memory',
      '/cg/u/cgroup.subtree_control +pids',
    ]);
    expect(made).toEqual({ controllers: ['cpu', 'memory', 'pids'], problems: ['controller io: ENOENT'] });
  });

  test('an agent that may not move enables nothing', () => {
    const made = prepareUnified(decideUnified(facts({ ownFolder: '/cg/u' })), 42, {
      makeFolder() {
        throw Object.assign(new Error('no'), { code: 'EACCES' });
      },
      write() {
        throw Object.assign(new Error('no'), { code: 'ENOENT' });
      },
      read: () => '',
    });
    expect(made).toEqual({ controllers: [], problems: ['own leaf: EACCES', 'own leaf: ENOENT'] });
  });
});
