import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findCdiDevices } from '../../../../src/job/executor/container-cdi.ts';
import { planDevices } from '../../../../src/job/executor/container-devices.ts';
import { environmentOf } from '../../../../src/job/executor/container-environment.ts';
import { createLayerCount, parseImage, pullArguments } from '../../../../src/job/executor/container-image.ts';
import { encodeOrder } from '../../../../src/job/executor/container-order.ts';
import { isStray, parseDescription } from '../../../../src/job/executor/container-stray.ts';
import { containerWalls } from '../../../../src/job/executor/container-walls.ts';
import { noContainment } from '../../../../src/job/executor/executor.ts';
import { jobSpecSchema } from '../../../../src/protocol/spec.ts';

const ID = 'a'.repeat(64);
const image = { id: ID, environment: ['PATH=/opt/bin', 'NVIDIA_VISIBLE_DEVICES=all', 'LIB=1'] };
const spec = jobSpecSchema.parse({ version: 1, executor: 'container', image: 'x', command: ['x'] });

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-container-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('environment of a container job', () => {
  const environment = { PATH: '/host/bin', HOME: '/w', LIB: '2', FLOPD_JOB_ID: 'job-1' };

  test('PATH is the image’s, all else the job’s', () => {
    expect(environmentOf({ environment, spec }, image, [])).toEqual({
      ...environment,
      PATH: '/opt/bin',
      NVIDIA_VISIBLE_DEVICES: 'all',
    });
  });

  test('the job’s own PATH counts, and an image without one has the usual', () => {
    const asked = { ...spec, environment: { PATH: '/mine' } };
    const given = { ...environment, PATH: '/mine' };
    expect(environmentOf({ environment: given, spec: asked }, image, []).PATH).toBe('/mine');
    expect(environmentOf({ environment, spec }, { id: ID, environment: [] }, []).PATH).toContain('/usr/bin:');
  });

  test('what would mislead it is left out', () => {
    expect(environmentOf({ environment, spec }, image, ['LIB'])).not.toHaveProperty('LIB');
  });
});

describe('devices of a container', () => {
  const nodes = ['/dev/acme0', '/dev/acmectl'];
  const isThere = (path: string): boolean => path !== '/dev/acmectl-extra';
  const granted = { environment: { ACME_VISIBLE_DEVICES: 'A', ORDER: '1' }, cdiNames: [['acme.com/gpu=A']] };

  test('by name where the host describes them; then the vendor’s own runtime adds nothing', () => {
    const plan = planDevices(
      { devices: granted, deviceNodes: nodes },
      image,
      new Set(['acme.com/gpu=A']),
      isThere,
    );
    expect(plan).toEqual({
      devices: ['acme.com/gpu=A'],
      runtimeEnvironment: { NVIDIA_VISIBLE_DEVICES: 'void', ACME_VISIBLE_DEVICES: 'void' },
      dropped: [],
      problem: null,
    });
  });

  test('by node where it does not describe all of them', () => {
    const two = { ...granted, cdiNames: [['acme.com/gpu=A'], ['acme.com/gpu=B']] };
    const plan = planDevices(
      { devices: two, deviceNodes: nodes },
      image,
      new Set(['acme.com/gpu=A']),
      isThere,
    );
    expect(plan.devices).toEqual(nodes);
    expect(plan.runtimeEnvironment.ACME_VISIBLE_DEVICES).toBe('A');
  });

  test('nodes that this host does not have are left out', () => {
    const more = [...nodes, '/dev/acmectl-extra'];
    expect(planDevices({ devices: granted, deviceNodes: more }, image, new Set(), isThere).devices).toEqual(
      nodes,
    );
  });

  test('an image that asks for all devices gets none', () => {
    for (const devices of [null, { environment: {} }]) {
      const plan = planDevices({ devices, deviceNodes: [] }, image, new Set(), isThere);
      expect(plan).toMatchObject({ devices: [], runtimeEnvironment: { NVIDIA_VISIBLE_DEVICES: 'void' } });
    }
  });

  test('variables that count as the host does are not the job’s; a node that is not known is said', () => {
    const devices = { environment: {}, hostCounted: ['ACME_VISIBLE_DEVICES'], nodesUnknown: true };
    const plan = planDevices({ devices, deviceNodes: nodes }, image, new Set(), isThere);
    expect(plan.dropped).toEqual(['ACME_VISIBLE_DEVICES']);
    expect(plan.problem).toContain('node of one of its devices is not known');
  });

  test('descriptions of the host are read in JSON and YAML, and broken ones have none', async () => {
    writeFileSync(
      join(folder, 'a.yaml'),
      'cdiVersion: 0.5.0\nkind: acme.com/gpu\ndevices:\n- name: "0"\n- name: all\n',
    );
    writeFileSync(join(folder, 'b.json'), '{"kind":"other.org/npu","devices":[{"name":"1"},{}]}');
    writeFileSync(join(folder, 'c.json'), '{');
    writeFileSync(join(folder, 'd.txt'), 'kind: acme.com/x\ndevices: [{name: y}]');
    const found = await findCdiDevices([folder, join(folder, 'none')]);
    expect([...found].sort()).toEqual(['acme.com/gpu=0', 'acme.com/gpu=all', 'other.org/npu=1']);
  });
});

describe('images', () => {
  test('as podman and docker describe them', () => {
    expect(parseImage(`${ID} ["A=1"]\n`)).toEqual({ id: ID, environment: ['A=1'] });
    expect(parseImage(`sha256:${ID} null\n`)).toEqual({ id: `sha256:${ID}`, environment: [] });
    for (const text of ['', 'x', `${ID}`, `${ID} {}`, `${ID} [`, `-${ID} []`])
      expect(parseImage(text)).toBeNull();
  });

  test('are pulled from registries alone', () => {
    expect(pullArguments('podman', 'oci:/etc').at(-1)).toBe('docker://oci:/etc');
    expect(pullArguments('docker', 'a/b:1').at(-1)).toBe('a/b:1');
  });

  test('progress counts layers as far as the runtime tells', () => {
    const docker = createLayerCount();
    for (const line of [
      '1: Pulling from library/x',
      '0123456789ab: Pulling fs layer',
      '0123456789ac: Pulling fs layer',
    ])
      docker.take(line);
    expect(docker.text()).toBe(', 2 layers under way');
    docker.take('0123456789ab: Pull complete');
    expect(docker.text()).toBe(', 1 of 2 layers');
    const podman = createLayerCount();
    podman.take('Trying to pull docker.io/x...');
    expect(podman.text()).toBe(', Trying to pull docker.io/x...');
    podman.take(`Copying blob sha256:${ID}`);
    expect(podman.text()).toBe(', 1 layer under way');
  });
});

test('an order holds its fields between NULs, whatever is in them', () => {
  const user = { uid: 5, gid: 6, groups: [7] };
  const order = { workingDirectory: '/w', user, command: ['sh', '-c', ''], environment: { A: 'x\ny' } };
  expect(encodeOrder(order).toString().split('\0')).toEqual([
    'flopd-contained',
    '1',
    '/w',
    '5',
    '6',
    '1',
    '7',
    '3',
    'sh',
    '-c',
    '',
    '1',
    'A=x\ny',
    'end',
    '',
  ]);
  expect(encodeOrder({ ...order, user: null }).toString()).toContain('/w\0\0\x000\x003\0sh');
});

test('the walls of a container are its own; user and limits of processes stay', () => {
  const user = { uid: 5, gid: 5, groups: [] };
  const decided = { ...noContainment, user, wrap: ['bwrap'], rlimits: { CORE: 0 } };
  const asked = jobSpecSchema.parse({
    ...spec,
    network: 'none',
    resources: { memoryBytes: 1, diskReadBytesPerSecond: 1024 },
  });
  expect(containerWalls(decided, { spec: asked, deviceNodes: ['/dev/x'] })).toMatchObject({
    user,
    wrap: [],
    filtered: false,
    cgroups: [],
    rlimits: { CORE: 0 },
    limits: { cpus: 'container', memory: 'container', diskRead: 'none (not for containers)' },
    isolation: { sandbox: 'container', user: 'uid 5', network: 'none', devices: 'granted only: /dev/x' },
  });
});

describe('stray containers', () => {
  const labels = (more: object) => ({ 'flopd.folder': folder, 'flopd.boot': 'boot', ...more });

  test('those of an earlier boot, of a folder that is gone, of an attempt that has ended', () => {
    expect(isStray(labels({}), 'boot')).toBe(false);
    expect(isStray(labels({}), 'later')).toBe(true);
    expect(isStray(labels({ 'flopd.folder': join(folder, 'gone') }), 'boot')).toBe(true);
    writeFileSync(join(folder, 'end'), '');
    expect(isStray(labels({}), 'boot')).toBe(true);
  });

  test('none without our labels, whatever a runtime prints', () => {
    expect(isStray({}, 'boot')).toBe(false);
    expect(parseDescription(`${ID} {"a":"b"}`)).toEqual({ id: ID, labels: { a: 'b' } });
    for (const line of ['', ID, `${ID} null`, `${ID} {`, 'x {}']) expect(parseDescription(line)).toBeNull();
  });
});
