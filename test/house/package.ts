// The rules about package.json as a function of its content.

export interface PackageJson {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly files?: readonly string[];
  readonly bin?: Readonly<Record<string, string>>;
}

/** What an installed flopd may depend on. A new entry is a decision: its size, its binaries, who keeps it. */
// biome-ignore format: a list to read, not a column
export const runtimePackages = [
  '@peculiar/x509', 'commander', 'libsql', 'node-nvidia-smi', 'pino', 'prom-client', 'proxy-from-env', 'reflect-metadata', 'systeminformation', 'ws', 'yaml', 'zod',
];
// biome-ignore format: a list to read, not a column
export const developmentPackages = [
  '@biomejs/biome', '@types/node', '@types/proxy-from-env', '@types/ws', 'fast-check', 'node-api-headers', 'rolldown', 'typescript', 'vitest',
];

const exact = /^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$/;

export function findPackageFaults(content: PackageJson): readonly string[] {
  const faults: string[] = [];
  const check = (
    field: string,
    given: Readonly<Record<string, string>> = {},
    allowed: readonly string[],
  ): void => {
    for (const [name, version] of Object.entries(given)) {
      if (!exact.test(version)) faults.push(`${field}.${name}: "${version}" is not one exact version`);
      if (!allowed.includes(name)) faults.push(`${field}.${name}: not on the list in test/house/package.ts`);
    }
  };
  check('dependencies', content.dependencies, runtimePackages);
  check('devDependencies', content.devDependencies, developmentPackages);
  check('optionalDependencies', content.optionalDependencies, []);
  for (const folder of ['dist', 'native', 'systemd', 'LICENSE'])
    if (!content.files?.includes(folder))
      faults.push(`files: ${folder} is missing, so the package would be incomplete`);
  if (content.bin?.flopd !== 'dist/flopd.js') faults.push('bin.flopd: must be dist/flopd.js');
  return faults;
}

export interface LockEntry {
  readonly link?: boolean;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** Packages for platforms on which flopd does not run; their bytes may not be at hand where the lock is made. */
function isForeign({ optional, os, libc }: LockEntry): boolean {
  return (
    optional === true && (!(os ?? ['linux']).includes('linux') || !(libc ?? ['glibc']).includes('glibc'))
  );
}

/**
 * Entries of the lock file that nobody could check, or that run code when they are installed, and platform packages
 * that are named but not entered: `npm ci` refuses a lock without them.
 */
export function findLockFaults(packages: Readonly<Record<string, LockEntry>>): readonly string[] {
  return Object.entries(packages).flatMap(([path, entry]) => {
    if (path === '' || entry.link === true) return [];
    const faults: string[] = [];
    if (entry.integrity === undefined && !isForeign(entry)) faults.push(`${path}: has no integrity`);
    // fsevents is for macOS and is never installed here.
    if (entry.hasInstallScript === true && !path.endsWith('/fsevents'))
      faults.push(`${path}: runs a script at install`);
    for (const name of Object.keys(entry.optionalDependencies ?? {}))
      if (
        packages[`node_modules/${name}`] === undefined &&
        packages[`${path}/node_modules/${name}`] === undefined
      )
        faults.push(`${path}: names ${name}, which is not in the lock`);
    return faults;
  });
}
