// A36: whose registry an image may come from. Names in every spelling, and what name servers answer for them.
import { describe, expect, test } from 'vitest';
import { Fault } from '../../../../src/base/fault.ts';
import {
  addressElsewhere,
  parseImageName,
  type RegistryRules,
  registryProblem,
} from '../../../../src/job/executor/container-registry.ts';
import { jobSpecSchema } from '../../../../src/protocol/spec.ts';

const answers: Readonly<Record<string, readonly string[]>> = {
  'registry-1.docker.io': ['44.208.254.194', '2600:1f18::1'],
  'ghcr.io': ['140.82.112.33'],
  localhost: ['127.0.0.1', '::1'],
  'rebound.example': ['169.254.169.254'],
  'mixed.example': ['140.82.112.33', '10.0.0.5'],
  'six.example': ['::ffff:192.168.1.1'],
  'ula.example': ['fd00:ec2::254'],
  'registry.corp': ['10.1.2.3'],
  'empty.example': [],
  public: ['10.1.2.4'],
  'own.example': ['140.82.112.99'],
};

function rules(registries: readonly string[] = ['public'], isProxied = false): RegistryRules {
  return {
    registries,
    isProxied: () => isProxied,
    async resolve(host) {
      if (/^[\d.]+$/.test(host)) return [{ address: host }];
      const found = answers[host];
      if (found === undefined) throw new Fault('DIAL_NAME_UNKNOWN', `there is no host named ${host}`);
      return found.map((address) => ({ address }));
    },
  };
}

/** Null where it may be pulled. */
async function problemOf(name: string, by = rules()): Promise<string | null> {
  expect(
    jobSpecSchema.safeParse({ version: 1, executor: 'container', image: name, command: ['x'] }).success,
  ).toBe(true);
  const image = parseImageName(name);
  return image === null ? 'no name' : registryProblem(image, by);
}

describe('the name of an image', () => {
  test.each([
    ['busybox', 'docker.io', 'library/busybox'],
    ['docker:24-dind', 'docker.io', 'library/docker'],
    ['org/app:1', 'docker.io', 'org/app'],
    ['2130706433/x', 'docker.io', '2130706433/x'],
    ['index.docker.io/busybox', 'docker.io', 'library/busybox'],
    ['ghcr.io/org/app:v1', 'ghcr.io', 'org/app'],
    ['GHCR.io./org/app', 'ghcr.io', 'org/app'],
    ['registry.corp:5000/team/app@sha256:'.concat('a'.repeat(64)), 'registry.corp:5000', 'team/app'],
    ['LOCALHOST/app', 'localhost', 'app'],
    ['0x7f.1:80/app', '127.0.0.1:80', 'app'],
  ])('%s is of %s', (name, registry, path) => {
    expect(parseImageName(name)).toMatchObject({ registry, path });
  });

  test.each([
    ...['docker-archive:/etc/shadow', 'dir:/', 'dir:x', 'oci:/var/lib', 'oci-archive:/x', 'oci-archive:x'],
    ...['containers-storage:x', 'containers-storage:localhost/x', 'docker-daemon:x:1', 'docker://ghcr.io/x'],
    ...[
      'http://127.0.0.1/x',
      'https://ghcr.io/x',
      'file:///etc/shadow',
      'file:/etc/shadow',
      'sif:x',
      'tarball:x',
    ],
    ...[
      'ghcr.io/../x',
      'ghcr.io//x',
      'ghcr.io/a/../../b',
      'ghcr.io/',
      'a@b@c',
      'user@127.0.0.1/x',
      'fe80::1/x',
    ],
    ...[
      'ghcr.io:port/x',
      'ghcr.io:99999/x',
      'ghcr.io/X',
      'x:1:2',
      'x@sha256:12',
      '256.1.1.1/x',
      '1.2.3.4.5/x',
    ],
  ])('%s is none', async (name) => {
    expect(await problemOf(name)).toBe('no name');
  });
});

describe('a registry', () => {
  test.each(['busybox', 'org/app:1', 'ghcr.io/org/app', '140.82.112.33/x', '140.82.112.33:5000/x'])(
    'on the Internet is pulled from: %s',
    async (name) => {
      expect(await problemOf(name)).toBeNull();
    },
  );

  test.each([
    ...['localhost/x', 'localhost:5000/x', 'LOCALHOST/x', 'localhost./x', '127.0.0.1:5000/x', '127.1:80/x'],
    ...['2130706433:80/x', '0x7f000001:80/x', '0x7f.0.0.1/x', '0177.0.0.1/x', '127.0.0.1./x', '0.0.0.0:80/x'],
    ...['169.254.169.254/latest/x', '2852039166:80/x', '0xa9fea9fe:80/x', '10.0.0.1:80/x', '192.168.1.1/x'],
    ...['172.16.0.9:443/x', '100.100.100.200/x', '224.0.0.1/x', '255.255.255.255/x'],
    ...['rebound.example/x', 'REBOUND.example./x', 'mixed.example/x', 'six.example/x', 'ula.example/x'],
    ...['registry.corp:5000/x', 'empty.example/x', 'unknown.example/x'],
    // The name of a host, and not the word in the list.
    ...['PUBLIC/x', 'Public./x', 'public:443/x'],
  ])('that leads elsewhere is refused, and it is said where to allow it: %s', async (name) => {
    expect(await problemOf(name)).toContain('only if its operator lists it in jobs.registries');
  });

  test.each([['140.82.112.99/x'], ['own.example:9100/x'], ['[2600:1f18:0::9]']])(
    'by a public address of this very host is refused: %s',
    async (name) => {
      const own = { ...rules(), ownAddresses: () => ['127.0.0.1', '140.82.112.99', '2600:1f18::9'] };
      if (name.startsWith('[')) expect(addressElsewhere(['2600:1f18:0:0::9'], own)).toBe('2600:1f18:0:0::9');
      else expect(await problemOf(name, own)).toContain('140.82.112.99');
      expect(await problemOf('ghcr.io/x', own)).toBeNull();
    },
  );

  test('that is listed is pulled from, wherever it lies, with that port and below that path alone', async () => {
    const listed = rules(['registry.corp:5000/team', 'localhost:5000', '10.0.0.1:80']);
    for (const name of ['registry.corp:5000/team/app', 'localhost:5000/x', '0xa000001:80/x'])
      expect(await problemOf(name, listed)).toBeNull();
    for (const name of [
      'registry.corp:5000/teams/app',
      'registry.corp/team/app',
      'localhost/x',
      'ghcr.io/x',
      'busybox',
    ])
      expect(await problemOf(name, listed)).toContain(
        'none of those that this node pulls from (jobs.registries)',
      );
    expect(await problemOf('ghcr.io/x', rules(['public', 'registry.corp']))).toBeNull();
    expect(await problemOf('docker.io/library/busybox', rules(['docker.io/library']))).toBeNull();
  });

  test('whose name only the proxy of the operator may know is left to that; an address of this network is not', async () => {
    const proxied = rules(['public'], true);
    expect(await problemOf('unknown.example/x', proxied)).toBeNull();
    expect(await problemOf('rebound.example/x', proxied)).toContain('(169.254.169.254)');
    expect(await problemOf('10.0.0.1/x', proxied)).toContain('10.0.0.1');
  });
});
