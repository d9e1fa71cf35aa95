// A podman of a test's own: real, with storage in a folder of its own and an image made locally, so that no network
// is needed. A wrapper named `podman` takes the two obstacles of a machine in a container: crun refuses hybrid control
// groups, and limits of open files cannot be raised there. Who makes one closes it.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const programs = fileURLToPath(new URL('programs', import.meta.url));

/** Why there can be no such podman here, or null. */
export function podmanMissing(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  for (const name of ['podman', 'crun', 'conmon', 'busybox', 'unshare', 'tar'])
    if (spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0) return `${name} is missing`;
  return null;
}

export const TEST_IMAGE = 'localhost/flopd-test:1';

export interface Podman {
  /** Folder of the wrapper, to be first in PATH. */
  readonly folder: string;
  readonly path: string;
  /** The file system of its image, as a tar. */
  readonly imageTar: string;
  /** Runs it; returns what it wrote to stdout, and throws with stderr where it failed. */
  run(...args: string[]): string;
  /** Names of all containers. */
  containers(): string[];
  close(): void;
}

/** With `noisy` in the image there is a program of this name, which writes as `noisy.mjs` does. */
export function createPodman({ noisy = false } = {}): Podman {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-podman-'));
  // Of which run it is: test/leftovers of another one leaves it alone.
  const run = process.env.FLOPD_TEST_RUN ?? 'flopd-test-alone';
  const parent = `${run}-${process.pid.toString(36)}-${folder.slice(-6).toLowerCase()}`;
  const path = join(folder, 'podman');
  writeFileSync(path, wrapper(folder, parent), { mode: 0o755 });

  function call(...args: string[]): string {
    const { status, stdout, stderr } = spawnSync(path, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`podman ${args.join(' ')}: ${stderr}`);
    return stdout;
  }

  makeImage(folder, noisy ? { '/bin/noisy': compileNoisy(folder) } : {});
  call('import', '--message', 'made by a test', join(folder, 'image.tar'), TEST_IMAGE);
  return {
    folder,
    path,
    imageTar: join(folder, 'image.tar'),
    run: call,
    containers: () =>
      call('ps', '--all', '--format', '{{.Names}}')
        .split('\n')
        .filter((line) => line !== ''),
    close() {
      for (const name of this.containers()) call('rm', '--force', '--time', '0', name);
      // Overlay mounts of the storage live in namespaces of the calls and are gone with them.
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
      for (const hierarchy of ['/sys/fs/cgroup', ...hierarchies()]) removeGroup(join(hierarchy, parent));
    },
  };
}

/** Static, since the image has no libraries. */
function compileNoisy(folder: string): string {
  const target = join(folder, 'noisy');
  const { status, stderr } = spawnSync('cc', ['-O2', '-static', '-o', target, join(programs, 'noisy.c')], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`cc: ${stderr}`);
  return target;
}

function hierarchies(): string[] {
  return readdirSync('/sys/fs/cgroup').map((name) => join('/sys/fs/cgroup', name));
}

/** With what is below it; a group of which something still lives stays, and the check for leftovers tells. */
function removeGroup(group: string): void {
  if (!existsSync(group)) return;
  for (const entry of readdirSync(group, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroup(join(group, entry.name));
  try {
    rmdirSync(group);
  } catch {
    // Told by test/leftovers.
  }
}

function wrapper(folder: string, parent: string): string {
  const inside = `
if ! [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  while read -r _ at kind _; do [ "$kind" = cgroup2 ] && umount "$at"; done < /proc/mounts
fi
exec /usr/bin/podman "$@"`;
  return `#!/bin/bash
# podman for one test; see test/fakes/podman.ts
words=()
for word in "$@"; do
  words+=("$word")
  [ "$word" = run ] && words+=(--ulimit=nofile=1024:1024 --ulimit=nproc=4096:4096 --cgroup-parent=/${parent})
  [ "$word" = pull ] && words+=(--tls-verify=false)
done
exec unshare --mount --propagation private bash -c '${inside}' podman \\
  --root '${folder}/storage' --runroot '${folder}/run' --cgroup-manager cgroupfs "\${words[@]}"
`;
}

/** A system of busybox alone, with the test programs at the paths that they have on the host. */
function makeImage(folder: string, more: Readonly<Record<string, string>>): void {
  const root = join(folder, 'image');
  for (const name of ['bin', 'tmp', 'proc', 'sys', 'dev', 'etc'])
    mkdirSync(join(root, name), { recursive: true });
  const busybox = spawnSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).stdout.trim();
  copyFileSync(busybox, join(root, 'bin/busybox'));
  const { stdout } = spawnSync(busybox, ['--list'], { encoding: 'utf8' });
  for (const name of stdout.split('\n'))
    if (name !== '' && name !== 'busybox') symlinkSync('busybox', join(root, 'bin', name));
  chmodSync(join(root, 'tmp'), 0o1777);
  const files = { ...more };
  for (const name of readdirSync(programs)) files[join(programs, name)] = join(programs, name);
  for (const [inside, from] of Object.entries(files)) {
    mkdirSync(dirname(join(root, inside)), { recursive: true });
    copyFileSync(from, join(root, inside));
    chmodSync(join(root, inside), 0o755);
  }
  const packed = spawnSync('tar', ['-C', root, '-cf', join(folder, 'image.tar'), '.']);
  if (packed.status !== 0) throw new Error(`tar: ${packed.stderr}`);
}
