// How a container gets its devices and no others: by the names under which the host describes them for containers (CDI)
// where it describes all of them, else node by node. Pure: what the host has is handed in.
import type { Image } from './container-image.ts';
import type { StartRequest } from './executor.ts';

export interface ContainerDevices {
  /** Arguments of `--device`. */
  readonly devices: readonly string[];
  /** For the runtime: vendors' runtimes add devices by such variables, also by those of an image. */
  readonly runtimeEnvironment: Readonly<Record<string, string>>;
  /** Variables that would mislead the job in its container. */
  readonly dropped: readonly string[];
  /** Why these devices cannot be given to a container, or null. */
  readonly problem: string | null;
}

/** By this word those runtimes add nothing. */
const NOTHING = 'void';
const ADDS_DEVICES = /_VISIBLE_DEVICES$/;

export function planDevices(
  { devices, deviceNodes }: Pick<StartRequest, 'devices' | 'deviceNodes'>,
  image: Image,
  described: ReadonlySet<string>,
  exists: (path: string) => boolean,
): ContainerDevices {
  const granted = devices?.environment ?? {};
  const cdi = (devices?.cdiNames ?? []).map((names) => names.find((name) => described.has(name)) ?? null);
  const byName = cdi.length > 0 ? cdi.filter((name) => name !== null) : [];
  const isByName = byName.length > 0 && byName.length === cdi.length;
  const runtimeEnvironment: Record<string, string> = {};
  const ofImage = image.environment.map((entry) => entry.slice(0, Math.max(0, entry.indexOf('='))));
  for (const key of [...ofImage, ...Object.keys(granted)])
    if (ADDS_DEVICES.test(key)) runtimeEnvironment[key] = isByName ? NOTHING : (granted[key] ?? NOTHING);
  const problem =
    devices?.nodesUnknown === true && !isByName
      ? 'the node of one of its devices is not known, and the host does not describe it for containers (CDI)'
      : null;
  return {
    // Some nodes of control come only with some drivers, and those of simulated devices never.
    devices: isByName ? byName : deviceNodes.filter(exists),
    runtimeEnvironment,
    dropped: deviceNodes.length > 0 || isByName ? (devices?.hostCounted ?? []) : [],
    problem,
  };
}
