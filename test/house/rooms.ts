// Who may import whom. One row per room of src/: the rooms whose code it may use, and those of which it may use
// types only. Everything else is refused, and so is every package of npm that is not named in its row.
// A new room means a new row, with its reason in src/README.md.

export interface RoomRule {
  /** Rooms of ours whose values may be imported. */
  readonly uses: readonly string[];
  /** Rooms of which `import type` alone is allowed. */
  readonly types: readonly string[];
  /** Packages from npm. `node:` is always allowed, except to the rooms without I/O. */
  readonly packages: readonly string[];
  /** Modules of Node that a room without I/O may use; absent means any. */
  readonly node?: readonly string[];
}

/** `native` is the single file src/native.ts. */
export const rooms: Readonly<Record<string, RoomRule>> = {
  base: { uses: [], types: [], packages: ['pino'] },
  native: { uses: ['base'], types: ['protocol'], packages: [], node: ['node:module', 'node:path'] },
  // What agent, scheduler, command line and dashboard share does no I/O.
  protocol: {
    uses: ['base'],
    types: [],
    packages: ['zod'],
    node: ['node:buffer', 'node:crypto', 'node:zlib'],
  },
  // Trees of files on disk and over HTTP: agent, scheduler and command line do the same with them.
  files: { uses: ['base', 'protocol'], types: ['dial'], packages: ['zod'] },
  config: { uses: ['base', 'protocol'], types: [], packages: ['zod', 'yaml'] },
  device: {
    uses: ['base', 'native', 'protocol'],
    types: [],
    packages: ['systeminformation', 'node-nvidia-smi'],
  },
  telemetry: { uses: ['base', 'protocol', 'native'], types: ['device'], packages: [] },
  job: { uses: ['base', 'protocol', 'native', 'files'], types: ['device'], packages: ['zod', 'yaml'] },
  exporter: { uses: ['base', 'protocol'], types: ['telemetry'], packages: ['prom-client'] },
  // How a scheduler is reached: names, proxies, trusted authorities. Agent and command line do the same.
  dial: { uses: ['base'], types: [], packages: ['proxy-from-env'] },
  // The chain of records that scheduler and node write and `flopd audit` reads.
  audit: { uses: ['base', 'protocol'], types: [], packages: ['zod'] },
  // What every daemon is that holds a state folder: one of its kind, ordered in start and stop, told to systemd.
  daemon: { uses: ['base', 'native'], types: [], packages: ['zod'] },
  // The job room in a process of its own, with the rights that starting jobs needs and no session with anybody.
  runner: {
    // dial: where a registry lies is asked before the runtime pulls from it.
    uses: ['base', 'protocol', 'native', 'config', 'daemon', 'job', 'files', 'audit', 'dial'],
    types: ['device'],
    packages: ['zod'],
  },
  link: { uses: ['base', 'protocol'], types: ['config', 'dial'], packages: ['ws', 'zod'] },
  scheduler: {
    uses: ['base', 'protocol', 'files', 'audit'],
    types: ['config'],
    packages: ['ws', 'zod', 'libsql', 'prom-client', '@peculiar/x509', 'reflect-metadata'],
  },
  cli: {
    uses: ['base', 'protocol', 'config', 'native', 'device', 'telemetry', 'job', 'files', 'dial', 'audit'],
    types: [],
    // ws: the streams of `flopd exec`.
    packages: ['commander', 'pino', 'ws', 'yaml', 'zod'],
  },
  dashboard: { uses: ['protocol'], types: [], packages: [] },
  agent: {
    uses: [
      'base',
      'protocol',
      'native',
      'config',
      'daemon',
      'device',
      'telemetry',
      'job',
      'exporter',
      'link',
      'files',
      'dial',
      'audit',
      'runner',
    ],
    types: [],
    packages: ['zod'],
  },
  bin: {
    uses: ['agent', 'runner', 'scheduler', 'cli', 'config', 'native', 'base'],
    types: [],
    packages: ['pino', 'commander'],
  },
};
