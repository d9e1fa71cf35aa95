// How an operator writes what holds for every job of a node: walls, users, folders.
import { parseText, ValueProblem } from './value.ts';

/** auto: as well as the host can · require: jobs without it are refused · off: none. */
export const sandboxModes = ['auto', 'require', 'off'] as const;
export type SandboxMode = (typeof sandboxModes)[number];
/** auto: calls that no job needs are refused inside the sandbox · off: none are. */
export const seccompModes = ['auto', 'off'] as const;
export type SeccompMode = (typeof seccompModes)[number];
export const limitModes = ['auto', 'require'] as const;
export type LimitMode = (typeof limitModes)[number];
/** auto: each job a user of its own where the agent is root · agent: all jobs are the agent's own user. */
export const userModes = ['auto', 'agent'] as const;
export type UserMode = (typeof userModes)[number];

/** missing: images that are not here are pulled · never: jobs that need one fail to start. */
export const pullPolicies = ['missing', 'never'] as const;
export type PullPolicy = (typeof pullPolicies)[number];

const runtimeWords = ['auto', 'podman', 'docker', 'none'];

/** `auto`, `podman`, `docker`, `none`, or the absolute path of such a client. */
export function parseContainerRuntime(value: unknown): string {
  const remedy = `write one of ${runtimeWords.join(', ')}, or the absolute path of podman or docker`;
  const text = parseText(value, 'a container runtime', 4096);
  if (!runtimeWords.includes(text) && !text.startsWith('/'))
    throw new ValueProblem('not a container runtime', remedy);
  return text;
}

const REGISTRIES_MAX = 64;
const REGISTRY =
  /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9]\d{0,4})?(?:\/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*$/;

/** `public,registry.example:5000/team`: as `RegistryRules` has them (job/executor/container-registry.ts). */
export function parseRegistries(value: unknown): readonly string[] {
  const remedy =
    'write public, or HOST[:PORT][/PATH], with commas between them; to pull nothing, jobs.pull: never';
  const entries = parseText(value, 'registries', 8192)
    .split(',')
    .map((entry) => entry.trim().toLowerCase());
  if (entries.length > REGISTRIES_MAX) throw new ValueProblem('too many registries', remedy);
  if (!entries.every((entry) => REGISTRY.test(entry)))
    throw new ValueProblem('not a list of registries', remedy);
  return entries;
}

export interface UserRange {
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
}

/** Above every range that distributions, systemd and container tools give away, below 2^31. */
export const DEFAULT_USER_RANGE: UserRange = { from: 2_000_000_000, to: 2_000_065_535 };
const USERS_MIN = 1000;
const USER_MAX = 4_294_967_293;

export function parseUserRange(value: unknown): UserRange {
  const remedy = `write FIRST-LAST, two user ids between ${USERS_MIN} and ${USER_MAX}, for example ${formatUserRange(DEFAULT_USER_RANGE)}`;
  const match = typeof value === 'string' ? /^(\d{1,10})-(\d{1,10})$/.exec(value.trim()) : null;
  if (match === null) throw new ValueProblem('not a range of user ids', remedy);
  const from = Number(match[1]);
  const to = Number(match[2]);
  if (from < USERS_MIN || to > USER_MAX || to < from)
    throw new ValueProblem('not a range of user ids', remedy);
  return { from, to };
}

export function formatUserRange({ from, to }: UserRange): string {
  return `${from}-${to}`;
}

const PATHS_MAX = 64;

/** `/data:/scratch/public`: absolute paths, separated by colons as in PATH. */
export function parsePaths(value: unknown): readonly string[] {
  const remedy = 'write absolute paths with colons between them, for example /data:/scratch';
  const paths = parseText(value, 'absolute paths', 8192).split(':');
  if (paths.length > PATHS_MAX) throw new ValueProblem('too many paths', remedy);
  for (const path of paths)
    if (!path.startsWith('/') || path === '/' || path.split('/').includes('..'))
      throw new ValueProblem('not a list of absolute paths', remedy);
  return paths;
}

export function formatPaths(paths: readonly string[]): string {
  return paths.join(':');
}
