// A small Debian with a real systemd in a container of systemd-nspawn, for what only systemd can show. The root file
// system is made once by mmdebstrap and kept as a tar below test/.cache, named after release and packages. The
// container has a network of its own, holds the package as it would be installed, runs one script and powers off.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './bed.ts';

const PACKAGES = ['systemd-sysv', 'dbus', 'procps', 'libstdc++6', 'bubblewrap', 'strace'];
const BUILD_DEADLINE_MS = 10 * 60_000;
const cache = join(root, 'test', '.cache');

/** Why there can be no machine here, or null. */
export function machineProblem(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  for (const program of ['systemd-nspawn', 'mmdebstrap', 'tar', 'flock'])
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) return `${program} is not installed`;
  if (codename() === null) return 'not Debian';
  return null;
}

function codename(): string | null {
  const text = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  return /^ID=debian$/m.test(text) ? (/^VERSION_CODENAME=(\w+)$/m.exec(text)?.[1] ?? null) : null;
}

/** Path of the root file system as a tar; made when it is not there yet (half a minute). */
function rootfs(): string {
  const release = codename() ?? '';
  const key = createHash('sha256')
    .update([release, ...PACKAGES].join(' '))
    .digest('hex')
    .slice(0, 12);
  const tar = join(cache, `rootfs-${release}-${key}.tar`);
  if (existsSync(tar)) return tar;
  mkdirSync(cache, { recursive: true });
  const temporary = join(cache, `making-${process.pid}.tar`);
  const sources = ['/etc/apt/sources.list.d/debian.sources', '/etc/apt/sources.list'].filter((path) =>
    existsSync(path),
  );
  try {
    execFileSync(
      'mmdebstrap',
      [
        '--mode=root',
        '--variant=minbase',
        `--include=${PACKAGES.join(',')}`,
        '--aptopt=APT::Install-Recommends "0"',
        release,
        temporary,
        ...sources,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], timeout: BUILD_DEADLINE_MS },
    );
    renameSync(temporary, tar);
  } finally {
    rmSync(temporary, { force: true });
  }
  return tar;
}

/** Folders of the packages that an installed flopd needs, from the lock file. */
function runtimePackages(): readonly string[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(
      ([path, { dev, devOptional }]) =>
        path !== '' && dev !== true && devOptional !== true && existsSync(join(root, path)),
    )
    .map(([path]) => path);
}

/** Copies the built package, as `npm ci --omit=dev` would leave it, to a folder. */
export function copyPackage(
  target: string,
  parts: readonly string[] = ['dist', 'native/build', 'systemd', 'package.json'],
): void {
  for (const part of [...parts, ...runtimePackages()]) {
    mkdirSync(dirname(join(target, part)), { recursive: true });
    cpSync(join(root, part), join(target, part), { recursive: true, verbatimSymlinks: true });
  }
}

/** Lays a machine into a folder: Debian, Node, flopd under /opt/flopd, its units, and the script to run. */
export function layMachine(folder: string, script: string): void {
  mkdirSync(folder, { recursive: true });
  execFileSync('tar', ['-C', folder, '-xf', rootfs()]);
  cpSync(process.execPath, join(folder, 'usr/local/bin/node'), { dereference: true });
  copyPackage(join(folder, 'opt/flopd'));
  symlinkSync('/opt/flopd/dist/flopd.js', join(folder, 'usr/bin/flopd'));
  for (const [from, to] of [
    ['flopd-agent.service', 'usr/lib/systemd/system/flopd-agent.service'],
    ['flopd-runner.service', 'usr/lib/systemd/system/flopd-runner.service'],
    ['flopd-groups.service', 'usr/lib/systemd/system/flopd-groups.service'],
    ['flopd-node.service', 'usr/lib/systemd/system/flopd-node.service'],
    ['flopd-jobs.slice', 'usr/lib/systemd/system/flopd-jobs.slice'],
    ['flopd-scheduler.service', 'usr/lib/systemd/system/flopd-scheduler.service'],
    ['flopd.sysusers.conf', 'usr/lib/sysusers.d/flopd.conf'],
    ['flopd.tmpfiles.conf', 'usr/lib/tmpfiles.d/flopd.conf'],
    ['README.md', 'usr/share/doc/flopd/systemd.md'],
  ] as const) {
    mkdirSync(dirname(join(folder, to)), { recursive: true });
    cpSync(join(root, 'systemd', from), join(folder, to));
  }
  mkdirSync(join(folder, 'opt/check'), { recursive: true });
  cpSync(script, join(folder, 'opt/check/check.mjs'));
  const unit = [
    '[Unit]',
    'After=multi-user.target',
    '[Service]',
    'Type=oneshot',
    'ExecStart=/usr/local/bin/node /opt/check/check.mjs',
    'ExecStopPost=/usr/bin/systemctl --no-block poweroff',
    'StandardOutput=append:/opt/check/log',
    'StandardError=append:/opt/check/log',
    'TimeoutStartSec=infinity',
  ].join('\n');
  writeFileSync(join(folder, 'etc/systemd/system/check.service'), `${unit}\n`);
  const wants = join(folder, 'etc/systemd/system/multi-user.target.wants');
  mkdirSync(wants, { recursive: true });
  symlinkSync('/etc/systemd/system/check.service', join(wants, 'check.service'));
  rmSync(join(folder, 'etc/resolv.conf'), { force: true });
}

/** Boots the machine and waits until it has powered off. Resolves to the console's text and what the script wrote. */
export async function bootMachine(
  folder: string,
  deadlineMs: number,
): Promise<{ console: string; report: unknown; log: string }> {
  const before = new Set(payloadGroups());
  // One machine at a time on this host: the groups that nspawn makes below our own have the same names in each run.
  const child = spawn(
    'flock',
    [
      '--no-fork',
      '/sys/fs/cgroup',
      'systemd-nspawn',
      '--quiet',
      '--register=no',
      '--keep-unit',
      '--private-network',
      '--boot',
      `--directory=${folder}`,
      '--console=pipe',
      '--hostname=flopd-test',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin' } },
  );
  const text: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => text.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => text.push(chunk));
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, deadlineMs);
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', () => resolve());
    });
  } finally {
    clearTimeout(timer);
    for (const group of payloadGroups()) if (!before.has(group)) removeGroup(group);
  }
  const read = (name: string): string => {
    const path = join(folder, 'opt/check', name);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  const told = Buffer.concat(text).toString();
  if (late)
    throw new Error(
      `the machine did not power off within ${deadlineMs} ms:\n${told.slice(-4000)}\n${read('log')}`,
    );
  const report = read('report.json');
  if (report === '') throw new Error(`the machine left no report:\n${told.slice(-4000)}\n${read('log')}`);
  return { console: told, report: JSON.parse(report), log: read('log') };
}

/** Control groups that nspawn makes below our own and leaves behind. */
function payloadGroups(): readonly string[] {
  const found: string[] = [];
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n')) {
    const [, controllers = '', path = ''] = line.split(':');
    const tree =
      controllers === ''
        ? ['/sys/fs/cgroup/unified', '/sys/fs/cgroup']
        : [`/sys/fs/cgroup/${controllers.replace('name=', '')}`];
    for (const base of tree)
      for (const name of ['payload', 'supervisor'])
        if (existsSync(join(base, path, name, 'cgroup.procs'))) found.push(join(base, path, name));
  }
  return found;
}

/** Removes an empty control group and the empty ones below it. */
function removeGroup(path: string): void {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory()) removeGroup(join(path, entry.name));
    rmdirSync(path);
  } catch {
    // Not empty, so it is somebody's.
  }
}
