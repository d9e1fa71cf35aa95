import { describe, expect, test } from 'vitest';
import { lackingLimits } from '../../../../src/job/executor/container-client.ts';
import {
  afterCommands,
  type ContainerPlan,
  containerArguments,
  containerName,
} from '../../../../src/job/executor/container-command.ts';

const plan: ContainerPlan = {
  name: 'flopd-node-1-job-1.1',
  imageId: 'sha256:abc',
  labels: { 'flopd.job': 'job-1' },
  containedFolder: '/state/jobs/job-1.1/contained',
  writable: ['/state/jobs/job-1.1/workspace', '/state/jobs/job-1.1/meter'],
  network: 'none',
  cpus: 1.5,
  memoryBytes: 1024 ** 3,
  processes: 100,
  sharedMemoryBytes: 1024 ** 2,
  devices: ['/dev/acme0'],
  environment: { ACME_VISIBLE_DEVICES: '0' },
  rlimits: { CORE: 0, NOFILE: 1024 },
  changesUser: true,
  lacks: [],
};

describe('the command line of a container', () => {
  test.each(['podman', 'docker'] as const)(
    '%s: walls, limits and devices are the runtime’s own',
    (runtime) => {
      const words = containerArguments(runtime, plan);
      expect(words.slice(0, 2)).toEqual(['--log-level=error', 'run']);
      expect(words).toEqual(
        expect.arrayContaining([
          '--name=flopd-node-1-job-1.1',
          '--pull=never',
          '--label=flopd.job=job-1',
          '--network=none',
          '--cap-drop=all',
          '--security-opt=no-new-privileges',
          '--log-driver=none',
          '--cpus=1.5',
          '--memory=1073741824',
          '--memory-swap=1073741824',
          '--pids-limit=100',
          '--shm-size=1048576',
          '--ulimit=core=0:0',
          '--ulimit=nofile=1024:1024',
          '--device=/dev/acme0',
          '--env=ACME_VISIBLE_DEVICES=0',
          '--volume=/state/jobs/job-1.1/workspace:/state/jobs/job-1.1/workspace:rw,Z',
          '--volume=/state/jobs/job-1.1/contained:/.flopd:rw,Z',
        ]),
      );
      expect(words.slice(-3)).toEqual(['--entrypoint=/.flopd/contained', 'sha256:abc', '/.flopd']);
      expect(words.includes('--systemd=false')).toBe(runtime === 'podman');
    },
  );

  test('nothing opens the host to it', () => {
    const words = containerArguments('podman', plan).join(' ');
    for (const word of ['privileged', '--pid=', '--ipc=', '--userns=host', '--cap-add=SYS_ADMIN'])
      expect(words).not.toContain(word);
  });

  test('capabilities are added only to become another user, and to end it', () => {
    const added = (changesUser: boolean): string[] =>
      containerArguments('docker', { ...plan, changesUser }).filter((word) => word.startsWith('--cap-add'));
    expect(added(false)).toEqual([]);
    expect(added(true)).toEqual(['--cap-add=SETUID', '--cap-add=SETGID', '--cap-add=KILL']);
  });

  test('what is not limited is left to the runtime', () => {
    const words = containerArguments('podman', { ...plan, memoryBytes: null, processes: null }).join(' ');
    expect(words).not.toMatch(/--memory|--pids-limit/);
  });

  test('limits that the runtime cannot hold are not asked for: it would refuse the job', () => {
    const words = containerArguments('podman', { ...plan, lacks: ['cpu', 'memory', 'pids'] });
    expect(words.join(' ')).not.toMatch(/--cpus|--memory/);
    expect(words).toContain('--pids-limit=0');
    expect(lackingLimits('["cpuset","memory","pids"]\n')).toEqual(['cpu']);
    expect(lackingLimits('[]\n')).toEqual(['cpu', 'memory', 'pids']);
    expect(lackingLimits('28.2.2\n')).toEqual([]);
  });

  test('every word but the image and the folder is one option with its value', () => {
    for (const word of containerArguments('docker', plan).slice(2, -2))
      expect(word).toMatch(/^--[a-z-]+(?:=|$)/);
  });

  test('its name is the attempt’s, of this node', () => {
    expect(containerName('node-1', 'job-2', 3)).toBe('flopd-node-1-job-2.3');
  });

  test('afterwards it is asked how it stands, and removed at once', () => {
    const [inspect, remove] = afterCommands('podman', '/usr/bin/podman', 'x', { HOME: '/root' });
    expect(inspect?.command.slice(1)).toContain('inspect');
    expect(inspect?.outputFile).toBe('inspected');
    expect(remove?.command).toEqual([
      ...['/usr/bin/podman', '--log-level=error', 'rm', '--force', '--time=0', '--volumes', 'x'],
    ]);
    const [, docker] = afterCommands('docker', '/usr/bin/docker', 'x', {});
    expect(docker?.command).not.toContain('--time=0');
  });
});
