// What is mounted where, from /proc/self/mountinfo: read, never asked of the file systems themselves, because a
// dead network mount answers no question.

export interface Mount {
  /** `major:minor` of the file system. */
  readonly device: string;
  /** Folder of the file system that is mounted, `/` unless it is a part of it. */
  readonly root: string;
  readonly point: string;
  readonly type: string;
  /** Options of the file system itself, e.g. the controllers of a cgroup v1 hierarchy. */
  readonly superOptions: readonly string[];
}

/** In the order of mounting; lines of another shape are left out. */
export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const [, , device, root, point] = fields;
    const separator = fields.indexOf('-', 6);
    const type = fields[separator + 1];
    if (
      separator < 0 ||
      device === undefined ||
      root === undefined ||
      point === undefined ||
      type === undefined
    ) {
      continue;
    }
    const superOptions = (fields[separator + 3] ?? '').split(',');
    mounts.push({ device, root: unescapePath(root), point: unescapePath(point), type, superOptions });
  }
  return mounts;
}

/** The mount that holds an absolute path: the longest point above it, the latest of equal ones. */
export function mountOf(mounts: readonly Mount[], path: string): Mount | null {
  let best: Mount | null = null;
  for (const mount of mounts) {
    if (!isBelow(path, mount.point)) continue;
    if (best === null || mount.point.length >= best.point.length) best = mount;
  }
  return best;
}

export function isBelow(path: string, folder: string): boolean {
  return folder === '/' || path === folder || path.startsWith(`${folder}/`);
}

/** The kernel writes blanks and backslashes as three octal digits. */
function unescapePath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
