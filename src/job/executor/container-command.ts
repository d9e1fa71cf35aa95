// The command lines of container runtimes, for podman and docker alike: pure, from a plan to words. Nothing that a
// job's specification holds stands in them but numbers: its command and environment lie in a file (container-order.ts),
// its image goes by the digest that was looked up, and each value is behind `=`.
import type { AfterCommand } from './executor.ts';

export const runtimeNames = ['podman', 'docker'] as const;
export type RuntimeName = (typeof runtimeNames)[number];

/** Limits of a container, by the names of their controllers. */
export const runtimeLimits = ['cpu', 'memory', 'pids'] as const;
export type RuntimeLimit = (typeof runtimeLimits)[number];

/** Where the job's folder of `flopd-contained` stands in its container. */
export const CONTAINED_FOLDER = '/.flopd';
/** Files of the attempt's folder that the after-commands fill. */
export const inspectedFile = 'inspected';
export const removedFile = 'removed';
export const label = {
  node: 'flopd.node',
  job: 'flopd.job',
  epoch: 'flopd.epoch',
  folder: 'flopd.folder',
  boot: 'flopd.boot',
} as const;

const INSPECT_TIMEOUT_MS = 10_000;
const REMOVE_TIMEOUT_MS = 30_000;

export interface ContainerPlan {
  readonly name: string;
  /** Its digest: what was looked up is what runs. */
  readonly imageId: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Folder of the host with order, report and the first process. */
  readonly containedFolder: string;
  /** Folders and files of the host that stand in the container under the same path, writable. */
  readonly writable: readonly string[];
  readonly network: 'host' | 'none';
  readonly cpus: number;
  readonly memoryBytes: number | null;
  /** Null for the runtime's own limit. */
  readonly processes: number | null;
  /** Size of /dev/shm. */
  readonly sharedMemoryBytes: number;
  /** CDI names, or paths of device nodes. */
  readonly devices: readonly string[];
  /** For the runtime itself, which reads in it what devices it may add; the job's own is in its order. */
  readonly environment: Readonly<Record<string, string>>;
  /** As in `Containment.rlimits`. */
  readonly rlimits: Readonly<Record<string, number>>;
  /** The first process becomes another user for the job, and must then be able to end it. */
  readonly changesUser: boolean;
  /** Limits that the runtime would refuse, and the job with them. */
  readonly lacks: readonly RuntimeLimit[];
}

/** A name that containers may have, the same for the same attempt of the same node. */
export function containerName(nodeId: string, jobId: string, epoch: number): string {
  return `flopd-${nodeId}-${jobId}.${epoch}`;
}

/** All words after the client's path. */
export function containerArguments(runtime: RuntimeName, plan: ContainerPlan): string[] {
  const words = ['--log-level=error', 'run', `--name=${plan.name}`, '--pull=never'];
  for (const [key, value] of Object.entries(plan.labels)) words.push(`--label=${key}=${value}`);
  words.push(
    `--network=${plan.network}`,
    '--cap-drop=all',
    ...(plan.changesUser ? ['--cap-add=SETUID', '--cap-add=SETGID', '--cap-add=KILL'] : []),
    '--security-opt=no-new-privileges',
    '--user=0:0',
    '--workdir=/',
    // The shim keeps the output; a second copy by the runtime would grow without end.
    '--log-driver=none',
    `--shm-size=${plan.sharedMemoryBytes}`,
  );
  const holds = (limit: RuntimeLimit): boolean => !plan.lacks.includes(limit);
  if (holds('cpu')) words.push(`--cpus=${plan.cpus}`);
  if (plan.memoryBytes !== null && holds('memory'))
    words.push(`--memory=${plan.memoryBytes}`, `--memory-swap=${plan.memoryBytes}`);
  // 0 stands for none with both.
  if (!holds('pids')) words.push('--pids-limit=0');
  else if (plan.processes !== null) words.push(`--pids-limit=${plan.processes}`);
  for (const [name, value] of Object.entries(plan.rlimits))
    words.push(`--ulimit=${name.toLowerCase()}=${value}:${value}`);
  for (const [key, value] of Object.entries(plan.environment)) words.push(`--env=${key}=${value}`);
  for (const device of plan.devices) words.push(`--device=${device}`);
  // Z: private to this container where SELinux is; nothing elsewhere.
  words.push(`--volume=${plan.containedFolder}:${CONTAINED_FOLDER}:rw,Z`);
  for (const path of plan.writable) words.push(`--volume=${path}:${path}:rw,Z`);
  words.push('--no-healthcheck');
  if (runtime === 'podman') words.push('--systemd=false');
  words.push(`--entrypoint=${CONTAINED_FOLDER}/contained`, plan.imageId, CONTAINED_FOLDER);
  return words;
}

/** What the shim runs when the client has ended: ask how it stands, then end and remove it, whatever it does. */
export function afterCommands(
  runtime: RuntimeName,
  client: string,
  name: string,
  environment: Readonly<Record<string, string>>,
): AfterCommand[] {
  return [
    {
      command: [client, ...inspectArguments(name)],
      outputFile: inspectedFile,
      timeoutMs: INSPECT_TIMEOUT_MS,
      environment,
    },
    {
      command: [client, ...removeArguments(runtime, name)],
      outputFile: removedFile,
      timeoutMs: REMOVE_TIMEOUT_MS,
      environment,
    },
  ];
}

export function inspectArguments(name: string): string[] {
  return ['--log-level=error', 'inspect', '--type=container', '--format={{json .State}}', name];
}

/** Runs a command in the container, by the first process's own program (native/contained/contained.c). */
export function besideArguments(name: string, hasTerminal: boolean): string[] {
  const words = [
    '--log-level=error',
    'exec',
    '--interactive',
    ...(hasTerminal ? ['--tty'] : []),
    '--user=0:0',
  ];
  return [...words, name, `${CONTAINED_FOLDER}/contained`, '--beside', CONTAINED_FOLDER];
}

/** Prints the name of what was removed. */
export function removeArguments(runtime: RuntimeName, name: string): string[] {
  // podman would first ask and wait; docker kills at once.
  const atOnce = runtime === 'podman' ? ['--time=0'] : [];
  return ['--log-level=error', 'rm', '--force', ...atOnce, '--volumes', name];
}
