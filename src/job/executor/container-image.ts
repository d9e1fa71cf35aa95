// Images: looked up, and pulled where they are missing. Jobs that want the same image share one pull; it ends when the
// last of them gives it up. Nothing here knows of jobs.
import type { Clock } from '../../base/clock.ts';
import type { Call, ContainerClient } from './container-client.ts';
import type { RuntimeName } from './container-command.ts';
import { clientWords } from './container-end.ts';
import {
  type ImageName,
  isListed,
  parseImageName,
  type RegistryRules,
  registryProblem,
} from './container-registry.ts';
import { type ConnectTo, type PullWay, startPullWay } from './container-way.ts';

const INSPECT_TIMEOUT_MS = 20_000;
const PROGRESS_EVERY_MS = 1000;
const LINE_CHARACTERS_MAX = 120;

export type PullPolicy = 'missing' | 'never';

export interface Image {
  readonly id: string;
  /** `NAME=value` of its configuration. */
  readonly environment: readonly string[];
}

/** `problem` is a sentence without a full stop; neither: it was given up. */
export type ImageAnswer = { readonly image: Image } | { readonly problem: string } | null;

export interface ImageRequest {
  readonly answer: Promise<ImageAnswer>;
  /** The image is no longer wanted; the answer becomes null. */
  cancel(): void;
}

export interface Images {
  /** `onProgress` gets a clause, at most one a second, while it is pulled. */
  obtain(name: string, onProgress: (text: string) => void): ImageRequest;
}

export interface ImagesOptions {
  readonly client: ContainerClient;
  readonly pull: PullPolicy;
  readonly pullTimeoutMs: number;
  /** Where images may be pulled from. */
  readonly registryRules: RegistryRules;
  /** Tests give another. */
  readonly connectTo?: ConnectTo;
  readonly clock: Clock;
}

interface Pull {
  readonly call: Call;
  /** Null when the image is here now, else why it is not. */
  readonly done: Promise<string | null>;
  readonly listeners: Set<(text: string) => void>;
  /** The last clause, for those that join. */
  told: string;
}

export function createImages(options: ImagesOptions): Images {
  const { client, pull: policy, pullTimeoutMs, registryRules, clock } = options;
  const pulls = new Map<string, Pull>();

  /** The image; null when it is not here; a string when nobody can tell. */
  async function lookUp(name: string): Promise<Image | string | null> {
    const { exitCode, stdout, stderr } = await client.call(inspectImage(name), INSPECT_TIMEOUT_MS).result;
    if (exitCode === 0) return parseImage(stdout) ?? 'its description cannot be read';
    if (exitCode !== null && /no such image|image not known|not found|no such object/i.test(stderr))
      return null;
    client.doubt();
    return clientWords(stderr) || `no answer within ${INSPECT_TIMEOUT_MS / 1000} s`;
  }

  /** The way of a pull by podman from a registry that nobody listed; null where it goes by the operator's proxy or freely. */
  function openWay(image: ImageName, runtime: RuntimeName): Promise<PullWay | null> {
    // An empty one is none, and one for plain HTTP is not asked for registries.
    const hasProxy = ['HTTPS_PROXY', 'https_proxy'].some((name) => client.environment[name]);
    const isGuarded = runtime === 'podman' && !hasProxy && !isListed(image, registryRules);
    return isGuarded ? startPullWay(registryRules, options.connectTo) : Promise.resolve(null);
  }

  function startPull(name: string, runtime: RuntimeName, way: PullWay | null): Pull {
    const startedMs = clock.monotonicMs();
    const count = createLayerCount();
    let toldAtMs = Number.NEGATIVE_INFINITY;
    const tell = (line: string): void => {
      count.take(line);
      const nowMs = clock.monotonicMs();
      if (nowMs - toldAtMs < PROGRESS_EVERY_MS) return;
      toldAtMs = nowMs;
      const seconds = Math.round((nowMs - startedMs) / 1000);
      pull.told = `pulling image ${name}${count.text()}, ${seconds} s so far`;
      for (const listener of pull.listeners) listener(pull.told);
    };
    const call = client.call(pullArguments(runtime, name), pullTimeoutMs, tell, way?.environment);
    const done = call.result.then(({ exitCode, stderr }) => {
      forget();
      way?.close();
      if (exitCode === 0) return null;
      const refusal = way?.refusal() ?? null;
      if (refusal !== null) return refusal;
      return clientWords(stderr) || (exitCode === null ? 'it took too long' : `exit code ${exitCode}`);
    });
    const pull: Pull = { call, done, listeners: new Set(), told: `pulling image ${name}` };
    function forget(): void {
      if (pulls.get(name) === pull) pulls.delete(name);
    }
    pulls.set(name, pull);
    return pull;
  }

  async function bring(
    name: string,
    onProgress: (text: string) => void,
    given: { up: boolean; leave: () => void },
  ): Promise<ImageAnswer> {
    const parsed = parseImageName(name);
    if (parsed === null) return { problem: `${name} is not the name of an image in a registry` };
    await client.looked();
    const known = await lookUp(name);
    if (given.up) return null;
    if (typeof known === 'string') return { problem: `image ${name} could not be looked up: ${known}` };
    if (known !== null) return { image: known };
    if (policy === 'never')
      return { problem: `image ${name} is not here, and this node pulls none (jobs.pull is "never")` };
    const forbidden = await registryProblem(parsed, registryRules);
    if (given.up) return null;
    if (forbidden !== null) return { problem: `image ${name} is not here, and ${forbidden}` };
    const found = client.found();
    if (found === null) return { problem: client.problem() ?? 'there is no container runtime' };
    const way = await openWay(parsed, found.runtime);
    const running = pulls.get(name);
    if (running !== undefined || given.up) way?.close();
    if (given.up) return null;
    const pull = running ?? startPull(name, found.runtime, way);
    pull.listeners.add(onProgress);
    given.leave = () => {
      pull.listeners.delete(onProgress);
      if (pull.listeners.size === 0) {
        pulls.delete(name);
        pull.call.abort();
      }
    };
    onProgress(pull.told);
    const problem = await pull.done;
    pull.listeners.delete(onProgress);
    if (given.up) return null;
    if (problem !== null) return { problem: `image ${name} is not here and could not be pulled: ${problem}` };
    const image = await lookUp(name);
    if (image !== null && typeof image !== 'string') return { image };
    return {
      problem: `image ${name} was pulled and is not here: ${image ?? 'the runtime does not know it'}`,
    };
  }

  return {
    obtain(name, onProgress) {
      const given = { up: false, leave: () => {} };
      return {
        answer: bring(name, onProgress, given),
        cancel() {
          if (given.up) return;
          given.up = true;
          given.leave();
        },
      };
    },
  };
}

function inspectImage(name: string): string[] {
  return ['--log-level=error', 'image', 'inspect', '--format={{.Id}} {{json .Config.Env}}', name];
}

/** By a registry alone: podman's other transports would read files of the host. */
export function pullArguments(runtime: RuntimeName, name: string): string[] {
  return ['--log-level=error', 'pull', runtime === 'podman' ? `docker://${name}` : name];
}

/** Null for what no runtime prints. */
export function parseImage(text: string): Image | null {
  const [, id, list] = /^((?:sha256:)?[0-9a-f]{64}) (null|\[.*\])\s*$/s.exec(text) ?? [];
  if (id === undefined || list === undefined) return null;
  try {
    const environment: unknown = JSON.parse(list) ?? [];
    if (!Array.isArray(environment)) return null;
    return { id, environment: environment.filter((entry) => typeof entry === 'string') };
  } catch {
    return null;
  }
}

/** Layers begun and done, as far as the lines of a pull tell: docker names both, podman only the begin. */
export function createLayerCount(): { take(line: string): void; text(): string } {
  const begun = new Set<string>();
  const done = new Set<string>();
  let last = '';
  return {
    take(line) {
      last = line;
      const [, layer, state] = /^([0-9a-f]{12}): (.*)$/.exec(line) ?? [];
      if (layer !== undefined) {
        begun.add(layer);
        if (/^(?:Pull complete|Already exists)/.test(state ?? '')) done.add(layer);
      }
      const blob = /^Copying blob (?:sha256:)?([0-9a-f]{12})/.exec(line)?.[1];
      if (blob !== undefined) begun.add(blob);
    },
    text() {
      if (done.size > 0) return `, ${done.size} of ${begun.size} layers`;
      if (begun.size > 0) return `, ${begun.size} ${begun.size === 1 ? 'layer' : 'layers'} under way`;
      return last === '' ? '' : `, ${last.replace(/\p{Cc}/gu, ' ').slice(0, LINE_CHARACTERS_MAX)}`;
    },
  };
}
